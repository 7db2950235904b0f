"""Lock on an open file, which the kernel releases when the process dies for any reason."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_fcntl: Any
try:
    _fcntl = import_module("fcntl")
except ImportError:  # Windows
    _fcntl = None


def try_lock(descriptor: int) -> bool:
    """Take the lock without waiting. Return False if another process holds it.

    A ``flock`` belongs to the open file, not to the process: a forked child shares it, and it is released when the
    last copy of the descriptor is closed. On Windows it belongs to the process, which cannot fork.
    """
    if _fcntl is not None:
        try:
            _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
    msvcrt: Any = import_module("msvcrt")
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def lock(descriptor: int) -> bool:
    """Wait for the lock. Return False on Windows, which has no file lock that waits without limit."""
    if _fcntl is None:
        return False
    _fcntl.flock(descriptor, _fcntl.LOCK_EX)
    return True
