"""Reads callgrind's dumps and says which layer the instructions belong to.

Self cost goes to the object file (ob=) of the instruction. Open MPI 5.0 has its components inside libmpi; there pml/cm and
mtl/ofi are the addresses between their exported symbols, which libtool's archives keep together. What a layer has the C
library do for it (memcpy, locks) counts as its own."""
import bisect
import os
import re
import subprocess

MPI, PML, MTL, OPAL, FABRIC, OTHER = "MPI", "pml/cm", "MTL", "opal", "libfabric", "other"
LAYERS = [MPI, PML, MTL, OPAL, FABRIC, OTHER]

BY_NAME = [  # of the file; the first that matches
    (r"mca_mtl_(efa|ofi)\.so", MTL),
    (r"mca_pml_cm\.so", PML),
    (r"libmpi\.so", MPI),
    (r"lib(open-pal|open-rte)\.so|mca_|libpmix|libevent|libhwloc|libprrte", OPAL),
    (r"libfabric\.so|libefa|libibverbs|librdmacm|libpsm|lib.*-rdmav", FABRIC),
]
SERVANT = re.compile(r"lib(c|pthread|m|stdc\+\+|gcc_s|rt|dl)[.-]|ld-linux|vgpreload|\?\?\?")  # ???: ld.so, in a chroot
PROGRAM = "counted"


def layer_of_file(path):
    name = os.path.basename(path)
    for pattern, layer in BY_NAME:
        if re.match(pattern, name):
            return layer
    return OTHER


class Inside:
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


class Dump:
    """One phase: instructions per message and layer, and how often MPI looked for progress."""

    def __init__(self, path, insides):
        self.insides = insides
        self.layers = dict.fromkeys(LAYERS, 0)
        self.objects = {}
        self.total = 0
        entry = {}  # address -> cost, of opal_progress
        obj = callee = fn = ""
        called = False
        for line in open(path):
            line = line.rstrip("\n")
            if line.startswith("desc: Trigger: Client Request: "):
                self.name, messages = line.rsplit(": ", 1)[1].split()
                self.messages = int(messages)
            elif line.startswith("ob="):
                obj = line[3:]
            elif line.startswith("cob="):
                callee = line[4:]
            elif line.startswith("fn="):
                fn = line[3:]
            elif line.startswith("calls="):
                called = True
            elif line.startswith("0x"):
                address, cost = line.split()
                address, cost = int(address, 16), int(cost)
                if called:  # what the call cost in all; it stands with the callee, except a servant's
                    if self.serves(callee) and not self.serves(obj):
                        self.add(obj, address, cost)
                    called, callee = False, ""
                else:
                    if not self.serves(obj):
                        self.add(obj, address, cost)
                    if fn == "opal_progress":
                        entry[address] = cost
        self.looks = entry[min(entry)] / self.messages if entry else 0

    @staticmethod
    def serves(obj):
        return bool(SERVANT.match(os.path.basename(obj)))

    def add(self, obj, address, cost):
        if os.path.basename(obj) == PROGRAM:
            return
        layer = layer_of_file(obj)
        if layer == MPI:
            if obj not in self.insides:
                self.insides[obj] = Inside(obj)
            layer = self.insides[obj].layer(address)
        self.layers[layer] += cost / self.messages
        name = os.path.basename(obj)
        self.objects[name] = self.objects.get(name, 0) + cost / self.messages
        self.total += cost / self.messages


def read(prefix):
    """All dumps of a run, by the phase's name."""
    insides, found, number = {}, {}, 1
    while os.path.exists(f"{prefix}.{number}"):
        dump = Dump(f"{prefix}.{number}", insides)
        found[dump.name] = dump
        number += 1
    return found
