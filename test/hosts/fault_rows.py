"""The faults of test/hosts/faults: what happens, and what must come of it over mtl/efa."""

import os
import signal
import time
from dataclasses import dataclass, field

HEALS_AFTER = 8  # seconds, of what comes back
SEND_TIMEOUT = 20  # seconds, where a row sets mtl_efa_send_timeout
GOES_ON, ENDS = "goes on", "ends"
# The NICs of the first of two ranks on a p4d.24xlarge: it matches messages on the first, and also reads over the second.
FIRST_NIC, SECOND_NIC = "rdmap16s27", "rdmap32s27"


@dataclass
class Fault:
    name: str
    must: str  # GOES_ON, with the data right, or ENDS, with an error
    happens: object = None  # called with the job when all ranks have communicated; None: the fault is there from the start
    tells: str = ""  # a regular expression: what mtl/efa must say, in text with single spaces; "": nothing is required
    says_with_reads: bool = False  # `tells` is required only where mtl/efa reads by RDMA, with libfabric 1.18 or newer
    only: str = ""  # "efa": needs the EFA device; "tcp": is for what goes over Ethernet
    up: list = field(default_factory=list)  # more options of `cluster up`
    device: str = ""  # more options of the software EFA device
    options: list = field(default_factory=list)  # more options of mpirun
    before: list = field(default_factory=list)  # words before the program
    program: list = None  # another program than `exchange`, and its arguments
    ranks: int = 0  # of that program


def stop_for_a_while(job):
    pid = job.rank(3)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(HEALS_AFTER)
    os.kill(pid, signal.SIGCONT)


def link_for_a_while(state, only=None):
    def happens(job):
        job.link(1, state, only)
        time.sleep(HEALS_AFTER)
        job.link(1, "up", only)

    return happens


def host_dies(job):
    pid = job.state.path("hosts", "h1", "pid").read_text().strip()
    job.cluster("exec", "head", "--", "sh", "-c", f"kill -KILL {pid}")


def fill_shared_memory(job):
    job.cluster("exec", "h1", "--", "sh", "-c", "cat /dev/zero >/dev/shm/filled-by-test", check=False, stderr=False)


# Faults of a connection are said by the provider in its own words; ours are about the peer, its host and both NICs.
PEER = r"rank \d+ on host h\d+"
WITH_NIC = PEER + r" \((?:[a-z;_]+, )?NIC [^)]+\)"
# mpirun ends a job whose ranks were killed, before or after a rank has noticed it.
BY_MPIRUN = r"|prterun noticed|mpirun noticed|lost communication|ORTE has lost"
SILENT = r"gives up a peer: " + WITH_NIC + r" has not answered for \d+ s\. Its host answers, so the process was stopped"
# As above, where no other process of that host could be asked.
ALONE = r"gives up a peer: " + WITH_NIC + r" has not answered for \d+ s"
UNREACHABLE = WITH_NIC + r" has not answered for \d+ s, and nor has any other process of that host"
BY_NIC = WITH_NIC + r" failed: [^;.]+; the provider says: \w+(?: \w+)*"
TEN_PERCENT = ["loss=0.1"], ["delay=10", "jitter=2"], ["reorder=0.1", "hold=5"]

FAULTS = [
    Fault("nothing", GOES_ON, lambda job: None),
    Fault("rank killed (SIGKILL)", ENDS, lambda job: os.kill(job.rank(3), signal.SIGKILL), WITH_NIC + BY_MPIRUN),
    Fault("rank crashes (SIGSEGV)", ENDS, lambda job: os.kill(job.rank(3), signal.SIGSEGV), WITH_NIC + BY_MPIRUN),
    Fault("rank stopped", ENDS, lambda job: os.kill(job.rank(3), signal.SIGSTOP), SILENT),
    Fault("rank stopped, MPI_ERRORS_RETURN", ENDS, only="tcp", tells=ALONE, program=["errors/waits", "frozen"], ranks=3),
    Fault(f"rank stopped for {HEALS_AFTER} s", GOES_ON, stop_for_a_while),
    Fault("host dies", ENDS, host_dies, WITH_NIC + BY_MPIRUN),
    Fault("all links of a host down", ENDS, lambda job: job.link(1, "down"), UNREACHABLE + BY_MPIRUN),
    Fault(f"all links of a host down for {HEALS_AFTER} s", GOES_ON, link_for_a_while("down")),
    Fault("EFA links of a host down", ENDS, lambda job: job.link(1, "down", "efa"), WITH_NIC, only="efa"),
    Fault("a further NIC of a rank dies", GOES_ON, lambda job: job.link(1, "dead", SECOND_NIC), "NIC " + SECOND_NIC +
          r"-rdm.* is not used any more\. " + FIRST_NIC + "-rdm takes its share", says_with_reads=True, only="efa"),
    Fault("the first NIC of a rank dies", ENDS, lambda job: job.link(1, "dead", FIRST_NIC), BY_NIC, only="efa"),
    Fault("first NIC dies, MPI_ERRORS_RETURN", ENDS, lambda job: job.link(1, "dead", FIRST_NIC), BY_NIC, only="efa",
          program=["errors/waits", "disturbed"], ranks=4),
    Fault("all NICs of a host die", ENDS, lambda job: job.link(1, "dead", "efa"), r"NIC rdmap\w+", only="efa"),
    Fault("10 % of the packets lost", GOES_ON, only="efa", device="--link loss=0.1,resend=500us"),
    Fault("packets late by 10 ms", GOES_ON, only="efa", device="--link latency=10ms,jitter=2ms"),
    Fault("10 % of the packets out of order", GOES_ON, only="efa", device="--link latency=20us,reorder=0.1,hold=5ms"),
    *(Fault(name, GOES_ON, lambda job, words=words: job.impair(1, words), only="tcp") for name, words in zip(
        ("10 % of the packets lost", "packets late by 10 ms", "10 % of the packets out of order"), TEN_PERCENT)),
    Fault("receiver not ready, 10 % of the packets", GOES_ON, only="efa", device="--faults rnr:p=0.1"),
    Fault(f"receiver not ready for {HEALS_AFTER} s", GOES_ON, link_for_a_while("not-ready", "efa"), only="efa"),
    Fault("receiver never ready", ENDS, lambda job: job.link(1, "not-ready", "efa"), WITH_NIC + ".*receiver", only="efa",
          options=["--mca", "mtl_efa_send_timeout", str(SEND_TIMEOUT)]),
    Fault("registrations refused", GOES_ON, only="efa", device="--faults mr_refused:at=40,times=1000000,node=h1"),
    Fault("memory-lock limit too small (8 MiB)", ENDS, tells=r"Cannot allocate memory.*`ulimit -l`", only="efa", device="--limits mr_bytes=8Mi"),
    Fault("memory-lock limit too small (64 KiB)", GOES_ON, only="tcp", before=["sh", "-c", 'ulimit -l 64 && exec "$@"', "sh"]),
    Fault("address handles exhausted", ENDS, tells=r"cannot talk to " + PEER + r": fi_av_insert failed on rdmap.*?address handle", only="efa",
          device="--limits ah=1"),
    Fault("/dev/shm too small (1 MiB)", GOES_ON, up=["--shm", "1m"]),
    Fault("/dev/shm filled", GOES_ON, fill_shared_memory, up=["--shm", "256m"]),
]
# A few of each kind, for CI: about two minutes over efa.
SELECTION = ("rank killed (SIGKILL)", "first NIC dies, MPI_ERRORS_RETURN", "a further NIC of a rank dies", "the first NIC of a rank dies",
             "10 % of the packets lost", f"receiver not ready for {HEALS_AFTER} s", "receiver never ready",
             "memory-lock limit too small (8 MiB)", "address handles exhausted", "/dev/shm too small (1 MiB)")
