"""Commands inside a cluster: on one host, or as an MPI job over all."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import kernel
from machine import HEAD, port_name
from state import ClusterError

HERE = Path(__file__).resolve().parent
FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
RANKS = {"-np", "-n", "--np", "--n", "-c"}
HOST_LISTS = {"-H", "-host", "--host"}
HOST_FILES = {"-hostfile", "--hostfile", "-machinefile", "--machinefile", "-default-hostfile", "--default-hostfile"}


def host_pid(state, name):
    """Of the host's first process, in the init's PID namespace; None: the host is down."""
    try:
        return int(state.path("hosts", name, "pid").read_text())
    except FileNotFoundError:
        return None


def names_of(description):
    return [host["name"] for host in description["hosts"]]


def require_host(state, description, name):
    """A host that is up; others are an error."""
    if name not in [HEAD, *names_of(description)]:
        raise ClusterError(f"there is no host '{name}' in cluster '{state.name}': {', '.join(names_of(description))} or {HEAD}")
    if host_pid(state, name) is None:
        raise ClusterError(f"host {name} is down; `cluster down` and `cluster up` make it again")


def enter(state, host):
    """Moves this process into the host's namespaces; children are in its PID namespace, too."""
    process = Path(f"/proc/{state.init_pid()}/root/proc/{host_pid(state, host)}")
    try:
        spaces = [os.open(process / "ns" / kind, os.O_RDONLY) for kind in ("uts", "ipc", "net", "pid", "mnt")]
        root = os.open(process / "root", os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise ClusterError(f"host {host} has just ended") from error
    for space in spaces:
        kernel.setns(space)
        os.close(space)
    os.fchdir(root)
    os.chroot(".")
    os.close(root)


def login_environment(state, host):
    """As a remote shell would have it: nothing of the caller's."""
    words = shlex.split(state.path("hosts", host, "environment").read_text())
    return dict(word.split("=", 1) for word in words if word != "export")


def run_there(state, host, command, environment):
    """Runs a command on a host, in the same directory if the host has it; returns its exit status. It does not outlive
    this process."""
    directory = os.getcwd()
    enter(state, host)
    with contextlib.suppress(OSError):
        os.chdir(directory)
    child = os.fork()
    if child == 0:
        try:
            kernel.end_with_parent(signal.SIGKILL)
            os.execvpe(command[0], command, environment)
        except OSError as error:
            print(f"cluster: {host}: cannot run {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)
    for number in FORWARDED:
        signal.signal(number, lambda number, _: os.kill(child, number))
    if os.isatty(0):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the child, too
    else:
        signal.signal(signal.SIGINT, lambda number, _: os.kill(child, number))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def execute(state, description, host, command):
    require_host(state, description, host)
    return run_there(state, host, command, login_environment(state, host))


def run_at_bridge(state, command):
    """In the network namespace of the bridge, which is init's."""
    space = os.open(f"/proc/{state.init_pid()}/ns/net", os.O_RDONLY)
    kernel.setns(space)
    os.close(space)
    return subprocess.run(command, check=False).returncode


def hosts_in_file(path):
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ClusterError(f"cannot read the host list {path}: {error.strerror}") from error
    return [line.split()[0].split(":")[0] for line in lines if line.split() and not line.lstrip().startswith("#")]


def check_job(state, description, options):
    """Refuses what mpirun would only find out with daemons already started on hosts."""
    ranks, hosts = [], []
    for option, value in zip(options, options[1:] + [None]):
        if option in RANKS | HOST_LISTS | HOST_FILES and value is None:
            raise ClusterError(f"{option} needs a value")
        if option in RANKS:
            if not re.fullmatch(r"[1-9]\d*", value):
                raise ClusterError(f"{option} {value}: the number of ranks is a positive integer")
            ranks.append(int(value))
        elif option in HOST_LISTS:
            hosts += [word.split(":")[0] for word in value.split(",")]
        elif option in HOST_FILES:
            hosts += hosts_in_file(value)
    for name in hosts or names_of(description):
        require_host(state, description, name)
    slots = sum(host["slots"] for host in description["hosts"])
    if sum(ranks) > slots and not any("oversubscribe" in option.lower() for option in options):
        each = ", ".join(f"{host['name']} {host['slots']}" for host in description["hosts"])
        raise ClusterError(f"a job of {sum(ranks)} ranks is larger than the cluster, which has {slots} slots ({each}); "
                           "`cluster up N --slots M` makes more")


def mpirun_environment(state):
    """What makes mpirun on the head start its daemons on the hosts; for both series of Open MPI."""
    agent, hostfile = str(HERE / "agent"), str(state.path("hostfile"))
    chosen = {
        "MTL_EFA_HOSTS": str(state.directory),
        "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_plm_rsh_agent": agent, "PRTE_MCA_plm_ssh_agent": agent,
        # The daemons on the hosts cannot start further daemons: they do not see the other hosts' processes.
        "OMPI_MCA_plm_rsh_no_tree_spawn": "1", "PRTE_MCA_plm_ssh_no_tree_spawn": "1",
        "OMPI_MCA_mpi_yield_when_idle": "1",  # the hosts' ranks share this machine's cores, which mpirun does not know
        "OMPI_MCA_orte_default_hostfile": hostfile, "PRTE_MCA_prte_default_hostfile": hostfile,
    }
    # The caller's directories for temporary files do not exist on the hosts.
    return {name: value for name, value in os.environ.items() if name not in ("TMPDIR", "XDG_RUNTIME_DIR")} | chosen


def run_job(state, description, options, command):
    """mpirun OPTIONS COMMAND on the head."""
    check_job(state, description, options)
    defaults = []
    if not any(re.fullmatch(r"--?bind-to.*", option) for option in options):
        defaults += ["--bind-to", "none"]  # each host's daemon believes that this machine's cores are its own
    return run_there(state, HEAD, ["mpirun", *defaults, *options, *command], mpirun_environment(state))


def links(state, description):
    """{host: what the host sent and received}, from the bridge's ends of the hosts' links."""
    ports = Path(f"/proc/{state.init_pid()}/root/sys/class/net")
    values = {}
    for name in names_of(description):
        port = ports / port_name(name)
        with contextlib.suppress(OSError):
            read = lambda what, port=port: int((port / "statistics" / what).read_text())  # noqa: E731
            values[name] = {"link": (port / "operstate").read_text().strip(), "eth_sent_bytes": read("rx_bytes"),
                            "eth_received_bytes": read("tx_bytes")}
    return values
