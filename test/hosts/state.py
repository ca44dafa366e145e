"""What is on disk of a cluster: /run/mtl_efa-hosts/NAME, private to root.

    lock             flock()ed by the cluster's init for as long as it lives
    cluster.json     the description: hosts, addresses, instance types, slots; written when the cluster is up
    pid              of the init, as seen from outside
    log              of the init and of the hosts' first processes
    etc-hosts, hostfile
    hosts/NAME/      of a host: pid (of its first process, in the init's PID namespace; gone when the host is),
                     environment (of a login on that host, as shell commands)
    fabric/          of the software EFA device; a tmpfs that only the cluster's own namespaces have

The directory may be removed whenever the lock is free: the init's end has ended everything else.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import stat
from pathlib import Path

ROOT = Path("/run/mtl_efa-hosts")  # only root can make anything in /run


class ClusterError(Exception):
    """A message for the user: one line."""


def make_root():
    try:
        ROOT.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ClusterError(f"cannot make {ROOT}: {error.strerror}; clusters need root") from error
    status = os.lstat(ROOT)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ClusterError(f"{ROOT} is not a directory that is private to this user; remove it")


@contextlib.contextmanager
def registry():
    """Held while clusters are made and taken down: one caller at a time."""
    make_root()
    descriptor = os.open(ROOT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class State:
    def __init__(self, name):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", name):
            raise ClusterError(f"'{name}' is not a name for a cluster: letters, digits and _.- only, at most 40")
        self.name = name
        self.directory = ROOT / name

    def path(self, *parts):
        return self.directory.joinpath(*parts)

    @property
    def fabric(self):
        return self.path("fabric")

    def hold_lock(self):
        """Makes the calling process the one that the cluster lives and ends with; the descriptor stays open."""
        descriptor = os.open(self.path("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor

    def alive(self):
        try:
            descriptor = os.open(self.path("lock"), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)

    def describe(self):
        """The description of a cluster that is up."""
        try:
            if self.alive():
                return json.loads(self.path("cluster.json").read_text())
        except (OSError, ValueError):
            pass
        raise ClusterError(f"there is no cluster '{self.name}': make one with `cluster up N`")

    def init_pid(self):
        return int(self.path("pid").read_text())

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def all_states():
    with contextlib.suppress(FileNotFoundError):
        for entry in sorted(ROOT.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                yield State(entry.name)


def write_file(path, text, mode=0o600):
    """Whole or not at all, also for readers at the same time."""
    temporary = path.with_name(path.name + ".new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)
