"""System calls that Python 3.11 has no function for. Each raises OSError on failure."""

import ctypes
import os

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _bytes(text):
    return None if text is None else os.fsencode(text)


def unshare(flags):
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor):
    _check(_libc.setns(descriptor, 0), "setns")


def mount(source, target, kind=None, flags=0, data=None):
    arguments = [_bytes(text) for text in (source, target, kind)]
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), _bytes(data)), target)


def end_with_parent(signal_number):
    """This process gets the signal when its parent ends; 0: no longer."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal_number), 0, 0, 0), "prctl")


def set_process_name(name):
    """What ps shows: 15 bytes at most."""
    _check(_libc.prctl(PR_SET_NAME, _bytes(name)[:15], 0, 0, 0), "prctl")
