"""The processes and namespaces of a cluster.

    init      PID 1 of the cluster's PID namespace. Its network namespace has the bridge, its mount namespace the
     |        fabric. When it ends, the kernel ends every process of the cluster; with them all namespaces go, and with
     |        those all links and mounts.
     +- head  the host that mpirun runs on: network, mount, UTS and IPC namespaces of its own, but init's PID namespace,
     |        because the launch agent looks up the first processes of the hosts in /proc
     +- h0    PID 1 of a host: all namespaces of its own
     +- ...

Each host has its own hostname, address, /dev/shm, /tmp, /var/tmp, /run, /proc and /sys. Everything else is shared, as
with a network file system.
"""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path

import kernel
from state import ClusterError, write_file

TREE = Path(__file__).resolve().parent.parent.parent
HEAD = "head"
BRIDGE = "bridge0"
OWN = kernel.CLONE_NEWNET | kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC
START_LIMIT = 120  # seconds for one step of a host; a fraction of a second is usual
# Of what efasim-run sets for a command, what makes the device: the rest is the environment that it was given.
DEVICE_VARIABLES = re.compile(r"EFASIM_\w+|SYSFS_PATH|HWLOC_\w+|LD_PRELOAD")


def efasim_run(build):
    return ["env", f"EFASIM_BUILD={build}", str(TREE / "test/efasim/efasim-run")]


def port_name(host):
    """The host's end of the bridge."""
    return f"port-{host}"


def ip_batch(lines):
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"ip(8): {' '.join(done.stderr.split())}")


def login_environment():
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    return {"HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh"} | kept


def own_mounts(state, description):
    """Own /dev/shm, /tmp, /run and so on; the cluster's directory and this tree stay where they are."""
    kept = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (state.directory, TREE)}
    for path, mode in (("/dev/shm", "1777"), ("/tmp", "1777"), ("/var/tmp", "1777"), ("/run", "755")):
        size = f",size={description['shm']}" if path == "/dev/shm" and description["shm"] else ""
        kernel.mount("tmpfs", path, "tmpfs", data=f"mode={mode}{size}")
    for path, descriptor in kept.items():
        if not path.exists():
            path.mkdir(parents=True)
            kernel.mount(f"/proc/self/fd/{descriptor}", path, flags=kernel.MS_BIND | kernel.MS_REC)
        os.close(descriptor)
    kernel.mount("proc", "/proc", "proc")
    kernel.mount("sysfs", "/sys", "sysfs")
    kernel.mount(state.path("etc-hosts"), "/etc/hosts", flags=kernel.MS_BIND)


def device_environment(state, description, host):
    """Registers the host's NICs of the software EFA device; returns the variables that give them to a program."""
    if not host["instance"]:
        return {}
    command = efasim_run(description["build"]) + ["--dir", str(state.fabric), "--node", host["name"], "--profile",
                                                  host["instance"], *shlex.split(description["efasim"]), "--", "env", "-0"]
    done = subprocess.run(command, env=login_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"host {host['name']}: {' '.join(done.stderr.split())}")
    pairs = (line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)
    return {name: value for name, value in pairs if DEVICE_VARIABLES.fullmatch(name)}


def reap(ended=lambda pid: None):
    """What PID 1 does for ever."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                ended(pid)
        signal.sigwait({signal.SIGCHLD})


class Line:
    """One line each way between init and a host's first process."""

    def __init__(self, end):
        end.settimeout(START_LIMIT)
        self.end = end
        self.file = end.makefile("r", encoding="utf-8")

    def tell(self, text):
        self.end.sendall((" ".join(text.split()) + "\n").encode())

    def hear(self):
        """The next line; what begins with `error:` is raised here."""
        try:
            text = self.file.readline().strip()
        except TimeoutError:
            text = f"error: no answer within {START_LIMIT} s"
        if not text or text.startswith("error:"):
            raise ClusterError(text.removeprefix("error: ") or "ended before it was ready")
        return text


def close_all_but(kept):
    """Closes what a forked process has from its parent, but for the standard files."""
    os.closerange(3, kept.fileno())
    os.closerange(kept.fileno() + 1, 4096)


def run_or_report(line, function):
    """Of a forked process: never returns. An exception goes over the line."""
    try:
        function()
    except ClusterError as error:
        line.tell(f"error: {error}")
    except BaseException as error:  # pylint: disable=broad-except
        traceback.print_exc()
        with contextlib.suppress(OSError):
            line.tell(f"error: {error}")
    sys.stderr.flush()
    os._exit(1)


def host_main(state, description, host, line):
    """The first process of a host."""
    name = host["name"]
    kernel.set_process_name(f"host {name}")
    kernel.unshare(OWN)
    socket.sethostname(name)
    own_mounts(state, description)
    os.chdir("/")
    line.tell("namespaces")
    line.hear()  # the link is there
    for which in ("all", "default"):  # no addresses that are tentative for a second
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1", encoding="ascii")
    ip_batch(["link set lo up", f"addr add {host['address']}/16 dev eth0", "link set eth0 up"])
    environment = login_environment() | device_environment(state, description, host)
    write_file(state.path("hosts", name, "environment"),
               "".join(f"export {key}={shlex.quote(value)}\n" for key, value in environment.items()))
    line.tell("ready")
    reap()


class Init:
    """PID 1 of the cluster."""

    def __init__(self, state, description):
        self.state, self.description = state, description
        self.hosts = {}  # pid: name

    def write_host_lists(self):
        hosts = self.description["hosts"] + [self.description["head"]]
        names = "".join(f"{host['address']} {host['name']}\n" for host in hosts)
        write_file(self.state.path("etc-hosts"), "127.0.0.1 localhost\n" + names, 0o644)
        slots = "".join(f"{host['name']} slots={host['slots']}\n" for host in self.description["hosts"])
        write_file(self.state.path("hostfile"), slots, 0o644)

    def own_namespaces(self):
        kernel.unshare(OWN)
        socket.sethostname(self.state.name)
        try:
            kernel.mount(None, "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
        except OSError as error:
            raise ClusterError("/ is not a mount point here (chroot?); ci/rootfs makes it one") from error
        self.state.fabric.mkdir(mode=0o700)
        kernel.mount("tmpfs", self.state.fabric, "tmpfs", data="mode=700")
        (self.state.fabric / "settings").touch()  # the hosts' settings differ: each has all of them in its environment
        kernel.mount("proc", "/proc", "proc")
        kernel.mount("sysfs", "/sys", "sysfs")
        Path("/etc/hosts").touch()  # the hosts mount theirs over it
        ip_batch(["link set lo up", f"link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0", f"link set {BRIDGE} up"])

    def start_host(self, host):
        """Returns the line to its first process, which has its namespaces then."""
        name = host["name"]
        self.state.path("hosts", name).mkdir(mode=0o700, parents=True)
        mine, theirs = socket.socketpair()
        if name != HEAD:
            kernel.unshare(kernel.CLONE_NEWPID)  # of the next child
        pid = os.fork()
        if pid == 0:
            close_all_but(theirs)  # above all the cluster's lock
            line = Line(theirs)
            run_or_report(line, lambda: host_main(self.state, self.description, host, line))
        theirs.close()
        if name != HEAD:
            own = os.open("/proc/self/ns/pid", os.O_RDONLY)
            kernel.setns(own)
            os.close(own)
        self.hosts[pid] = name
        line = Line(mine)
        line.hear()
        port = port_name(name)
        ip_batch([f"link add {port} type veth peer name eth0 netns {pid}", f"link set {port} master {BRIDGE} up"])
        line.tell("linked")
        write_file(self.state.path("hosts", name, "pid"), f"{pid}\n")
        return line

    def host_ended(self, pid):
        name = self.hosts.pop(pid, None)
        if name:
            print(f"host {name} has ended", flush=True)
            self.state.path("hosts", name, "pid").unlink(missing_ok=True)

    def main(self, line):
        os.setsid()
        kernel.end_with_parent(signal.SIGKILL)  # until the cluster is up
        kernel.set_process_name(f"cluster {self.state.name}")
        self.state.hold_lock()
        write_file(self.state.path("pid"), os.readlink("/proc/self") + "\n")  # /proc is still the caller's
        log = os.open(self.state.path("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        os.close(null)
        os.chdir("/")
        self.write_host_lists()
        self.own_namespaces()
        lines = [self.start_host(host) for host in [self.description["head"], *self.description["hosts"]]]
        for each in lines:
            each.hear()
        write_file(self.state.path("cluster.json"), json.dumps(self.description, indent=1) + "\n")
        kernel.end_with_parent(0)
        line.tell("ready")
        reap(self.host_ended)


def start(state, description):
    """Makes the cluster; returns when it is up. The registry is held. The caller has no children afterwards but it."""
    mine, theirs = socket.socketpair()
    kernel.unshare(kernel.CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        close_all_but(theirs)  # above all the registry's lock
        line = Line(theirs)
        run_or_report(line, lambda: Init(state, description).main(line))
    theirs.close()
    try:
        Line(mine).hear()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
