"""A job on a cluster of test/hosts that a test disturbs: ranks are stopped and killed, links go down and up, packets get lost."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import kernel
import wire
from machine import BRIDGE, port_name
from state import State

HERE = Path(__file__).resolve().parent
START_LIMIT = 60  # seconds until all ranks have communicated


def environment_of(build, component="mtl_efa/mca_mtl_efa.so"):
    """What the environment file beside a component of a build directory sets for Open MPI."""
    shown = subprocess.run(["sh", "-c", '. "$0" && env -0', str((build / component).parent / "mtl_efa.sh")], stdout=subprocess.PIPE,
                           text=True, check=True).stdout
    return dict(line.split("=", 1) for line in shown.split("\0") if "_MCA_" in line.split("=", 1)[0])


def series():
    """Of Open MPI: "4.1" or "5.0"."""
    version = subprocess.run(["mpirun", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return re.search(r"\b(\d+\.\d+)\.", version)[1]


class Job:
    """A cluster, and a job on it. The ranks go to the hosts in turn."""

    def __init__(self, build, hosts, ranks, options, program, efa, instance="p4d.24xlarge", efasim="", up=(), before=()):
        self.efa, self.hosts, self.program = efa, hosts, Path(program[0]).name
        self.wires = []
        self.name = f"disturbed-{os.getpid()}"
        self.command = [str(HERE / "cluster"), "--name", self.name]
        device = ["--instance", instance] if efa else []
        if efa and efasim:
            device += ["--efasim", efasim]
        self.cluster("up", str(hosts), "--build", str(build), *device, *up)
        self.state = State(self.name)
        self.output = (build / f"{self.name}.log").open("w+b")
        self.process = subprocess.Popen([*self.command, "run", "-np", str(ranks), "--map-by", "node", *options, "--", *before, *program],
                                        stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT)

    def cluster(self, *words, check=True, stderr=True):
        subprocess.run([*self.command, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=None if stderr else subprocess.DEVNULL, check=check)

    def text(self):
        return Path(self.output.name).read_text(encoding="utf-8", errors="replace")

    def wait_for_lines(self, pattern, count):
        """Until the output has that many lines that match; False if it ends before."""
        end = time.monotonic() + START_LIMIT
        while len(re.findall(pattern, self.text(), re.M)) < count:
            if self.process.poll() is not None or time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def rank(self, number):
        """Its process id outside of the cluster."""
        host = (self.state.path("hosts", f"h{number % self.hosts}", "pid")).read_text().strip()
        space = os.readlink(f"/proc/{self.state.init_pid()}/root/proc/{host}/ns/uts")
        for comm in Path("/proc").glob("[0-9]*/comm"):
            try:
                if (comm.read_text() in (f"{self.program[:15]}\n", "memcheck-amd64-\n") and os.readlink(comm.parent / "ns/uts") == space
                        and f"OMPI_COMM_WORLD_RANK={number}\0" in (comm.parent / "environ").read_text()):
                    return int(comm.parent.name)
            except OSError:
                continue  # has ended meanwhile
        raise ProcessLookupError(f"rank {number}")

    def link(self, host, state, only=None):
        only = only or (None if self.efa else "ethernet")
        self.cluster("link", f"h{host}", state, *(["--only", only] if only else []))

    def impair(self, host, words):
        """From now on the host's Ethernet link is a wire with these properties (wire.py)."""
        name, init = f"h{host}", self.state.init_pid()
        bridge = f"/proc/{init}/ns/net"
        host_pid = self.state.path("hosts", name, "pid").read_text().strip()
        child = os.fork()
        if child == 0:  # enters the host's network, and this process does not
            try:
                kernel.setns(os.open(f"/proc/{init}/root/proc/{host_pid}/ns/net", os.O_RDONLY))
                wire.offloads_off("eth0")
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1] != 0:
            raise RuntimeError(f"the offloads of {name}'s link stay on")
        self.wires.append(subprocess.Popen([sys.executable, str(HERE / "wire.py"), bridge, port_name(name), BRIDGE, *words],
                                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True))
        if self.wires[-1].stdout.readline() != "ready\n":
            raise RuntimeError("wire.py did not start")

    def end(self):
        for process in self.wires:
            process.kill()
            process.wait()
            process.stdout.close()
        self.cluster("down", check=False)
        self.process.wait()
        self.output.close()
        Path(self.output.name).unlink()
