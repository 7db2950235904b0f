"""Files and folders readable by their owner only, and descriptors that the application may close."""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

_BINARY = getattr(os, "O_BINARY", 0)


def make_private(folder: Path) -> None:
    """Create ``folder`` and its missing parents, with mode 0700 regardless of the umask.

    ``Path.mkdir(mode=0o700, parents=True)`` sets the mode of the last folder only.
    """
    missing: list[Path] = []
    path = folder
    while not path.is_dir():
        missing.append(path)
        if path == path.parent:
            break
        path = path.parent
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)


class Descriptor:
    """File descriptor that is used and closed only while it still refers to the opened file.

    A daemonizing program closes all descriptors, and files that it opens later reuse the numbers.
    """

    __slots__ = ("_identity", "_number")

    def __init__(self, path: Path, flags: int) -> None:
        """Open ``path``. A created file is readable by its owner only.

        Raises:
            OSError: The file cannot be opened.
        """
        self._number = os.open(path, flags | _BINARY, 0o600)
        self._identity = self._stat()

    @classmethod
    def marker(cls) -> Descriptor | None:
        """Return a descriptor of no use but to notice that the program has closed all descriptors.

        Return ``None`` if no descriptor is left, and on Windows, where a descriptor is neither a socket nor a file.
        """
        if sys.platform == "win32":
            return None
        marker = cls.__new__(cls)
        try:
            marker._number = socket.socket().detach()  # each socket has an identity of its own, unlike ``/dev/null``
        except OSError:
            return None
        marker._identity = marker._stat()
        return marker

    def _stat(self) -> tuple[int, int]:
        status = os.fstat(self._number)
        return status.st_dev, status.st_ino

    @property
    def is_open(self) -> bool:
        """True while the number refers to the opened file."""
        try:
            return self._number >= 0 and self._stat() == self._identity
        except OSError:
            return False

    def number(self) -> int:
        """Return the number of the descriptor.

        Raises:
            OSError: ``EBADF``, because the descriptor was closed or now refers to another file.
        """
        if not self.is_open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._number

    def close(self) -> None:
        """Close the file, unless the descriptor now refers to another file."""
        with suppress(OSError):
            os.close(self.number())
        self._number = -1
