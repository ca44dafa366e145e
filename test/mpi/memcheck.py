"""valgrind's memcheck for the MPI programs, with the component as it is installed."""

import re
import shutil
from pathlib import Path

COMPONENT = "mtl_efa/mca_mtl_efa.so"
SLOWER = 20
# hwloc's, which then reads /sys.
NOTICE = re.compile(r"hwloc x86 backend cannot work under Valgrind, disabling\.|May be reenabled by dumping CPUIDs .*|"
                    r"and reloading them under Valgrind .*")
SUPPRESSIONS = Path(__file__).resolve().parent / "memcheck.supp"
# Our files, as memcheck prints them, and code whose accesses are its own.
OURS = re.compile(r"\((?:\S*/)?(?:common|mtl_efa)/\w+\.(?:c|h|cpp|hpp):\d+\)")
OPEN_MPI = re.compile(r"\((?:in )?\S*(?:lib(?:mpi|open-pal|open-rte|pmix)\b|/mca_(?!mtl_efa))")
TOOL = re.compile(r"vg_replace_\w+\.c")
# memcheck cannot see what a NIC, another process or the kernel writes, so what libraries pass on may count as
# uninitialised. What the component itself does with such data is ours.
UNINITIALISED = re.compile(r"^(?:Conditional jump|Use of uninitialised|Syscall param)")


def missing():
    return None if shutil.which("valgrind") else "valgrind is not installed"


def launcher():
    return []


def wrapper(_component, directory):
    return ["valgrind", f"--log-file={directory}/memcheck.%q{{OMPI_COMM_WORLD_RANK}}.%p", "--fullpath-after=",
            f"--suppressions={SUPPRESSIONS}", "--leak-check=no", "--num-callers=30"]


def report_of_ours(report):
    """Whether the component made the error, or a library on its behalf."""
    title, *frames = [line.strip() for line in report.splitlines() if line.strip()]
    called = []
    for frame in frames:
        if not re.match(r"(?:at|by) 0x", frame):
            break  # where the memory came from
        if OPEN_MPI.search(frame):
            break
        if not TOOL.search(frame):
            called.append(bool(OURS.search(frame)))
    return any(called[:1] if UNINITIALISED.match(title) else called)


def judge(directory, ranks):
    logs = [re.sub(r"^==\d+== ?", "", file.read_text(errors="replace"), flags=re.M)
            for file in sorted(Path(directory).glob("memcheck.*"))]
    reports = [part for log in logs for part in log.split("\n\n") if re.search(r"^ +at 0x", part, re.M)]
    ours = [report.strip() for report in reports if report_of_ours(report)]
    ended = sum("ERROR SUMMARY:" in log for log in logs)
    wrong = [] if ended == ranks else [f"memcheck came to the end in {ended} of {ranks} ranks"]
    if ours:
        wrong.append(f"{len(ours)} reports of memcheck about the component")
    return wrong, ours
