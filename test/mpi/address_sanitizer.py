"""AddressSanitizer for the MPI programs: the component is built with it, and the programs get its library by LD_PRELOAD.

Memory of the program and of all libraries is watched where it is allocated, copied and freed, and by each access of the
component. The first error ends the process.
"""

import re
from pathlib import Path

import sanitizer_library

COMPONENT = "test/address_sanitizer/mca_mtl_efa.so"
SLOWER = 3
# UndefinedBehaviorSanitizer's, if it starts after AddressSanitizer.
NOTICE = re.compile(r"==\d+==Installed the sigaction for signal \d+")
STARTED = "AddressSanitizer Init done"
ERROR = re.compile(r"ERROR: \w+Sanitizer|runtime error: ")


def missing():
    return None


def launcher():
    return []


def wrapper(component, directory):
    address = "verbosity=1:detect_leaks=0:detect_stack_use_after_return=1"
    return sanitizer_library.wrapper(component, "asan", f"ASAN_OPTIONS={address}:log_path={directory}/asan.$OMPI_COMM_WORLD_RANK "
                                     f"UBSAN_OPTIONS=print_stacktrace=1:log_path={directory}/ubsan.$OMPI_COMM_WORLD_RANK")


def judge(directory, ranks):
    logs = [file.read_text(errors="replace") for file in sorted(Path(directory).glob("*san.*"))]
    reports = [log[ERROR.search(log).start():].strip() for log in logs if ERROR.search(log)]
    started = sum(STARTED in log for log in logs)
    wrong = [] if started == ranks else [f"AddressSanitizer ran in {started} of {ranks} ranks"]
    if reports:
        wrong.append(f"{len(reports)} reports of sanitizers")
    return wrong, reports
