"""What can be measured: lanes (a libfabric provider and its NICs) and contestants (transports that a user could run).

There is one table of each. bench/compare skips what this machine does not have."""
import os
import shutil
import subprocess
from dataclasses import dataclass, field

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclass
class Lane:
    name: str
    title: str
    provider: str  # of libfabric
    profile: str = ""  # of the software EFA device
    link: str = ""  # its link model
    device: bool = False  # local messages go over the NIC, not through shared memory
    contestants: tuple = ("mtl/efa", "packets", "mtl/ofi", "raw libfabric")


# The rate is one that two cores can carry on four NICs at once; test/efasim/link_check checks the model.
LINK = "latency=10us,rate=4G"
LANES = [
    Lane("efa", "efa on the software device, no link model", "efa", "p4d.24xlarge", "", True),
    Lane("efa-read", f"efa with RDMA read, link model {LINK}", "efa", "p4d.24xlarge", LINK, True),
    Lane("efa-plain", f"efa without RDMA, link model {LINK}", "efa", "c5n.18xlarge", LINK, True),
    Lane("efa-rw", f"efa with RDMA read and write, link model {LINK}", "efa", "p5.48xlarge", LINK, True),
    Lane("shm", "shared memory of one node", "shm",
         contestants=("mtl/efa", "packets", "mtl/ofi", "ob1", "ucx", "mpich", "raw libfabric")),
    Lane("tcp", "tcp over loopback", "tcp;ofi_rxm", contestants=("mtl/efa", "mtl/ofi", "ob1", "raw libfabric")),
]


@dataclass
class Contestant:
    """One way to run a benchmark: a function of lane and number of ranks that returns environment and command."""
    name: str
    what: str
    command: object  # (Setup, Lane, ranks) -> (environment, [words])
    usable: object = field(default=lambda setup, lane: True)


@dataclass
class Setup:
    build: str
    series: str  # of Open MPI: 4.1, 5.0
    rails: int = -1  # mtl_efa_rails; -1: the default
    extra: tuple = ()  # further arguments of mpirun for mtl/efa


def mpirun(ranks, *words, binding=True):
    bind = ["--bind-to", "core"] if binding and ranks <= len(os.sched_getaffinity(0)) else ["--bind-to", "none"]
    return ["mpirun", "-np", str(ranks), "--oversubscribe", *bind, *words]


def efa(setup, lane, ranks):
    words = ["--mca", "mtl", "efa", "--mca", "mtl_efa_provider_include", lane.provider, *setup.extra]
    if setup.rails != -1:
        words += ["--mca", "mtl_efa_rails", str(setup.rails)]
    return {}, mpirun(ranks, *words)


def packets(setup, lane, ranks):
    environment, words = efa(setup, lane, ranks)
    return environment, words + ["--mca", "mtl_efa_path", "packets", "--mca", "mtl_efa_shm", str(int(not lane.device))]


def ofi(setup, lane, ranks):
    words = ["--mca", "pml", "cm", "--mca", "mtl", "ofi", "--mca", "mtl_ofi_provider_include", lane.provider]
    if lane.provider == "shm":
        words += ["-x", f"LD_PRELOAD={setup.build}/bench/lax_hints.so"]
    return {}, mpirun(ranks, *words)


def ob1(setup, lane, ranks):
    memory = "vader" if setup.series == "4.1" else "sm"
    words = ["--mca", "pml", "ob1", "--mca", "btl", f"self,{memory if lane.name == 'shm' else 'tcp'}"]
    if lane.name == "tcp":
        words += ["--mca", "btl_tcp_if_include", "lo"]
    return {}, mpirun(ranks, *words)


def ucx(setup, lane, ranks):
    return {"UCX_TLS": "self,sm"}, mpirun(ranks, "--mca", "pml", "ucx", "--mca", "pml_ucx_tls", "any", "--mca",
                                          "pml_ucx_devices", "any", "-x", "UCX_TLS=self,sm")


def has_component(name):
    def usable(setup, lane):
        shown = subprocess.run(["ompi_info", "--parsable"], capture_output=True, text=True).stdout
        return f"mca:{name.replace('/', ':')}:" in shown
    return usable


def mpich(setup, lane, ranks):
    return {}, ["mpiexec.mpich", "-n", str(ranks)] + (["-bind-to", "core"] if ranks <= os.cpu_count() else [])


def raw(setup, lane, ranks):
    return {}, []


CONTESTANTS = [
    Contestant("mtl/efa", "this component", efa),
    Contestant("packets", "this component with mtl_efa_path packets", packets),
    Contestant("mtl/ofi", "Open MPI's own MTL for libfabric", ofi, has_component("mtl/ofi")),
    Contestant("ob1", "Open MPI's pml/ob1, with shared memory or tcp", ob1),
    Contestant("ucx", "Open MPI's pml/ucx, shared memory", ucx, has_component("pml/ucx")),
    Contestant("mpich", "MPICH as Debian packages it", mpich,
               lambda setup, lane: bool(shutil.which("mpiexec.mpich")) and
               os.path.exists(f"{setup.build}/bench/mpi_bench_mpich")),
    Contestant("raw libfabric", "bench/fabric: the floor, no MPI", raw),
]


@dataclass
class Benchmark:
    name: str
    title: str
    unit: str
    words: tuple  # arguments of mpi_bench
    column: int = 1  # of its output; 0 is the size
    more_is_better: bool = False
    floor: tuple = ()  # arguments of bench/fabric, if it has the same pattern
    floor_column: int = 1
    sizes: str = "1:8388608"
    ranks: int = 2
    quick: str = ""  # sizes with --quick; empty: not part of --quick
    program: str = ""  # a third-party program, built for this Open MPI; measured if it is installed


OSU = ("-m", "{least}:{most}", "-i", "200", "-x", "20")
IMB = ("-npmin", "64", "-msglog", "{least_log}:{most_log}", "-iter", "200")
BENCHMARKS = [
    Benchmark("latency", "Latency", "us", ("latency",), floor=("latency",), quick="8:1048576"),
    Benchmark("bw", "Bandwidth", "MB/s", ("bw",), more_is_better=True, floor=("bandwidth",), quick="4096:1048576"),
    Benchmark("rate", "Message rate, window 64", "messages/s", ("mbw_mr",), 2, True, floor=("bandwidth",),
              floor_column=2, sizes="1:8192", quick="8:8"),
    Benchmark("bibw", "Bidirectional bandwidth", "MB/s", ("bibw",), more_is_better=True),
    Benchmark("multi_lat", "Latency, two pairs", "us", ("multi_lat",), ranks=4, sizes="1:65536"),
    Benchmark("multi_bw", "Bandwidth, two pairs", "MB/s", ("mbw_mr",), more_is_better=True, ranks=4, sizes="1:1048576"),
    Benchmark("wildcard", "Latency, any source and tag", "us", ("wildcard",), sizes="1:65536"),
    Benchmark("unexpected", "Unexpected messages, window 64", "us per message", ("unexpected",), sizes="1:65536"),
    Benchmark("latency_mt", "Latency, two threads", "us", ("latency_mt",), sizes="1:65536"),
    Benchmark("vector8", "Vector of 8-byte blocks", "us", ("layout", "-l", "vector8"), quick="65536:1048576",
              sizes="8:67108864"),
    Benchmark("vector64", "Vector of 64-byte blocks", "us", ("layout", "-l", "vector64"), sizes="64:67108864"),
    Benchmark("struct4", "Struct of four large blocks", "us", ("layout", "-l", "struct4"), sizes="64:67108864"),
    Benchmark("indexed", "Indexed, blocks of 8 to 120 bytes", "us", ("layout", "-l", "indexed"), sizes="64:67108864"),
    Benchmark("layout_memory", "Extra memory for a vector of 8-byte blocks", "MiB", ("layout", "-l", "vector8"), 4,
              sizes="65536:67108864"),
    Benchmark("overlap", "Overlap with computation", "%", ("overlap",), more_is_better=True, sizes="1024:4194304"),
    Benchmark("barrier", "Barrier, 4 ranks", "us", ("barrier",), ranks=4, sizes="0:0"),
    Benchmark("bcast", "Broadcast, 4 ranks", "us", ("bcast",), ranks=4, sizes="1:1048576"),
    Benchmark("allreduce", "Allreduce, 4 ranks", "us", ("allreduce",), ranks=4, sizes="4:1048576"),
    Benchmark("alltoall", "All-to-all, 4 ranks", "us", ("alltoall",), ranks=4, sizes="1:262144"),
    # OSU's take -m from 5.6 on; both print a size at the beginning of each line.
    Benchmark("osu_latency", "OSU latency", "us", OSU, floor=("latency",), program="osu_latency"),
    Benchmark("osu_bw", "OSU bandwidth", "MB/s", OSU, more_is_better=True, floor=("bandwidth",), program="osu_bw"),
    Benchmark("osu_mbw_mr", "OSU message rate", "messages/s", OSU, 2, True, floor=("bandwidth",), floor_column=2,
              sizes="1:8192", program="osu_mbw_mr"),
    Benchmark("osu_allreduce", "OSU allreduce, 4 ranks", "us", OSU, ranks=4, sizes="4:1048576", program="osu_allreduce"),
    Benchmark("imb_pingpong", "Intel MPI Benchmarks, PingPong", "us", IMB + ("PingPong",), 2, program="IMB-MPI1"),
    Benchmark("imb_allreduce", "Intel MPI Benchmarks, Allreduce, 4 ranks", "us", IMB + ("Allreduce",), 4, ranks=4,
              sizes="4:1048576", program="IMB-MPI1"),
]
