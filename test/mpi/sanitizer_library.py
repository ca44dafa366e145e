"""The library of a sanitizer, which must be loaded before a program that is not built with it."""

import re
import subprocess


def of(component, name):
    """The file of library `name`, such as "tsan", of the compiler that built the component; None if it has none."""
    listed = subprocess.run(["ldd", str(component)], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = re.search(rf"lib{name}\S* => (\S+)", listed)
    return found and found[1]


def wrapper(component, name, settings):
    """Words before the program: the library and `settings` (shell assignments) are for it alone, not for its shell. Ranks on
    hosts with PID namespaces have the same process ids, so settings may use $OMPI_COMM_WORLD_RANK. Without libfabric's memory
    hooks, which patch the sanitizer's own functions (2.1: the program crashes)."""
    return ["sh", "-c", f'{settings} FI_EFA_MR_CACHE_ENABLE=0 LD_PRELOAD={of(component, name)}${{LD_PRELOAD:+:$LD_PRELOAD}} exec "$@"', "sh"]
