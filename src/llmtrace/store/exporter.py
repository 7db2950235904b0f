"""Span exporter that writes to the local store."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .._files import Descriptor
from .._process import ForkHeldLock, after_fork, warn_once
from .prune import prune
from .request_bodies import RequestBodies
from .request_fingerprints import SentBody
from .schema import StoreError, connect
from .span_codec import StoredSpan, record
from .write import Writer

_log = logging.getLogger("llmtrace")
_TIMEOUT_SECONDS = 30.0
_PRUNE_INTERVAL_SECONDS = 60.0
_FORK_TIMEOUT_SECONDS = 1.0
_unusable: list[Writer] = []
"""Writers whose connections must be neither used nor closed: those inherited from a parent process, as SQLite
requires, and those whose descriptors the program has closed."""


class StoreExporter(SpanExporter):
    """Exporter of spans to the SQLite file at ``path``. Several processes and threads may write to one file.

    Args:
        path: Path of the file. The file and its folder are created on first use.
        max_mb: Size in megabytes above which the oldest traces are removed; 0 for no limit.
        max_days: Age in days above which traces are removed; 0 for no limit.
        sent: Request bodies of calls, of which the store keeps hashes.
    """

    def __init__(
        self, path: Path, *, max_mb: float = 1024.0, max_days: float = 90.0, sent: RequestBodies | None = None
    ) -> None:
        self.path = path
        self._sent = sent
        self._limits = {"max_mb": max_mb, "max_days": max_days}
        # Close the connection before a fork: SQLite's locks do not survive it, and daemons close descriptors.
        self._lock = ForkHeldLock(_FORK_TIMEOUT_SECONDS, self._close)
        self._writer: Writer | None = None
        self._marker: Descriptor | None = None
        """Opened with the connection, so that it is closed with its files if the program closes all descriptors."""
        self._descriptors_lost = False
        self._pruned = 0.0
        after_fork(self._after_fork)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write a batch of spans and return ``FAILURE`` if one of them was lost."""
        stored, sent = self.take(spans)
        try:
            lost = len(spans) - len(stored) + self.write(stored, sent)
        except Exception as error:
            self.complain(error)
            return SpanExportResult.FAILURE
        return SpanExportResult.FAILURE if lost else SpanExportResult.SUCCESS

    def take(self, spans: Sequence[ReadableSpan]) -> tuple[list[StoredSpan], Mapping[str, SentBody]]:
        """Convert spans to their stored form and take the request bodies of their calls.

        Spans that cannot be converted are left out and reported once.
        """
        stored = []
        for span in spans:
            try:
                stored.append(record(span))
            except Exception as error:
                self.complain(error)
        return stored, {} if self._sent is None else self._sent.take(span.span_id for span in stored)

    def write(
        self, spans: Sequence[StoredSpan], sent: Mapping[str, SentBody], *, timeout: float = _TIMEOUT_SECONDS
    ) -> int:
        """Write all spans and return the number of spans that cannot be stored.

        The wait for other threads and processes is limited to ``timeout`` seconds.

        Raises:
            Exception: The store is locked, full, damaged, or not a store. No span was written.
        """
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise StoreError(f"another thread is writing to {self.path}") from TimeoutError()
        try:
            remaining = max(0.0, deadline - time.monotonic())
            try:
                lost = self._write(spans, sent, remaining)
            except sqlite3.OperationalError as error:
                if not _may_reconnect(error):
                    raise
                # The file was removed or moved, or its descriptors were closed: reconnect and try once more.
                self._close()
                lost = self._write(spans, sent, remaining)
            self._tidy(min(0.5, timeout))
            return lost
        finally:
            self._lock.release()

    def _write(self, spans: Sequence[StoredSpan], sent: Mapping[str, SentBody], timeout: float) -> int:
        writer = self._open(timeout)
        try:
            writer.write(spans, sent)
            return 0
        except Exception as error:
            # A store that is locked, full, missing or damaged would fail for every span.
            about_a_span = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError)
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, about_a_span):
                raise
            if len(spans) == 1:
                self.complain(error)
                return 1
        # Write the spans one by one: a single invalid span must not lose the batch.
        return sum(self._write([span], sent, timeout) for span in spans)

    def complain(self, error: Exception) -> None:
        """Log the first error that prevents spans from being written."""
        warn_once(f"llmtrace could not write spans to {self.path} (LLMTRACE_STORE): {error}", about=self.path)

    def _after_fork(self) -> None:
        """Drop the connection in a child whose parent could not close it in time."""
        if self._writer is not None:
            _unusable.append(self._writer)
        self._writer = self._marker = None

    def _open(self, timeout: float) -> Writer:
        self._check_descriptors()
        if self._descriptors_lost:
            # SQLite still counts the lost files as open: another connection would share their numbers.
            raise StoreError(
                f"the program closed the descriptors of {self.path}, which cannot be opened again in this process; "
                "close descriptors before the first traced call, or after a fork"
            )
        if self._writer is not None and not self.path.exists():  # the file was removed: create it again
            self._close()
        if self._writer is None:
            self._writer = Writer(connect(self.path, write=True, timeout=timeout))
            self._marker = Descriptor.marker()
        self._writer.connection.execute(f"PRAGMA busy_timeout = {int(timeout * 1000)}")
        return self._writer

    def _check_descriptors(self) -> None:
        """Drop the connection if the program has closed all descriptors: other files have its numbers now."""
        if self._writer is not None and self._marker is not None and not self._marker.is_open:
            _unusable.append(self._writer)
            self._writer = self._marker = None
            self._descriptors_lost = True

    def _close(self) -> None:
        self._check_descriptors()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.connection.close()
        if self._marker is not None:
            self._marker.close()
            self._marker = None

    def _tidy(self, seconds: float) -> None:
        now = time.monotonic()
        if self._writer is None or (self._pruned and now - self._pruned < _PRUNE_INTERVAL_SECONDS):
            return
        try:
            # Prune after every batch until one run finds nothing to remove.
            self._pruned = 0.0 if prune(self._writer.connection, **self._limits, seconds=seconds) else now
        except sqlite3.Error as error:  # the spans are written: try again after a later batch
            _log.debug("llmtrace could not prune %s: %s", self.path, error)

    def shutdown(self, timeout: float = _TIMEOUT_SECONDS) -> None:
        """Close the connection, after waiting up to ``timeout`` seconds for a batch that is being written."""
        if self._lock.acquire(timeout=timeout):
            try:
                self._close()
            finally:
                self._lock.release()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Return True: every batch is committed when ``export`` returns."""
        return True


def _may_reconnect(error: sqlite3.OperationalError) -> bool:
    """Return True if the connection may be at fault, so that a new one could succeed."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
