"""What stands between the program and the backend: encoded requests, in the order they came."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from ..stats import ExportStats
from .payload import Encoder, Payload

__all__ = ["Buffer", "Entry", "Left", "MemoryBuffer"]


class Entry(Protocol):
    """One request that waits."""

    @property
    def items(self) -> int: ...

    def load(self) -> Payload | None:
        """The request, or ``None`` when it is damaged.

        Raises:
            FileNotFoundError: It was removed.
            OSError: It cannot be read now; it may be later.
        """
        ...


@dataclass(frozen=True, slots=True)
class Left:
    """How many spans and the like of this process wait on disk, and how many in memory alone."""

    on_disk: int
    in_memory: int


class Buffer(Protocol):
    """Keeps requests until they are done with. Every method may be called from any thread."""

    def put(self, payload: Payload) -> bool:
        """Keep a request, or count what is in it as lost. True when it will outlive the process."""
        ...

    def ready(self) -> bool:
        """Whether a request waits."""
        ...

    def first(self) -> Entry | None:
        """The request to send now. It stays until it is done with, and is not given up until it is put back."""
        ...

    def gather(self, form: Encoder) -> None:
        """Put small requests that wait together, so that fewer are sent. Nothing is being sent meanwhile."""
        ...

    def done(self, entry: Entry) -> None:
        """Forget a request, because it has arrived or is counted as lost."""
        ...

    def put_back(self, entry: Entry, *, last: bool) -> None:
        """It was not sent. With ``last`` the others go first."""
        ...

    def waiting(self) -> int:
        """Requests of this process that wait."""
        ...

    def unsaved(self) -> int:
        """Spans and the like that wait in memory only, and go with the process."""
        ...

    def left(self) -> Left:
        """What of this process waits, and where."""
        ...

    def adopt(self) -> bool:
        """Get hold of a few of the requests that dead processes left behind. True if there may be more to send."""
        ...

    def give_up_memory(self) -> None:
        """Count what waits in memory only as lost: the process ends."""
        ...

    def close(self) -> None:
        """Let go, of memory as above. What is on disk stays there."""
        ...

    def after_fork(self) -> None:
        """In a child: forget everything, it is the parent's."""
        ...


@dataclass(eq=False, slots=True)
class _MemoryEntry:
    payload: Payload

    @property
    def items(self) -> int:
        return self.payload.items

    def load(self) -> Payload | None:
        return self.payload


class MemoryBuffer:
    """A buffer that dies with the process. When it is full the oldest goes, counted."""

    def __init__(self, limit: int, ledger: ExportStats) -> None:
        self._limit = limit
        self._ledger = ledger
        self.because: tuple[str, str] | None = None
        """Why requests are here and not on disk: the reason, and the detail, of losses that come of it."""
        self.after_fork()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._held: deque[_MemoryEntry] = deque()
        self._size = 0
        self._lent: Entry | None = None

    def put(self, payload: Payload) -> bool:
        with self._lock:
            self._held.append(_MemoryEntry(payload))
            self._size += len(payload.body)
            while self._size > self._limit and len(self._held) > 1:
                # The one that is being sent may arrive yet: it is not lost.
                oldest = self._held[1] if self._held[0] is self._lent else self._held[0]
                self._forget(oldest)
                self._lose("memory_full", oldest.items)
        return False

    def ready(self) -> bool:
        return bool(self._held)

    def first(self) -> Entry | None:
        with self._lock:
            self._lent = self._held[0] if self._held else None
            return self._lent

    def gather(self, form: Encoder) -> None:
        pass  # What waits in memory is gathered before it is encoded.

    def _lose(self, reason: str, items: int) -> None:
        reason, detail = self.because or (reason, "")
        self._ledger.record_dropped(reason, items, detail)

    def oldest(self) -> Payload | None:
        """The oldest request that is not being sent."""
        with self._lock:
            return next((held.payload for held in self._held if held is not self._lent), None)

    def forget(self, payload: Payload) -> None:
        """Give up a request that is kept elsewhere from now on."""
        with self._lock:
            for held in [held for held in self._held if held.payload is payload]:
                self._forget(held)

    def _forget(self, held: _MemoryEntry) -> None:
        self._held.remove(held)
        self._size -= len(held.payload.body)

    def done(self, entry: Entry) -> None:
        with self._lock:
            if isinstance(entry, _MemoryEntry) and entry in self._held:
                self._forget(entry)
            self._lent = None

    def put_back(self, entry: Entry, *, last: bool) -> None:
        with self._lock:
            if last and isinstance(entry, _MemoryEntry) and entry in self._held:
                self._held.remove(entry)
                self._held.append(entry)
            self._lent = None

    def waiting(self) -> int:
        return len(self._held)

    def unsaved(self) -> int:
        with self._lock:
            return sum(held.items for held in self._held)

    def left(self) -> Left:
        return Left(0, self.unsaved())

    def adopt(self) -> bool:
        return False

    def give_up_memory(self) -> None:
        with self._lock:
            held, self._held, self._size = self._held, deque(), 0
        self._lose("exit", sum(one.items for one in held))

    def close(self) -> None:
        self.give_up_memory()
