"""The tests of test/mpi/run."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Test:
    name: str
    command: str  # program of this directory with its arguments, or a key of others.PROGRAMS
    ranks: int
    why: str  # what it tests
    limit: int = 60  # seconds; ten times the duration on an idle machine with two cores
    quick: bool = False  # part of --quick: the result may differ between providers
    kind: str = "program"  # "program", "python" (a script of this directory) or "other" (a key of others.PROGRAMS)
    thread_sanitizer: bool = False  # part of --checker thread-sanitizer: uses threads
    series: tuple = ("4.1", "5.0")
    options: str = ""  # of mpirun, besides those that choose the transport
    series_options: dict = field(default_factory=dict)  # series -> further options of mpirun
    # (transport, series) -> the reason why the test is skipped there. A series of "" means all.
    broken: dict = field(default_factory=dict)
    again: str = ""  # a line of the program that tells of a fault of Open MPI or PMIx that comes and goes: the test is run again
    # series -> the reason why the test is skipped if the ranks are on several hosts.
    apart: dict = field(default_factory=dict)


PML_BSEND = "fault of Open MPI: a restarted MPI_Bsend_init sends old contents (ompi #12797, not fixed in these releases)"
SM_ISSEND = "fault of Open MPI: ob1 over sm does not complete this test"
BSEND_SEQUENCE = "fault of Open MPI: ob1 does not recover from the error that this test raises"
VADER_CSWAP = "fault of Open MPI: MPI_Compare_and_swap over btl/vader is not reliable (ompi #11349)"
PMIX_FENCES = "fault of PMIx: a process does not get into MPI again"  # openpmix #4113
MPIRUN_CRASH = "fault of Open MPI 4.1 with PMIx 4.2: mpirun itself crashes when it ends, in PMIx_server_finalize"
SPAWN_APART = "fault of Open MPI: MPI_Comm_spawn over several hosts does not end (also with ob1)"
RDMA_APART = "fault of Open MPI: with Debian's BTLs osc/rdma makes no windows between hosts (also with mtl/ofi and ob1)"
OB1_REFERENCE = "without cross-memory attach ob1 has no BTL for windows"

# Forms of the one-sided tests: suffix of the name -> options of mpirun, series. Open MPI sets up the BTLs that carry
# windows in one way if the pml is named, and in another if not. 4.1 can also use messages (osc/pt2pt).
ONE_SIDED_FORMS = {
    "": ("", ("4.1", "5.0")),
    "_pml": ("--mca pml cm", ("4.1", "5.0")),
    "_pt2pt": ("--mca osc ^rdma,ucx", ("4.1",)),
}


# Open MPI 5.0.7: btl/sm often crashes in `one_sided layouts`, and in no other of these programs: docs/known-issues.md.
WITHOUT_SM = {"5.0": "--mca btl ^sm"}


def one_sided(what, ranks, why, forms=tuple(ONE_SIDED_FORMS), broken=None, series_options=None):
    tests = []
    for form in forms:
        options, series = ONE_SIDED_FORMS[form]
        tests.append(Test(f"one_sided_{what}{form}", f"one_sided {what}", ranks, f"one-sided{options and ', ' + options}: {why}",
                          limit=120, options=f"{options} --mca btl_tcp_if_include lo", series=series,
                          series_options=series_options or {},
                          apart={} if form == "_pt2pt" else {"4.1": RDMA_APART},
                          broken={("ob1", ""): OB1_REFERENCE} | ((broken or {}).get(form) or {})))
    return tests


TESTS = [
    Test("send_modes", "send_modes", 2, "every mode, blocking and nonblocking, every size, receives posted early and late", quick=True),
    Test("persistent", "persistent standard synchronous ready", 2, "persistent requests, MPI_BOTTOM, start order"),
    Test("persistent_buffered", "persistent buffered", 2, "restarted MPI_Bsend_init",
         broken={(transport, ""): PML_BSEND for transport in ("ob1", "ofi")}, quick=True),
    Test("persistent_buffered_flight", "persistent_buffered", 2, "MPI_Bsend_init: several starts in flight, any layout",
         broken={(transport, ""): PML_BSEND for transport in ("ob1", "ofi")}, quick=True, thread_sanitizer=True),
    Test("synchronous", "synchronous", 2, "a synchronous send does not complete before its receive", quick=True),
    Test("synchronous_many", "synchronous many", 2, "thousands of synchronous sends outstanding",
         broken={("ob1", "5.0"): SM_ISSEND}),
    Test("matching", "matching", 4, "wildcards, all tag bits, MPI_PROC_NULL, collectives beside MPI_ANY_TAG", quick=True),
    Test("order", "order", 2, "no message overtakes another: mixed sizes, bursts, early and late receives", quick=True),
    Test("unexpected", "unexpected", 4, "thousands of unexpected messages received in shuffled order", quick=True),
    Test("flood", "flood bounded", 3, "the receiver's memory is bounded, whatever is sent; the last message can be received first",
         options="--mca mtl_efa_path packets",
         broken={(transport, ""): "another transport has no such bound" for transport in ("ob1", "ofi")}),
    Test("probe", "probe", 3, "lengths are right, absent messages are not found, order is kept", quick=True),
    Test("mprobe", "mprobe", 2, "matched probes: every size, vectors, truncation, synchronous sends", quick=True),
    Test("many_receives", "many_receives", 2, "more receives than a provider takes: messages go on, in order", quick=True),
    Test("cancel", "cancel", 2, "cancel of posted and matched receives, of receives while the message arrives, and of sends", quick=True),
    Test("read_only", "read_only", 2, "messages from memory that may not be written: short, long, of blocks", quick=True),
    Test("zero_length", "zero_length", 2, "empty messages from null pointers, MPI_BOTTOM and empty types"),
    Test("truncation", "truncation", 2, "MPI_ERR_TRUNCATE; the send completes; nothing is overwritten", quick=True),
    Test("status_errors", "status_errors", 2, "errors in the statuses of MPI_Waitall, MPI_Testsome and similar calls"),
    Test("single_status", "single_status", 2, "calls that return one status do not change its MPI_ERROR", quick=True),
    Test("datatypes", "datatypes", 2, "every layout to every layout, MPI_BOTTOM, partial elements, MPI_PACKED", quick=True),
    Test("self", "self", 2, "messages of a rank to itself"),
    Test("self_alone", "self", 1, "messages of the only rank to itself"),
    Test("completion", "completion", 2, "wait and test for one, any, some and all; freed requests; Sendrecv"),
    Test("buffered", "buffered", 2, "buffered sends complete at once; detach waits for them"),
    Test("buffered_overflow", "buffered overflow", 2, "MPI_Bsend without space returns MPI_ERR_BUFFER; later messages arrive",
         broken={("ob1", ""): BSEND_SEQUENCE}),
    Test("communicators", "communicators", 4, "thousands of communicators, reused context ids", limit=120),
    Test("intercomm", "intercomm", 5, "messages between the groups of an intercommunicator"),
    Test("spawn", "spawn", 2, "MPI_Comm_spawn", apart={"5.0": SPAWN_APART}),
    Test("connect", "connect", 4, "MPI_Comm_accept and MPI_Comm_connect"),
    Test("sessions", "sessions", 3, "sessions before and beside MPI_COMM_WORLD", limit=120, series=("5.0",), again=PMIX_FENCES),
    Test("sessions_again", "sessions 2", 3, "MPI is left and entered again more than once", limit=120, series=("5.0",), again=PMIX_FENCES),
    Test("signals", "signals", 2, "the program's signal handlers stay in place", quick=True),
    Test("signals_session", "signals session", 2, "the same with a session before MPI_COMM_WORLD", series=("5.0",)),
    Test("session_threads", "session_threads alone", 2, "threads in a session", limit=180, series=("5.0",), quick=True,
         thread_sanitizer=True),
    Test("session_threads_after", "session_threads after", 2, "threads in a session beside one without", limit=180, series=("5.0",)),
    Test("session_threads_world", "session_threads world", 2, "threads in a session after MPI_Init", limit=180, series=("5.0",),
         thread_sanitizer=True),
    Test("first_contact", "first_contact", 4, "all threads send to each peer for the first time at once", quick=True,
         thread_sanitizer=True),
    Test("threads", "threads", 2, "many threads use one communicator at once", limit=180, quick=True, thread_sanitizer=True),
    Test("threads_3", "threads", 3, "the same with messages from several ranks", limit=240),
    Test("collectives", "collectives", 4, "Open MPI's collectives over the MTL", limit=120, quick=True),
    Test("collectives_8", "collectives", 8, "the same with more ranks than cores", limit=240),
    Test("random_traffic", "random_traffic", 4, "random sizes, modes, layouts and calls at once", limit=120, quick=True),
    Test("random_traffic_8", "random_traffic 8 12", 8, "the same with more ranks than cores", limit=180),
    *one_sided("active", 3, "fences, post-start-complete-wait; every flavor of window"),
    *one_sided("passive", 3, "locks, flushes, operations with requests"),
    *one_sided("atomics", 3, "accumulate, get-accumulate, fetch-and-op: each takes effect once"),
    *one_sided("compare_and_swap", 3, "compare-and-swap: each takes effect once",
               broken={form: {("efa", "4.1"): VADER_CSWAP, ("ofi", "4.1"): VADER_CSWAP} for form in ("", "_pml")}),
    *one_sided("layouts", 2, "derived datatypes on both sides of put and get", series_options=WITHOUT_SM),
    # osc/pt2pt refuses MPI_THREAD_MULTIPLE.
    *one_sided("threads", 2, "put, get and accumulate by several threads", forms=("", "_pml")),
    Test("performance_variables", "performance_variables", 2, "MPI_T performance variables: properties, exact counts of messages and bytes",
         broken={(transport, ""): "variables of mtl_efa" for transport in ("ob1", "ofi")}, quick=True),
    Test("blocks", "blocks", 2, "datatypes of a few long blocks, which are not packed", quick=True),
    Test("reuse", "reuse", 2, "memory that is mapped again at the same address: mmap, free, sbrk, mremap"),
    Test("finalize_sends", "finalize sends", 4, "MPI_Finalize delivers freed and buffered sends"),
    Test("finalize_unreceived", "finalize unreceived", 3, "MPI_Finalize with unreceived messages"),
    Test("finalize_posted", "finalize posted", 3, "MPI_Finalize with receives that no message matches"),
    Test("finalize_burst", "finalize burst", 4, "MPI_Finalize directly after many messages", quick=True),
    Test("large", "large", 2, "messages above 2 GiB, contiguous and not", limit=240),
    Test("objects", "objects.py", 4, "mpi4py: pickled objects and numpy arrays", limit=120, kind="python", quick=True),
    Test("netpipe", "NetPIPE -i", 2, "NetPIPE checks every byte of sizes up to 3 MiB", kind="other"),
    Test("netpipe_any_source", "NetPIPE -i -a -z", 2, "the same, receives posted before, from any source", kind="other"),
    Test("netpipe_synchronous", "NetPIPE -S", 2, "NetPIPE measures with synchronous sends", kind="other"),
    Test("netpipe_both_ways", "NetPIPE -2 -a", 2, "NetPIPE measures both ways at once", kind="other"),
    Test("hpcc", "HPCC", 4, "HPL, PTRANS, RandomAccess, FFT: residuals and error counts", limit=180, kind="other"),
]
