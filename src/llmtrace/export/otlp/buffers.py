"""Queues of encoded requests that wait for the backend, in order of arrival."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from ..stats import ExportStats
from .payload import Encoder, Payload

__all__ = ["Buffer", "Entry", "MemoryBuffer", "Remaining"]


class Entry(Protocol):
    """One queued request."""

    @property
    def items(self) -> int:
        """Number of spans, data points, log records or scores in the request."""
        ...

    def load(self) -> Payload | None:
        """Return the request, or ``None`` if it is damaged.

        Raises:
            FileNotFoundError: The request was removed.
            OSError: The request cannot be read now, but perhaps later.
        """
        ...


@dataclass(frozen=True, slots=True)
class Remaining:
    """Number of items (spans, data points, log records or scores) of this process that still wait."""

    on_disk: int
    in_memory: int
    """Items that are not on disk and are lost with the process."""


class Buffer(Protocol):
    """A queue that keeps requests until they are settled. Every method may be called from any thread."""

    def put(self, payload: Payload) -> bool:
        """Queue a request, or count its items as lost. Return True if the request outlives the process."""
        ...

    def ready(self) -> bool:
        """Return True if a request is queued."""
        ...

    def first(self) -> Entry | None:
        """Return the request to send next.

        It stays queued, and is not discarded to make room, until ``done`` or ``put_back`` is called.
        """
        ...

    def coalesce(self, encoder: Encoder, limit: int | None) -> None:
        """Merge small queued requests, so that fewer are sent. No request may be in flight.

        Args:
            encoder: Encoder that merges requests.
            limit: Maximum bytes of a merged request before compression, if the backend has refused one for its size.
        """
        ...

    def done(self, entry: Entry) -> None:
        """Remove a request that has arrived or is counted as lost."""
        ...

    def put_back(self, entry: Entry, *, last: bool) -> None:
        """Return an unsent request to the queue; with ``last``, behind all others."""
        ...

    def waiting(self) -> int:
        """Return the number of queued requests of this process."""
        ...

    def unsaved(self) -> int:
        """Return the number of items that wait in memory only and are lost with the process."""
        ...

    def remaining(self) -> Remaining:
        """Return the number of items of this process that wait on disk and in memory."""
        ...

    def adopt(self) -> bool:
        """Adopt some of the requests of dead processes. Return True if there may be more to send."""
        ...

    def drop_memory(self) -> None:
        """Count the items that wait in memory only as lost, because the process ends."""
        ...

    def close(self) -> None:
        """Release files and locks, and drop memory like ``drop_memory``. Requests on disk stay there."""
        ...

    def after_fork(self) -> None:
        """Forget all requests in a forked child: they belong to the parent."""
        ...


@dataclass(eq=False, slots=True)
class _MemoryEntry:
    """A request in memory."""

    payload: Payload

    @property
    def items(self) -> int:
        """Number of items in the request."""
        return self.payload.items

    def load(self) -> Payload | None:
        """Return the request."""
        return self.payload


class MemoryBuffer:
    """A buffer in memory, lost with the process. When it is full it drops the oldest request and counts it."""

    def __init__(self, limit: int, stats: ExportStats) -> None:
        self._limit = limit
        self._stats = stats
        self.loss_cause: tuple[str, str] | None = None
        """Loss reason and detail to report if these requests are lost, because the disk did not take them."""
        self.after_fork()

    def after_fork(self) -> None:
        """Start empty in a forked child."""
        self._lock = threading.Lock()
        self._entries: deque[_MemoryEntry] = deque()
        self._size = 0
        self._in_flight: Entry | None = None

    def put(self, payload: Payload) -> bool:
        """Queue a request in memory; drop the oldest ones above the limit."""
        with self._lock:
            self._entries.append(_MemoryEntry(payload))
            self._size += len(payload.body)
            while self._size > self._limit and len(self._entries) > 1:
                # Keep the request in flight: it may still arrive.
                oldest = self._entries[1] if self._entries[0] is self._in_flight else self._entries[0]
                self._forget(oldest)
                self._count_lost("memory_full", oldest.items)
        return False

    def ready(self) -> bool:
        """Return True if a request is queued."""
        return bool(self._entries)

    def first(self) -> Entry | None:
        """Return the oldest request and mark it as in flight."""
        with self._lock:
            self._in_flight = self._entries[0] if self._entries else None
            return self._in_flight

    def coalesce(self, encoder: Encoder, limit: int | None) -> None:
        """Do nothing: requests in memory need no merging, since their items are batched before encoding."""

    def _count_lost(self, reason: str, items: int) -> None:
        reason, detail = self.loss_cause or (reason, "")
        self._stats.record_dropped(reason, items, detail)

    def oldest(self) -> Payload | None:
        """Return the oldest request that is not in flight."""
        with self._lock:
            return next((entry.payload for entry in self._entries if entry is not self._in_flight), None)

    def forget(self, payload: Payload) -> None:
        """Remove a request that is now stored elsewhere."""
        with self._lock:
            for entry in [entry for entry in self._entries if entry.payload is payload]:
                self._forget(entry)

    def _forget(self, entry: _MemoryEntry) -> None:
        self._entries.remove(entry)
        self._size -= len(entry.payload.body)

    def done(self, entry: Entry) -> None:
        """Remove a settled request."""
        with self._lock:
            if isinstance(entry, _MemoryEntry) and entry in self._entries:
                self._forget(entry)
            self._in_flight = None

    def put_back(self, entry: Entry, *, last: bool) -> None:
        """Return an unsent request to the queue; with ``last``, to its end."""
        with self._lock:
            if last and isinstance(entry, _MemoryEntry) and entry in self._entries:
                self._entries.remove(entry)
                self._entries.append(entry)
            self._in_flight = None

    def waiting(self) -> int:
        """Return the number of queued requests."""
        return len(self._entries)

    def unsaved(self) -> int:
        """Return the number of queued items; all of them are in memory only."""
        with self._lock:
            return sum(entry.items for entry in self._entries)

    def remaining(self) -> Remaining:
        """Return the number of queued items."""
        return Remaining(0, self.unsaved())

    def adopt(self) -> bool:
        """Return False: memory holds nothing of other processes."""
        return False

    def drop_memory(self) -> None:
        """Drop all requests and count their items as lost."""
        with self._lock:
            dropped, self._entries, self._size = self._entries, deque(), 0
        self._count_lost("exit", sum(entry.items for entry in dropped))

    def close(self) -> None:
        """Drop all requests and count their items as lost."""
        self.drop_memory()
