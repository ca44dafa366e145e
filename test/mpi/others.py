"""Programs that others wrote, from Debian's packages: how to run them, and how to tell that they passed."""

import shutil
import subprocess
import sys
from functools import cache


@cache
def python_with_mpi4py():
    """A Python interpreter that has mpi4py and numpy: ours, or the system's; None without."""
    for python in dict.fromkeys((sys.executable, shutil.which("python3"), shutil.which("python3", path="/usr/bin"))):
        if python and subprocess.run([python, "-c", "import mpi4py, numpy"], stdin=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return python
    return None


PROGRAMS = {}
