"""Files and folders that only their owner may read, and descriptors that may be closed behind our back."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

__all__ = ["Descriptor", "make_private"]

_BINARY = getattr(os, "O_BINARY", 0)


def make_private(folder: Path) -> None:
    """Create ``folder`` and its missing parents, each for its owner alone, whatever the umask is.

    ``Path.mkdir(mode=0o700, parents=True)`` gives the mode to the last folder only.

    Raises:
        OSError: A folder cannot be created.
    """
    missing: list[Path] = []
    at = folder
    while not at.is_dir():
        missing.append(at)
        if at == at.parent:
            break
        at = at.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


class Descriptor:
    """An open file that is used and closed only as long as it is still the file that was opened.

    A program that turns into a daemon closes every descriptor, and files that it opens later get the same numbers.
    """

    __slots__ = ("_identity", "_number")

    def __init__(self, path: Path, flags: int) -> None:
        """Open ``path``; only its owner may read a file that this creates.

        Raises:
            OSError: It cannot be opened.
        """
        self._number = os.open(path, flags | _BINARY, 0o600)
        self._identity = self._look()

    def _look(self) -> tuple[int, int]:
        found = os.fstat(self._number)
        return found.st_dev, found.st_ino

    def number(self) -> int:
        """Return the number of the descriptor.

        Raises:
            OSError: ``EBADF``: it was closed, or belongs to another file by now.
        """
        if self._number < 0 or self._look() != self._identity:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._number

    def close(self) -> None:
        """Close the file, unless the number belongs to another one by now."""
        with suppress(OSError):
            os.close(self.number())
        self._number = -1
