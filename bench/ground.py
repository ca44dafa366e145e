"""Common to the drivers: the build, the environment of mpirun, the software device, a description of this machine."""
import os
import platform
import re
import subprocess
import sys

from contestants import TREE, Setup

DRIVER = "bench/" + os.path.basename(sys.argv[0])


def shell(command):
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True).stdout


def prepare(build, needed, purposes, **setup):
    """Installs and builds what is missing, unless a build directory is given, and sets the environment in which mpirun finds
    the component. `needed`: a program of the build directory; `purposes`: of ci/packages; `setup`: further fields of
    Setup."""
    if not build:
        release = shell('. /etc/os-release; printf "$ID-$VERSION_ID"')
        build = f"{TREE}/build/{release}"
        script = f'set -euo pipefail; . {TREE}/ci/common.sh; install build {purposes}; build'
        if subprocess.run(["bash", "-c", script, DRIVER]).returncode:
            sys.exit(f"{DRIVER}: the build failed")
    build = os.path.abspath(build)
    if not os.path.exists(f"{build}/{needed}"):
        sys.exit(f"{DRIVER}: {build}/{needed} is missing; build it, or omit --build")
    environment = shell(f'. "{build}/mtl_efa/mtl_efa.sh"; env -0')
    os.environ.update(entry.split("=", 1) for entry in environment.split("\0") if "=" in entry)
    os.environ["EFASIM_BUILD"] = build
    if os.getuid() == 0:
        os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    found = re.search(r"v(\d+\.\d+)", shell("ompi_info --version"))
    return Setup(build, found.group(1) if found else "5.0", **setup)


def device(lane):
    """The prefix that runs a command on the software device, if the lane needs it."""
    if not lane.device:
        return []
    command = [f"{TREE}/test/efasim/efasim-run", "--profile", lane.profile]
    return command + (["--link", lane.link] if lane.link else []) + ["--"]


def environment_of(lane):
    return {"FI_EFA_ENABLE_SHM_TRANSFER": "0"} if lane.device else {}


def is_usable(lane):
    """Whether the lane can be measured; prints why not."""
    words = device(lane) + ["fi_info", "-p", lane.provider]
    if subprocess.run(words, capture_output=True).returncode == 0:
        return True
    print(f"{DRIVER}: this libfabric has no provider {lane.provider}: {lane.name} is skipped"
          + (f" (on Debian 12, `ci/rootfs {DRIVER}` measures it)" if lane.device else ""))
    return False


def machine():
    cpu = re.search(r"model name\s*:\s*(.*)", open("/proc/cpuinfo").read())
    return {"cpu": cpu.group(1) if cpu else platform.processor(), "cores": os.cpu_count(), "kernel": platform.release(),
            "system": shell('. /etc/os-release; printf "$PRETTY_NAME"'),
            "Open MPI": shell("ompi_info --version").splitlines()[0].strip() if shell("ompi_info --version") else "",
            "libfabric": (re.search(r"libfabric: (\S+)", shell("fi_info --version")) or [None, "?"])[1],
            "mtl_efa": shell(f'git -C "{TREE}" describe --always --dirty').strip()}
