"""A directory of the spool that one process holds as its own for as long as it lives."""

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

__all__ = ["OUT_OF_DESCRIPTORS", "LockedDirectory"]

OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_LOCK = "lock"
_ATTEMPTS = 8


class LockedDirectory:
    """A locked directory. Its lock goes with the process, so what a dead process left can be claimed by another."""

    __slots__ = ("_lock", "path")

    def __init__(self, path: Path, lock: Descriptor | None) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, spool: Path, key: str) -> LockedDirectory:
        """A new directory in ``spool``, whose name sorts by age within ``key``.

        Raises:
            OSError: The folder cannot be written to.
        """
        make_private(spool)
        for _ in range(_ATTEMPTS):
            path = spool / f"{key}-{time.time_ns():020d}-{secrets.token_hex(4)}"
            path.mkdir(mode=0o700)
            claim = None
            try:
                claim = cls.claim(path)
            finally:
                if claim is None:  # another process adopted it before it was locked, or there is no lock to be had
                    cls(path, None).release()
            if claim is not None:
                return claim
        raise OSError(errno.ENOLCK, "no locks on this file system")

    @classmethod
    def claim(cls, path: Path) -> LockedDirectory | None:
        """Claim a directory. ``None`` when a living process has it, it is gone, or it is not ours to open.

        Raises:
            OSError: The process or the system has no descriptor left: try again later.
        """
        lock = _take_lock(path)
        return None if lock is None else cls(path, lock)

    def held(self) -> bool:
        """True while the lock is ours: a program may have closed all descriptors."""
        try:
            return self._lock is not None and self._lock.number() >= 0
        except OSError:
            return False

    def retake(self) -> bool:
        """Lock the directory again after the descriptor was closed. False when another process was faster."""
        with suppress(OSError):
            self._lock = _take_lock(self.path)
        return self.held()

    def segments(self) -> list[Path]:
        """The segment files in it, oldest first.

        Raises:
            OSError: The directory cannot be read now.
        """
        return sorted(self.path / name for name in os.listdir(self.path) if name.endswith(".seg"))

    def release(self) -> None:
        """Give it back, and remove it when it holds nothing any more."""
        if sys.platform == "win32":  # pragma: no cover - an open file cannot be removed there
            self.forget()
        with suppress(OSError):  # without a descriptor to look with, another process tidies up
            if not self.segments():
                for left in (*self.path.glob("*.tmp"), self.path / _LOCK):
                    left.unlink(missing_ok=True)
                self.path.rmdir()
        self.forget()

    def forget(self) -> None:
        """Close our copy of the lock. After a fork this leaves the other process's claim untouched."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _take_lock(path: Path) -> Descriptor | None:
    try:
        lock = Descriptor(path / _LOCK, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno in OUT_OF_DESCRIPTORS:
            raise
        return None
    try:
        if try_lock(lock.number()) and os.path.samestat(os.fstat(lock.number()), os.stat(path / _LOCK)):
            return lock
    except OSError:  # removed by its former owner in the meantime, or no locks on this file system
        pass
    lock.close()
    return None
