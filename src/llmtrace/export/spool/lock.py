"""A lock on an open file that the kernel gives back when its process dies, however it dies."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_fcntl: Any
try:
    _fcntl = import_module("fcntl")
except ImportError:  # Windows
    _fcntl = None

__all__ = ["lock", "try_lock"]


def try_lock(descriptor: int) -> bool:
    """Take the lock without waiting; False when somebody else has it.

    ``flock`` belongs to the open file, not the process: a fork shares it, and it is free when the last copy of the
    descriptor is closed. On Windows the lock belongs to the process, which has no forks.
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
    """Wait for the lock. False on Windows, where nothing waits for a lock of a file for long."""
    if _fcntl is None:
        return False
    _fcntl.flock(descriptor, _fcntl.LOCK_EX)
    return True
