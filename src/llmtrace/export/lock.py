"""A lock on an open file that the kernel gives back when its process dies, however it dies."""

from __future__ import annotations

import sys

__all__ = ["try_lock"]

if sys.platform == "win32":  # pragma: no cover - Windows
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """Take the lock without waiting; false when somebody else has it."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Take the lock without waiting; false when somebody else has it.

        ``flock`` belongs to the open file, not the process: a fork shares it, and it is free when the last copy of the
        descriptor is closed.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
