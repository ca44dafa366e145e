"""A wire that loses, delays and reorders frames, as the kernel's netem would, which not every kernel has.

    wire.py NAMESPACE PORT BRIDGE [loss=P] [delay=MS] [jitter=MS] [reorder=P] [hold=MS] [seed=N]

The wire is put between a port and its bridge, in the network namespace NAMESPACE, a file such as /proc/PID/ns/net. Each frame is
lost with probability P; else it arrives after `delay` and a random time up to `jitter`, in order; a share `reorder` of the frames
comes `hold` later, so that others overtake. The offloads of the port's other end must be off (offloads_off). It ends with its parent.
"""

import ctypes
import errno
import fcntl
import heapq
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import kernel

ETH_P_ALL, PACKET_OUTGOING = 3, 4
SIOCETHTOOL = 0x8946
# ETHTOOL_STXCSUM, _STSO, _SGSO and _SGRO: so that frames are as long as on a wire, and have their checksums.
OFFLOADS = (0x17, 0x1F, 0x24, 0x2C)
LONGEST = 65536  # bytes; frames above the MTU are from before the offloads were turned off


def offloads_off(interface):
    """Of an interface in this process's network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP", interface.encode(), ctypes.addressof(value)) + bytes(16)
            try:
                fcntl.ioctl(control, SIOCETHTOOL, request)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise


def open_interface(name):
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    end.bind((name, ETH_P_ALL))
    index = socket.if_nametoindex(name)
    membership = struct.pack("IHH8s", index, 1, 0, b"")  # PACKET_MR_PROMISC
    end.setsockopt(263, 1, membership)  # SOL_PACKET, PACKET_ADD_MEMBERSHIP
    end.setblocking(False)
    return end


class Wire:
    def __init__(self, loss=0.0, delay=0.0, jitter=0.0, reorder=0.0, hold=0.0, seed=1):
        self.loss, self.reorder = loss, reorder
        self.delay, self.jitter, self.hold = delay / 1000, jitter / 1000, hold / 1000
        self.chance = random.Random(seed)
        self.waiting = []  # (when due, number, socket, frame)
        self.last = {}  # socket: when the last frame in order is due
        self.number = 0

    def take(self, frame, out):
        chance = self.chance
        if self.loss and chance.random() < self.loss:
            return
        due = time.monotonic() + self.delay + (self.jitter * chance.random() if self.jitter else 0)
        if self.reorder and chance.random() < self.reorder:
            due += self.hold
        else:
            due = self.last[out] = max(due, self.last.get(out, 0))
        self.number += 1
        heapq.heappush(self.waiting, (due, self.number, out, frame))

    def send_due(self):
        """Returns seconds until the next frame is due; None: no frame waits."""
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            _, _, out, frame = heapq.heappop(self.waiting)
            try:
                out.send(frame)
            except BlockingIOError:
                pass  # lost, as on a wire
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.ENETDOWN, errno.EMSGSIZE):
                    raise
        return max(0.0, self.waiting[0][0] - now) if self.waiting else None

    def run(self, ends):
        other = {ends[0]: ends[1], ends[1]: ends[0]}
        while True:
            for end in select.select(ends, [], [], self.send_due())[0]:
                for _ in range(64):
                    try:
                        frame, source = end.recvfrom(LONGEST)
                    except (BlockingIOError, OSError):
                        break
                    if source[2] != PACKET_OUTGOING:
                        self.take(frame, other[end])


def main():
    namespace, port, bridge, *words = sys.argv[1:]
    kernel.end_with_parent(signal.SIGKILL)
    descriptor = os.open(namespace, os.O_RDONLY)
    kernel.setns(descriptor)
    os.close(descriptor)
    near, far = f"near-{port}"[:15], f"far-{port}"[:15]
    for line in (f"link add {near} type veth peer name {far}", f"link set {near} up", f"link set {far} master {bridge} up",
                 f"link set {port} nomaster"):
        subprocess.run(["ip", *line.split()], check=True)
    offloads_off(far)
    ends = [open_interface(name) for name in (port, near)]
    wire = Wire(**{key: float(value) for key, value in (word.split("=") for word in words)})
    print("ready", flush=True)
    wire.run(ends)


if __name__ == "__main__":
    main()
