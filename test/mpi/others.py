"""Third-party programs from Debian's packages: how to run them, and how to judge their output."""

import re
import shutil
import subprocess
import sys
from functools import cache


@cache
def python_with_mpi4py():
    """The Python interpreter that has mpi4py and numpy: this one or the system's; None if neither has them."""
    for python in dict.fromkeys((sys.executable, shutil.which("python3"), shutil.which("python3", path="/usr/bin"))):
        if python and subprocess.run([python, "-c", "import mpi4py, numpy"], stdin=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return python
    return None


class NetPipe:
    """NetPIPE: ping-pong of sizes around all powers of two. With -i it checks every byte, otherwise it measures."""

    program, package = "NPopenmpi", "netpipe-openmpi"
    largest = 3 << 20  # bytes
    # Number of sizes up to the largest, with and without -i; fewer results mean that it stopped early.
    lines = {True: 39, False: 115}

    def missing(self):
        return None if shutil.which(self.program) else f"{self.package} is not installed"

    def command(self, words):
        return [self.program, *words, "-u", str(self.largest), "-n", "5"]

    def prepare(self, directory):
        pass

    def judge(self, text, _directory):
        # mpirun of Open MPI 5.0 may split its lines, so results are counted and lines are not parsed.
        passed = text.count("Integrity check passed")
        results = passed or len(re.findall(r"Mbps in", text))
        wanted = self.lines[passed > 0]
        wrong = ["NetPIPE's integrity check failed"] if re.search("check failed", text, re.I) else []
        return wrong + ([f"NetPIPE ended after {results} of {wanted} sizes"] if results < wanted else [])

    def ignored(self, line):
        """NetPIPE writes its progress and its results to stderr."""
        return re.search(r"\d+ bytes +\d+ times|Integrity check passed$|Mbps in|^Now starting the main loop|^Using synchronous sends", line)


class Hpcc:
    """HPC Challenge: HPL, PTRANS, RandomAccess, FFT and more, each with a residual or error count of its own."""

    program, package = "hpcc", "hpcc"
    # HPL's input file, for four processes and about one second. The lines after 32 are for PTRANS.
    settings = """HPL input file
    of mtl_efa's test
    HPL.out
    8 (device: file)
    1 (problem sizes)
    600
    1 (block sizes)
    40
    0 (process mapping: by rows)
    1 (process grids)
    2
    2
    16.0 (threshold of the residual)
    1
    2
    1
    4
    1
    2
    1
    1
    1
    3
    1
    1
    2
    64
    0
    0
    1
    8
    -
    0
    0
    0
    0
    """

    def missing(self):
        return None if shutil.which(self.program) else f"{self.package} is not installed"

    def command(self, words):
        return [self.program, *words]

    def prepare(self, directory):
        lines = [line.strip() for line in self.settings.splitlines()]
        (directory / "hpccinf.txt").write_text("\n".join(lines))

    def judge(self, _text, directory):
        output = directory / "hpccoutf.txt"
        result = output.read_text(errors="replace") if output.exists() else ""
        wrong = []
        if "End of HPC Challenge tests." not in result:
            wrong.append("HPCC did not reach its end")
        if "Success=1" not in result:
            wrong.append("HPCC reports no success")
        wrong += [f"HPCC says: {line.strip()}" for line in result.splitlines()
                  if re.search(r"\bFAILED\b|[1-9]\d* tests (?:completed and )?failed|found [1-9]\d* errors", line)][:3]
        if len(re.findall(r"\bPASSED\b", result)) == 0:
            wrong.append("HPCC reports no test that passed")
        return wrong

    def ignored(self, _line):
        return None


PROGRAMS = {"NetPIPE": NetPipe(), "HPCC": Hpcc()}
