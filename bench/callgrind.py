"""Reads callgrind's dumps and assigns the instructions to layers.

The self cost of an instruction belongs to its object file (ob=). Open MPI 5.0 links its components into libmpi; there pml/cm
and mtl/ofi are the address ranges between their exported symbols, which libtool's archives keep together. The cost of the C
library (memcpy, locks) belongs to the layer that called it."""
import bisect
import os
import re
import subprocess

MPI, PML, MTL, OPAL, FABRIC, OTHER = "MPI", "pml/cm", "MTL", "opal", "libfabric", "other"
LAYERS = [MPI, PML, MTL, OPAL, FABRIC, OTHER]

BY_NAME = [  # patterns for file names; the first match counts
    (r"mca_mtl_(efa|ofi)\.so", MTL),
    (r"mca_pml_cm\.so", PML),
    (r"libmpi\.so", MPI),
    (r"lib(open-pal|open-rte)\.so|mca_|libpmix|libevent|libhwloc|libprrte", OPAL),
    (r"libfabric\.so|libefa|libibverbs|librdmacm|libpsm|lib.*-rdmav", FABRIC),
]
# ???: code that valgrind assigns to no file: ld.so in a chroot, and stubs through which a component calls other libraries.
UNKNOWN = "???"
SUPPORT = re.compile(r"lib(c|pthread|m|stdc\+\+|gcc_s|rt|dl)[.-]|ld-linux|vgpreload|\?\?\?")
PROGRAM = "counted"


def layer_of_file(path):
    name = os.path.basename(path)
    for pattern, layer in BY_NAME:
        if re.match(pattern, name):
            return layer
    return OTHER


class LinkedComponents:
    """Components linked into libmpi: layer by address."""
    KINDS = [(re.compile(r"(ompi|mca)_mtl_ofi_"), MTL), (re.compile(r"mca_pml_cm_"), PML)]

    def __init__(self, path):
        self.starts, self.layers = [], []
        symbols = subprocess.run(["nm", "-D", "--defined-only", "-n", path], capture_output=True, text=True).stdout
        for line in symbols.splitlines():
            fields = line.split()
            if len(fields) == 3 and fields[1] in "TtWi":
                self.starts.append(int(fields[0], 16))
                self.layers.append(next((layer for kind, layer in self.KINDS if kind.match(fields[2])), MPI))

    def layer(self, address):
        at = bisect.bisect_right(self.starts, address) - 1
        return self.layers[at] if at >= 0 else MPI


def is_support(obj):
    return bool(SUPPORT.match(os.path.basename(obj)))


def costs(path):
    """(object, function, address, instructions, callee's object, callee) of each cost in a dump. A callee is there if the
    cost is that of a call, with all that it calls; the callee's object is then the caller's if the dump names none."""
    obj = fn = called_obj = called_fn = ""
    called = False
    for line in open(path):
        line = line.rstrip("\n")
        if line.startswith("ob="):
            obj = line[3:]
        elif line.startswith("fn="):
            fn = line[3:]
        elif line.startswith("cob="):
            called_obj = line[4:]
        elif line.startswith("cfn="):
            called_fn = line[4:]
        elif line.startswith("calls="):
            called = True
        elif line.startswith("0x"):
            address, cost = line.split()
            yield obj, fn, int(address, 16), int(cost), (called_obj or obj) if called else None, called_fn
            if called:
                called, called_obj = False, ""


def own_shares(path):
    """What a function of no file costs without the layers that it calls: function -> its share of its inclusive cost."""
    total, others = {}, {}
    for obj, fn, _, cost, callee, _ in costs(path):
        if obj == UNKNOWN:
            total[fn] = total.get(fn, 0) + cost
            if callee and not is_support(callee):
                others[fn] = others.get(fn, 0) + cost
    return {fn: 1 - others.get(fn, 0) / total[fn] for fn in total if total[fn]}


class Dump:
    """One phase: instructions per message and layer, and calls of opal_progress per message."""

    def __init__(self, path, linked):
        self.linked = linked
        self.layers = dict.fromkeys(LAYERS, 0)
        self.objects = {}
        self.total = 0
        trigger = next(line for line in open(path) if line.startswith("desc: Trigger: Client Request: "))
        self.name, messages = trigger.strip().rsplit(": ", 1)[1].split()
        self.messages = int(messages)
        entry = {}  # opal_progress: address -> cost
        shares = own_shares(path)
        for obj, fn, address, cost, callee, called_fn in costs(path):
            if is_support(obj):
                continue
            if callee is None:
                self.add(obj, address, cost)
                if fn == "opal_progress":
                    entry[address] = cost
            elif is_support(callee):  # only the cost of a support library counts, for its caller
                self.add(obj, address, cost * shares.get(called_fn, 1) if callee == UNKNOWN else cost)
        self.looks = entry[min(entry)] / self.messages if entry else 0

    def add(self, obj, address, cost):
        if os.path.basename(obj) == PROGRAM:
            return
        layer = layer_of_file(obj)
        if layer == MPI:
            if obj not in self.linked:
                self.linked[obj] = LinkedComponents(obj)
            layer = self.linked[obj].layer(address)
        self.layers[layer] += cost / self.messages
        name = os.path.basename(obj)
        self.objects[name] = self.objects.get(name, 0) + cost / self.messages
        self.total += cost / self.messages


def read(prefix):
    """All dumps of a run, by phase."""
    linked, found, number = {}, {}, 1
    while os.path.exists(f"{prefix}.{number}"):
        dump = Dump(f"{prefix}.{number}", linked)
        found[dump.name] = dump
        number += 1
    return found
