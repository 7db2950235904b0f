"""Spool directory that one process locks for as long as it lives."""

from __future__ import annotations

import errno
import os
import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path

from ..._files import Descriptor, make_private
from .lock import try_lock

OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_LOCK_FILE = "lock"
_CREATE_ATTEMPTS = 8


class LockedDirectory:
    """A locked directory. The lock ends with the process, so that another one can claim the directory."""

    __slots__ = ("_lock", "path")

    def __init__(self, path: Path, lock: Descriptor | None) -> None:
        self.path: Path = path
        self._lock = lock

    @classmethod
    def create(cls, spool: Path, key: str) -> LockedDirectory:
        """Create and lock a directory in ``spool``, whose name sorts by age within ``key``.

        Raises:
            OSError: The folder cannot be written to, or has no locks.
        """
        make_private(spool)
        for _ in range(_CREATE_ATTEMPTS):
            path = spool / f"{key}-{time.time_ns():020d}-{secrets.token_hex(4)}"
            path.mkdir(mode=0o700)
            claim = None
            try:
                claim = cls.claim(path)
            finally:
                if claim is None:  # adopted by another process before it was locked, or locks fail here
                    cls(path, None).release()
            if claim is not None:
                return claim
        raise OSError(errno.ENOLCK, "this file system has no file locks")

    @classmethod
    def claim(cls, path: Path) -> LockedDirectory | None:
        """Lock an existing directory.

        Return ``None`` if a living process holds it, it was removed, or it cannot be opened.

        Raises:
            OSError: No file descriptor is left; try again later.
        """
        lock = _take_lock(path)
        return None if lock is None else cls(path, lock)

    def held(self) -> bool:
        """Return True while the lock is held: the program may have closed its descriptor."""
        return self._lock is not None and self._lock.is_open

    def retake(self) -> bool:
        """Lock the directory again after its descriptor was closed. Return False if another process was faster."""
        with suppress(OSError):
            self._lock = _take_lock(self.path)
        return self.held()

    def segments(self) -> list[Path]:
        """Return its segment files, oldest first.

        Raises:
            OSError: The directory cannot be read now.
        """
        return sorted(self.path / name for name in os.listdir(self.path) if name.endswith(".seg"))

    def release(self) -> None:
        """Release the lock, and remove the directory if it has no segments."""
        if sys.platform == "win32":  # pragma: no cover - an open file cannot be removed there
            self.forget()
        with suppress(OSError):  # without a free descriptor, another process removes it later
            if not self.segments():
                for leftover in (*self.path.glob("*.tmp"), self.path / _LOCK_FILE):
                    leftover.unlink(missing_ok=True)
                self.path.rmdir()
        self.forget()

    def forget(self) -> None:
        """Close our copy of the lock. After a fork the other process still holds it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _take_lock(path: Path) -> Descriptor | None:
    try:
        lock = Descriptor(path / _LOCK_FILE, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno in OUT_OF_DESCRIPTORS:
            raise
        return None
    try:
        if try_lock(lock.number()) and os.path.samestat(os.fstat(lock.number()), os.stat(path / _LOCK_FILE)):
            return lock
    except OSError:  # removed by its former owner in the meantime, or no locks on this file system
        pass
    lock.close()
    return None
