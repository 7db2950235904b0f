"""A sink that writes batches to the local store, and keeps what the store cannot take now."""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._errors import log_internal_error
from .exporter import StoreExporter
from .request_bodies import Body
from .schema import StoreError
from .span_codec import StoredSpan

if TYPE_CHECKING:
    from ..export.stats import ExportStats

__all__ = ["StoreSink"]

_PATIENCE_SECONDS = 0.2
"""The longest one attempt waits for the lock of another process."""
_PAUSE_SECONDS = 0.02
_MAX_WAITING_BYTES = 32 << 20
_SPAN_BYTES = 1024
"""Added to the length of a span's texts."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreSink:
    """Writes batches to the store. Those that it cannot take wait in memory, the oldest giving way to the newest."""

    keeps = True

    def __init__(self, exporter: StoreExporter, ledger: ExportStats) -> None:
        self.exporter = exporter
        self._ledger = ledger
        self.after_fork()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[StoredSpan] = []
        self._sent: dict[str, Body] = {}
        self._reason = "store_failed"

    @property
    def waits(self) -> bool:
        return bool(self._waiting)

    def start(self) -> None:
        pass

    def write(self, batch: Sequence[Any]) -> None:
        spans, sent = self.exporter.take(batch)
        self._ledger.record_dropped("unencodable", len(batch) - len(spans))
        with self._lock:
            self._waiting += spans
            self._sent.update(sent)
            self._attempt(_PATIENCE_SECONDS)

    def retry(self) -> None:
        """Write what waits, if anything does."""
        if self._waiting:
            with self._lock:
                self._attempt(_PATIENCE_SECONDS)

    def flush(self, deadline: float) -> bool:
        """Write what waits. True when all of it was written by the deadline."""
        while self._waiting:
            left = deadline - time.monotonic()
            if left <= 0 or not self._lock.acquire(timeout=left):
                return False
            try:
                self._attempt(min(_PATIENCE_SECONDS, max(0.0, deadline - time.monotonic())))
            finally:
                self._lock.release()
            if self._waiting:
                time.sleep(min(_PAUSE_SECONDS, max(0.0, deadline - time.monotonic())))
        return True

    def close(self, deadline: float) -> bool:
        """Write what waits until the deadline; the rest is lost, and reported with the reason."""
        written = self.flush(deadline)
        if not written:
            waiting, self._waiting = self._waiting, []
            self._ledger.record_dropped(self._reason, len(waiting))
        self.exporter.shutdown(timeout=max(0.0, deadline - time.monotonic()))
        self._ledger.log_losses(now=True)
        return written

    def rest(self, deadline: float) -> None:
        """Write what waits and close the file, which the next write opens again."""
        self.flush(deadline)
        self.exporter.shutdown(timeout=max(0.0, deadline - time.monotonic()))

    def _attempt(self, patience: float) -> None:
        waiting = self._waiting
        if not waiting:
            return
        try:
            broken = self.exporter.write(waiting, self._sent, timeout=patience)
        except Exception as error:
            self.exporter.complain(error)
            self._reason, passes = _reason(error)
            self._forget(0 if passes else len(waiting))
        else:
            self._ledger.record_exported(len(waiting) - broken)
            self._ledger.record_dropped("unencodable", broken)
            self._waiting, self._sent = [], {}

    def _forget(self, count: int) -> None:
        """Give up so many, the oldest first, and as many more as there is no room for."""
        size = 0
        for kept, span in enumerate(reversed(self._waiting)):
            size += _size(span, self._sent)
            if size > _MAX_WAITING_BYTES:
                count = max(count, len(self._waiting) - kept)
                break
        gone, self._waiting = self._waiting[:count], self._waiting[count:]
        for span in gone:
            self._sent.pop(span.span_id, None)
        self._ledger.record_dropped(self._reason, len(gone))


def _size(span: StoredSpan, sent: dict[str, Body]) -> int:
    body = sent.get(span.span_id)
    texts = sum(len(value) for value in span.attributes.values() if isinstance(value, str))
    return _SPAN_BYTES + texts + (len(body) if isinstance(body, bytes) else 0)


def _reason(error: Exception) -> tuple[str, bool]:
    """Return why the store could not be written, and whether that may pass."""
    cause = error.__cause__ or error
    code = getattr(cause, "sqlite_errorcode", 0)
    if isinstance(cause, TimeoutError) or code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "store_locked", True
    full = code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE
    if full or (isinstance(cause, OSError) and cause.errno in _FULL):
        return "store_full", True
    if isinstance(cause, (OSError, sqlite3.OperationalError)):
        return "store_failed", True
    if not isinstance(error, (sqlite3.Error, StoreError)):
        log_internal_error("write to the store")
    return "store_failed", False
