"""Queues of encoded requests that wait for the backend, in order of arrival."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from ..stats import ExportStats
from .payload import Encoder, Payload

if TYPE_CHECKING:
    from ..spool.buffer import SpoolBuffer
    from ..spool.segment import Record

Buffer: TypeAlias = "MemoryBuffer | SpoolBuffer"
"""A queue that keeps requests until they are settled. Every method may be called from any thread."""
Entry: TypeAlias = "Payload | Record"
"""One queued request, in memory or on disk."""


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
        self._lock = threading.RLock()
        self._entries: deque[Payload] = deque()
        self._size = 0
        self._in_flight: Payload | None = None

    def put(self, payload: Payload) -> bool:
        """Queue a request; drop the oldest ones above the limit. Return True if the request outlives the process."""
        with self._lock:
            self._entries.append(payload)
            self._size += len(payload.body)
            while self._size > self._limit and len(self._entries) > 1:
                # Keep the request in flight: it may still arrive.
                oldest = self._entries[1] if self._entries[0] is self._in_flight else self._entries[0]
                self.forget(oldest)
                self._count_lost("memory_full", oldest.items)
        return False

    def ready(self) -> bool:
        """Return True if a request is queued."""
        return bool(self._entries)

    def first(self) -> Payload | None:
        """Return the request to send next, which stays queued until ``done`` or ``put_back`` is called."""
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
            return next((entry for entry in self._entries if entry is not self._in_flight), None)

    def forget(self, payload: Payload) -> None:
        """Remove a request, if it is still queued."""
        with self._lock:
            if payload in self._entries:
                self._entries.remove(payload)
                self._size -= len(payload.body)

    def done(self, entry: Entry) -> None:
        """Remove a request that has arrived or is counted as lost."""
        with self._lock:
            if isinstance(entry, Payload):
                self.forget(entry)
            self._in_flight = None

    def put_back(self, entry: Entry, *, last: bool) -> None:
        """Return an unsent request to the queue; with ``last``, behind all others."""
        with self._lock:
            if last and isinstance(entry, Payload) and entry in self._entries:
                self._entries.remove(entry)
                self._entries.append(entry)
            self._in_flight = None

    def waiting(self) -> int:
        """Return the number of queued requests."""
        return len(self._entries)

    def saved(self) -> int:
        """Return the number of queued items that outlive the process."""
        return 0

    def unsaved(self) -> int:
        """Return the number of queued items that are in memory only."""
        with self._lock:
            return sum(entry.items for entry in self._entries)

    def adopt(self) -> bool:
        """Return False: memory holds nothing of other processes."""
        return False

    def drop_memory(self) -> None:
        """Drop all requests and count their items as lost, because the process ends."""
        with self._lock:
            dropped, self._entries, self._size = self._entries, deque(), 0
        self._count_lost("exit", sum(entry.items for entry in dropped))

    close = drop_memory
    """Release what the buffer holds."""
