"""A directory of the spool that one process holds as its own for as long as it lives."""

from __future__ import annotations

import errno
import os
import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path

from .lock import try_lock

__all__ = ["Claim"]

_LOCK = "lock"
_ATTEMPTS = 8


class Claim:
    """A locked directory. Its lock goes with the process, so what a dead process left can be claimed by another."""

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def create(cls, spool: Path, key: str) -> Claim:
        """A new directory in ``spool``, whose name sorts by age within ``key``.

        Raises:
            OSError: The folder cannot be written to.
        """
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):
            path = spool / f"{key}-{time.time_ns():020d}-{secrets.token_hex(4)}"
            path.mkdir(mode=0o700)
            claim = cls.take(path)
            if claim is not None:  # else another process found it before it was locked, and removed it as empty
                return claim
            cls(path, -1).release()
        raise OSError(errno.ENOLCK, "no locks on this file system")

    @classmethod
    def take(cls, path: Path) -> Claim | None:
        """Claim what is there. ``None`` when a living process has it, or it is gone."""
        try:
            descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return None
        try:
            if try_lock(descriptor) and os.path.samestat(os.fstat(descriptor), os.stat(path / _LOCK)):
                return cls(path, descriptor)
        except OSError:  # removed by its former owner in the meantime, or no locks on this file system
            pass
        os.close(descriptor)
        return None

    def segments(self) -> list[Path]:
        """The segment files in it, oldest first."""
        return sorted(self.path.glob("*.seg"))

    def release(self) -> None:
        """Give it back, and remove it when it holds nothing any more."""
        if sys.platform == "win32":  # pragma: no cover - an open file cannot be removed there
            self.forget()
        if not self.segments():
            for left in (*self.path.glob("*.tmp"), self.path / _LOCK):
                with suppress(OSError):
                    left.unlink()
            with suppress(OSError):
                self.path.rmdir()
        self.forget()

    def forget(self) -> None:
        """Close our copy of the lock. After a fork this leaves the other process's claim untouched."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
