"""Slurm on a cluster of test/hosts: munged and slurmctld on the head, and a slurmd on each host.

The hosts have the NICs of an instance type and an imagined topology: two packages (NUMA nodes) with one or two cores of two
hardware threads each, and on each half of the NICs, as on the instance. imagined_cpus lets Slurm and Open MPI bind to these cores.
As with AWS ParallelCluster, slurm.conf has the number of CPUs, and not which of them share a core.
"""

import contextlib
import fcntl
import os
import re
import resource
import shlex
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree

import kernel
import machine
from state import ROOT, ClusterError, State, make_root, write_file

HERE = Path(__file__).resolve().parent
HOSTS = 4
GPUS = 2  # of a host
INSTANCE, INSTANCE_CORES = "p4d.24xlarge", 24  # cores of a package
START_LIMIT = 60  # seconds
DAEMONS = ("munged", "slurmctld", "slurmd", "slurmstepd")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "lstopo-no-graphics")
PACKAGES = "munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins hwloc-nox"

CONFIGURATION = """\
ClusterName={name}
SlurmctldHost=head
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
TaskProlog={directory}/task-prolog
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0
GresTypes=gpu
ReturnToService=2
SlurmdTimeout=30
SlurmdParameters=config_overrides
StateSaveLocation={directory}/state
SlurmdSpoolDir=/run/slurmd
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/%n.log
NodeName=DEFAULT CPUs={cpus} RealMemory=1000 Gres=gpu:{gpus}
{nodes}
PartitionName=all Nodes=ALL Default=YES
"""
# Runs on a job's node before its batch script and before each of its tasks; Slurm adds to their environment what it
# prints. A real node's device is in its kernel, and needs no environment.
TASK_PROLOG = """\
#!/bin/sh
cat {directory}/environment-$(hostname)
"""


def hwloc_mask(cpus):
    """In hwloc's syntax: words of 32 bits, the highest first."""
    mask = sum(1 << cpu for cpu in cpus)
    return ",".join(f"0x{mask >> 32 * word & 0xffffffff:08x}" for word in reversed(range(max(1, (mask.bit_length() + 31) // 32))))


def cpus_of(mask):
    words = [int(word or "0", 16) for word in reversed(mask.split(","))]
    return {32 * word + bit for word, bits in enumerate(words) for bit in range(32) if bits >> bit & 1}


def missing_programs():
    paths = os.environ.get("PATH", os.defpath).split(":") + ["/usr/sbin", "/sbin"]
    return [name for name in PROGRAMS if not any(os.access(Path(path or ".") / name, os.X_OK) for path in paths)]


@contextlib.contextmanager
def only_one(name):
    """Waits for another runner of this name."""
    make_root()
    with open(os.open(ROOT / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def end_with_runner():
    kernel.end_with_parent(9)


class Slurm:
    """As a context: up inside, down afterwards."""

    def __init__(self, name, build, cores):
        self.cores = cores  # of a host
        self.name, self.build = name, Path(build).resolve()
        self.state = State(name)
        self.directory = self.state.path("slurm")
        self.topology = self.directory / "topology.xml"  # of each host
        self.imagined_cpus = self.build / "test/hosts/imagined_cpus.so"
        self.daemons = {}

    def cluster(self, *words):
        return [str(HERE / "cluster"), "--name", self.name, *words]

    def __enter__(self):
        self.down()  # what a killed runner left
        try:
            self.make_hosts()
            self.write_files()
            self.start()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_):
        self.down()

    def make_hosts(self):
        done = subprocess.run(self.cluster("up", str(HOSTS), "--build", str(self.build), "--instance", INSTANCE, "--efasim",
                                           "--topology profile"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        if done.returncode != 0:
            raise ClusterError(done.stdout.strip())

    def down(self):
        if self.state.directory.exists():
            subprocess.run(self.cluster("down"), stdout=subprocess.DEVNULL, check=False)
        for daemon in self.daemons.values():
            daemon.wait()
        self.daemons = {}

    def write_files(self):
        hosts = self.state.describe()["hosts"]
        self.directory.mkdir(mode=0o700)
        self.directory.joinpath("state").mkdir(mode=0o700)
        write_file(self.directory / "munge.key", os.urandom(512).hex(), 0o400)
        nodes = "\n".join(f"NodeName={host['name']} NodeAddr={host['address']}" for host in hosts)
        write_file(self.directory / "slurm.conf",
                   CONFIGURATION.format(name=self.name, directory=self.directory, nodes=nodes, gpus=GPUS, cpus=2 * self.cores))
        write_file(self.directory / "gres.conf", f"Name=gpu File={self.directory}/gpu[0-{GPUS - 1}]\n")
        for number in range(GPUS):
            self.directory.joinpath(f"gpu{number}").touch()
        # cgroup/v1 is not used, but the autodetection of slurmd ends it where there is no cgroup file system.
        write_file(self.directory / "cgroup.conf", "CgroupPlugin=cgroup/v1\n")
        write_file(self.directory / "task-prolog", TASK_PROLOG.format(directory=self.directory), 0o700)
        self.make_topology(hosts[0]["name"])
        for host in hosts:
            self.load_driver(host["name"])

    def make_topology(self, host):
        """Of the instance's topology, self.cores cores. CPUs get the numbers from 0 on, as Slurm numbers them; as on the instance,
        the cores' second threads come after all cores."""
        kept = [INSTANCE_CORES * package + core for package in range(4) for core in range(self.cores // 2)]
        done = subprocess.run(self.cluster("exec", host, "--", "lstopo-no-graphics", "--whole-io", "--restrict",
                                           hwloc_mask(kept), str(self.topology)), stderr=subprocess.PIPE, text=True,
                              check=False)
        if done.returncode != 0 or not self.topology.exists():
            raise ClusterError(f"lstopo: {' '.join(done.stderr.split())}")
        tree = ElementTree.parse(self.topology)
        for each in tree.iter("object"):
            for name in ("cpuset", "complete_cpuset", "allowed_cpuset"):
                if name in each.attrib:
                    old = cpus_of(each.attrib[name])
                    each.set(name, hwloc_mask(new for new, cpu in enumerate(kept) if cpu in old))
            if each.get("type") in ("PU", "Core"):
                each.set("os_index", str(kept.index(int(each.get("os_index")))))  # a core has the number of its first CPU
        tree.write(self.topology)

    def load_driver(self, host):
        """What the task prolog prints: the device and the imagined topology."""
        device = self.device_of(host)
        device["LD_PRELOAD"] += f":{self.imagined_cpus}"
        self.write_environment(host, device)

    def unload_driver(self, host):
        """Tasks on that host no longer see the device, but still its PCI functions. The batch script's host has another device,
        and its environment comes with the tasks."""
        self.write_environment(host, {name: None for name in self.device_of(host)} | {"LD_PRELOAD": str(self.imagined_cpus)})

    def device_of(self, host):
        words = shlex.split(self.state.path("hosts", host, "environment").read_text())
        pairs = (word.split("=", 1) for word in words if "=" in word)
        return {name: value for name, value in pairs if machine.DEVICE_VARIABLES.fullmatch(name)}

    def write_environment(self, host, values):
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] % 2**64  # RLIM_INFINITY is -1 here
        values |= {"HWLOC_XMLFILE": str(self.topology), "HWLOC_THISSYSTEM": "1", "IMAGINED_MEMLOCK": limit}
        write_file(self.directory / f"environment-{host}",
                   "".join(f"unset {name}\n" if value is None else f"export {name}={value}\n" for name, value in values.items()))

    def spawn(self, name, host, command):
        log = open(self.directory / f"{name}.out", "wb")
        self.daemons[name] = subprocess.Popen(self.cluster("exec", host, "--", *command), stdin=subprocess.DEVNULL, stdout=log,
                                              stderr=subprocess.STDOUT, preexec_fn=end_with_runner)
        log.close()

    def start(self):
        path = ["env", "PATH=" + os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"]
        files = {f"--{what}": f"{self.directory}/munge.{name}" for what, name in
                 {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}.items()}
        # --force: the directory of the socket is private to root, whom all of this runs as.
        self.spawn("munged", "head", [*path, "munged", "--foreground", "--force", *(f"{key}={value}" for key, value in files.items())])
        self.until(lambda: self.directory.joinpath("munge.socket").exists(), "munged made no socket")
        configuration = str(self.directory / "slurm.conf")
        self.spawn("slurmctld", "head", [*path, "slurmctld", "-D", "-f", configuration])
        for host in self.state.describe()["hosts"]:
            name = host["name"]
            # slurmd binds tasks itself, so it has the imagined cores, too.
            own = [f"LD_PRELOAD={self.imagined_cpus}", f"HWLOC_XMLFILE={self.topology}", "HWLOC_THISSYSTEM=1"]
            self.spawn(name, name, [*path, *own, "slurmd", "-D", "-N", name, "-f", configuration])
        self.until(lambda: len(re.findall(r"^h\d+ idle$", self.ask("sinfo", "-hNo", "%N %t"), re.M)) == HOSTS,
                   "slurmctld and the slurmds have not found each other")

    def until(self, condition, otherwise):
        end = time.monotonic() + START_LIMIT
        while not condition():
            self.check_daemons()
            if time.monotonic() > end:
                raise ClusterError(f"{otherwise} within {START_LIMIT} s; their logs are in {self.directory}")
            time.sleep(0.1)

    def check_daemons(self):
        for name, daemon in self.daemons.items():
            if daemon.poll() is not None:
                raise ClusterError(f"{name} has ended; its log ends with:\n{self.log(name)}")

    def running(self, programs):
        """Of these programs, those that run somewhere in the cluster."""
        found = []
        for name in Path(f"/proc/{self.state.init_pid()}/root/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError):  # has ended meanwhile
                found += [text for text in name.read_text().split() if text in programs]
        return found

    def log(self, name):
        text = ""
        for file in (self.directory / f"{name}.out", self.directory / f"{name}.log"):
            if file.exists():
                text += file.read_text(errors="replace")
        return "\n".join(text.splitlines()[-10:])

    def on_head(self, *command, environment=None, directory=None):
        """A command as a user on the head node gives it; the completed process, with both outputs in stdout."""
        values = {"SLURM_CONF": f"{self.directory}/slurm.conf"} | (environment or {})
        return subprocess.run(self.cluster("exec", "head", "--", "env", *(f"{key}={value}" for key, value in values.items()), *command),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                              cwd=directory)

    def ask(self, *command):
        return self.on_head(*command).stdout
