"""ThreadSanitizer for the MPI programs: the component is built with it, and the programs get its library by LD_PRELOAD."""

import re
import subprocess
from pathlib import Path

import sanitizer_library

SUPPRESSIONS = Path(__file__).resolve().parent / "thread_sanitizer.supp"
COMPONENT = "test/thread_sanitizer/mca_mtl_efa.so"
SLOWER = 3
# Code whose accesses are its own: Open MPI and the software EFA device. All other libraries (libfabric, libstdc++) count as
# part of the function that called them.
FOREIGN = re.compile(r"lib(mpi|open-pal|open-rte|pmix|efasim)\b.*|mca_.*")
BEGIN, END = "WARNING: ThreadSanitizer: ", "SUMMARY: ThreadSanitizer: "
STARTED = "Running under ThreadSanitizer"
# Written to stderr before the log file is open.
NOTICE = re.compile(r"==\d+==Installed the sigaction for signal \d+")


def missing():
    return None


def launcher():
    """GCC 12's ThreadSanitizer may not start where addresses are randomized in more than 28 bits (vm.mmap_rnd_bits)."""
    command = ["setarch", "-R"]
    works = subprocess.run([*command, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    return command if works else []


def wrapper(component, directory):
    # A report does not end the program, so that a run shows all of them.
    options = f"exitcode=0:verbosity=1:suppressions={SUPPRESSIONS}:log_path={directory}/tsan.$OMPI_COMM_WORLD_RANK"
    return sanitizer_library.wrapper(component, "tsan", f"TSAN_OPTIONS={options}")


def report_of_ours(report):
    """Whether one of the two accesses (or locks, or calls) of the report is made by the component."""
    # The stacks of the accesses come first; then those that tell where memory, mutexes and threads come from.
    stacks = re.split(r"\n\n  (?:Location|Mutex \w+ \(\w+\) created|Thread|As if synchronized)", report)[0].split("\n\n")
    for stack in stacks:
        for module in re.findall(r"^    #\d+ .*\((\S+?)\+0x[0-9a-f]+\)", stack, re.M):
            if module == Path(COMPONENT).name:
                return True
            if FOREIGN.fullmatch(module):
                break
    return False


def judge(directory, ranks):
    """What is wrong, and the reports that are about the component."""
    logs = [file.read_text(errors="replace") for file in sorted(Path(directory).glob("tsan.*"))]
    reports = [part for log in logs for part in re.split(r"^=+$", log, flags=re.M) if BEGIN in part]
    ours = [report.strip() for report in reports if report_of_ours(report)]
    wrong = []
    started = sum(STARTED in log for log in logs)
    if started != ranks:
        wrong.append(f"ThreadSanitizer ran in {started} of {ranks} ranks")
    if any("FATAL: " in log or "suppression" in log and "is unloaded" in log for log in logs):
        wrong.append("ThreadSanitizer ended early")
    if ours:
        wrong.append(f"{len(ours)} reports of ThreadSanitizer about the component")
    return wrong, ours
