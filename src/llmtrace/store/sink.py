"""A sink that writes batches to the local store, and keeps what the store cannot take now."""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._errors import log_internal_error
from .._sink import Sink
from .exporter import StoreExporter
from .request_fingerprints import SentBody
from .schema import StoreError
from .span_codec import StoredSpan

if TYPE_CHECKING:
    from ..export.stats import ExportStats

_LOCK_TIMEOUT_SECONDS = 0.2
"""Maximum seconds that one attempt waits for the lock of another process."""
_RETRY_PAUSE_SECONDS = 0.02
_MAX_WAITING_BYTES = 32 << 20
_SPAN_OVERHEAD_BYTES = 1024
"""Assumed bytes of a waiting span besides its strings."""
_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreSink(Sink):
    """A sink that writes to the store. Spans that cannot be written now wait in memory, bounded, newest preferred."""

    durable = True

    def __init__(self, exporter: StoreExporter, stats: ExportStats) -> None:
        self.exporter = exporter
        self._stats = stats
        self.after_fork()

    def after_fork(self) -> None:
        """Start empty in a forked child."""
        self._lock = threading.Lock()
        self._waiting: list[StoredSpan] = []
        self._bodies: dict[str, SentBody] = {}
        self._drop_reason = "store_failed"

    @property
    def has_backlog(self) -> bool:
        """True while spans that could not be written wait in memory."""
        return bool(self._waiting)

    def write(self, batch: Sequence[Any]) -> None:
        """Write a batch to the store, or keep it in memory."""
        spans, bodies = self.exporter.take(batch)
        self._stats.record_dropped("unencodable", len(batch) - len(spans))
        with self._lock:
            self._waiting += spans
            self._bodies.update(bodies)
            self._attempt(_LOCK_TIMEOUT_SECONDS)

    def retry(self) -> None:
        """Try again to write the waiting spans."""
        if self._waiting:
            with self._lock:
                self._attempt(_LOCK_TIMEOUT_SECONDS)

    def flush(self, deadline: float) -> bool:
        """Write the waiting spans. Return True if all were written by the deadline."""
        while self._waiting:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not self._lock.acquire(timeout=remaining):
                return False
            try:
                self._attempt(min(_LOCK_TIMEOUT_SECONDS, max(0.0, deadline - time.monotonic())))
            finally:
                self._lock.release()
            if self._waiting:
                time.sleep(min(_RETRY_PAUSE_SECONDS, max(0.0, deadline - time.monotonic())))
        return True

    def close(self, deadline: float) -> bool:
        """Write the waiting spans until the deadline, and count the rest as lost. Return True if none was lost."""
        written = self.flush(deadline)
        if not written:
            waiting, self._waiting = self._waiting, []
            self._stats.record_dropped(self._drop_reason, len(waiting))
        self.exporter.shutdown(timeout=max(0.0, deadline - time.monotonic()))
        self._stats.log_losses(now=True)
        return written

    def rest(self, deadline: float) -> None:
        """Write the waiting spans and close the file, which the next write opens again."""
        self.flush(deadline)
        self.exporter.shutdown(timeout=max(0.0, deadline - time.monotonic()))

    def _attempt(self, timeout: float) -> None:
        waiting = self._waiting
        if not waiting:
            return
        try:
            unencodable = self.exporter.write(waiting, self._bodies, timeout=timeout)
        except Exception as error:
            self.exporter.complain(error)
            self._drop_reason, transient = _drop_reason(error)
            self._drop_oldest(0 if transient else len(waiting))
        else:
            self._stats.record_exported(len(waiting) - unencodable)
            self._stats.record_dropped("unencodable", unencodable)
            self._waiting, self._bodies = [], {}

    def _drop_oldest(self, count: int) -> None:
        """Drop at least ``count`` of the oldest waiting spans, and more if the rest exceeds the memory limit."""
        size = 0
        for kept, span in enumerate(reversed(self._waiting)):
            size += _size(span, self._bodies)
            if size > _MAX_WAITING_BYTES:
                count = max(count, len(self._waiting) - kept)
                break
        dropped, self._waiting = self._waiting[:count], self._waiting[count:]
        for span in dropped:
            self._bodies.pop(span.span_id, None)
        self._stats.record_dropped(self._drop_reason, len(dropped))


def _size(span: StoredSpan, bodies: dict[str, SentBody]) -> int:
    sent = bodies.get(span.span_id)
    texts = sum(len(value) for value in span.attributes.values() if isinstance(value, str))
    return _SPAN_OVERHEAD_BYTES + texts + (len(sent.body) if sent is not None and isinstance(sent.body, bytes) else 0)


def _drop_reason(error: Exception) -> tuple[str, bool]:
    """Return the drop reason of a write error, and True if the error may be transient."""
    cause = error.__cause__ or error
    code = getattr(cause, "sqlite_errorcode", 0)
    if isinstance(cause, TimeoutError) or code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "store_locked", True
    full = code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE
    if full or (isinstance(cause, OSError) and cause.errno in _FULL_ERRNOS):
        return "store_full", True
    if isinstance(cause, (OSError, sqlite3.OperationalError)):
        return "store_failed", True
    if not isinstance(error, (sqlite3.Error, StoreError)):
        log_internal_error("write to the store")
    return "store_failed", False
