"""The tests that test/mpi/run knows: one line of facts each."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Test:
    name: str
    command: str  # program of this directory with its arguments, or a key of others.PROGRAMS
    ranks: int
    why: str  # what it would catch
    limit: int = 60  # seconds; ten times what a quiet machine with two cores needs
    quick: bool = False  # part of --quick: what differs between providers
    kind: str = "program"  # "program", "python" (a script of this directory) or "other" (somebody else's)
    series: tuple = ("4.1", "5.0")
    # (transport, series) -> why it is not run there. A series of "" means all.
    broken: dict = field(default_factory=dict)


PML_BSEND = "Open MPI's own fault: restarted MPI_Bsend_init sends old contents (ompi #12797, not in these releases)"
SM_ISSEND = "Open MPI's own fault: ob1 over sm hangs with a thousand MPI_Issend outstanding"
BSEND_SEQUENCE = "Open MPI's own fault: a failed MPI_Bsend makes ob1 skip a sequence number, the next message hangs"

TESTS = [
    Test("send_modes", "send_modes", 2, "every mode, blocking and not, every size, posted early and late", quick=True),
    Test("persistent", "persistent standard synchronous ready", 2, "persistent requests, MPI_BOTTOM, start order"),
    Test("persistent_buffered", "persistent buffered", 2, "restarted MPI_Bsend_init",
         broken={(transport, "4.1"): PML_BSEND for transport in ("efa", "ob1", "ofi")}
         | {(transport, "5.0"): PML_BSEND for transport in ("efa", "ob1", "ofi")}),
    Test("synchronous", "synchronous", 2, "a synchronous send does not complete before its receive", quick=True),
    Test("synchronous_many", "synchronous many", 2, "thousands of synchronous sends outstanding",
         broken={("ob1", "5.0"): SM_ISSEND}),
    Test("matching", "matching", 4, "wildcards, all tag bits, MPI_PROC_NULL, collectives beside MPI_ANY_TAG", quick=True),
    Test("order", "order", 2, "no message overtakes another: mixed sizes, bursts, early and late receives", quick=True),
    Test("unexpected", "unexpected", 4, "thousands of unexpected messages received in shuffled order", quick=True),
    Test("probe", "probe", 3, "true lengths, nothing found that is not there, order kept", quick=True),
    Test("mprobe", "mprobe", 2, "matched probes: every size, vectors, truncation, synchronous sends", quick=True),
    Test("cancel", "cancel", 2, "cancel of posted and matched receives, in a race, and of sends", quick=True),
    Test("zero_length", "zero_length", 2, "empty messages from null pointers, MPI_BOTTOM and empty types"),
    Test("truncation", "truncation", 2, "MPI_ERR_TRUNCATE; the sender is released; nothing is overwritten", quick=True),
    Test("status_errors", "status_errors", 2, "errors in the statuses of Waitall, Testsome and their like"),
    Test("datatypes", "datatypes", 2, "every layout to every layout, MPI_BOTTOM, partial elements, MPI_PACKED", quick=True),
    Test("self", "self", 2, "messages to oneself"),
    Test("self_alone", "self", 1, "messages to oneself as the only process"),
    Test("completion", "completion", 2, "wait and test for one, any, some and all; freed requests; Sendrecv"),
    Test("buffered", "buffered", 2, "buffered sends complete at once; detach waits for them"),
    Test("buffered_overflow", "buffered overflow", 2, "MPI_Bsend without space is MPI_ERR_BUFFER, and no more",
         broken={("ob1", ""): BSEND_SEQUENCE}),
    Test("communicators", "communicators", 4, "thousands of communicators, identifiers used again", limit=120),
    Test("intercomm", "intercomm", 5, "messages between the sides of an intercommunicator"),
    Test("spawn", "spawn", 2, "MPI_Comm_spawn"),
    Test("connect", "connect", 4, "MPI_Comm_accept and MPI_Comm_connect"),
    Test("sessions", "sessions", 3, "sessions before, beside and after MPI_COMM_WORLD", series=("5.0",)),
    Test("first_contact", "first_contact", 4, "threads reach each peer for the first time at once", quick=True),
    Test("threads", "threads", 2, "threads hammer one communicator", limit=180, quick=True),
    Test("threads_3", "threads", 3, "the same with messages from several ranks", limit=240),
    Test("collectives", "collectives", 4, "collectives that are made of our messages", limit=120, quick=True),
    Test("collectives_8", "collectives", 8, "the same with more ranks than cores", limit=240),
    Test("random_traffic", "random_traffic", 4, "random sizes, modes, layouts and calls at once", limit=120, quick=True),
    Test("random_traffic_8", "random_traffic 8 12", 8, "the same with more ranks than cores", limit=180),
    Test("blocks", "blocks", 2, "types of few long blocks, which are not packed", quick=True),
    Test("reuse", "reuse", 2, "memory that comes back at an address with other contents: mmap, free, sbrk, mremap"),
    Test("finalize_sends", "finalize sends", 4, "MPI_Finalize delivers freed and buffered sends"),
    Test("finalize_unreceived", "finalize unreceived", 3, "MPI_Finalize with messages that nobody receives"),
    Test("finalize_posted", "finalize posted", 3, "MPI_Finalize with receives that nothing matches"),
    Test("finalize_burst", "finalize burst", 4, "MPI_Finalize right after a flood", quick=True),
    Test("large", "large", 2, "messages above 2 GiB, contiguous and not", limit=240),
    Test("objects", "objects.py", 4, "mpi4py: pickled objects and numpy arrays", limit=120, kind="python", quick=True),
    Test("netpipe", "NetPIPE -i", 2, "NetPIPE checks every byte of sizes up to 3 MiB", kind="other"),
    Test("netpipe_any_source", "NetPIPE -i -a -z", 2, "the same, receives posted before, from any source", kind="other"),
    Test("netpipe_synchronous", "NetPIPE -S", 2, "NetPIPE measures with synchronous sends", kind="other"),
    Test("netpipe_both_ways", "NetPIPE -2 -a", 2, "NetPIPE measures both ways at once", kind="other"),
    Test("hpcc", "HPCC", 4, "HPL, PTRANS, RandomAccess, FFT: residuals and error counts", limit=180, kind="other"),
]
