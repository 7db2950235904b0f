"""The span exporter in front of the store."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .prune import Limits, prune
from .request_bodies import Body, RequestBodies
from .schema import StoreError, connect
from .span_codec import StoredSpan, record
from .write import Writer

__all__ = ["StoreExporter"]

_log = logging.getLogger("llmtrace")
_TIMEOUT_SECONDS = 30.0
_PRUNE_EVERY = 60.0
_FORK_TIMEOUT_SECONDS = 1.0
_inherited: list[Writer] = []
"""Connections of a parent process. SQLite forbids their use after a fork, closing included."""


class StoreExporter(SpanExporter):
    """Writes spans to the SQLite file at ``path``; several processes and threads may, to the same one.

    Args:
        path: The file, which is made with its folder when first needed.
        max_mb: Size above which the oldest traces are removed; 0 for no limit.
        max_days: Age above which traces are removed; 0 for no limit.
        sent: What calls have sent, of which the store keeps hashes.
    """

    def __init__(
        self, path: Path, *, max_mb: float = 1024.0, max_days: float = 90.0, sent: RequestBodies | None = None
    ) -> None:
        self.path = path
        self._sent = sent
        self._limits = Limits(max_mb, max_days)
        self._lock = threading.Lock()
        self._held_for_fork = False
        self._writer: Writer | None = None
        self._process = os.getpid()
        self._pruned = 0.0
        self._complained = False
        _exporters.add(self)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        stored, sent = self.take(spans)
        try:
            lost = len(spans) - len(stored) + self.write(stored, sent)
        except Exception as error:
            self.complain(error)
            return SpanExportResult.FAILURE
        return SpanExportResult.FAILURE if lost else SpanExportResult.SUCCESS

    def take(self, spans: Sequence[ReadableSpan]) -> tuple[list[StoredSpan], Mapping[str, Body]]:
        """Return the spans as the store keeps them, without those that cannot be read, and what their calls sent."""
        stored = []
        for span in spans:
            try:
                stored.append(record(span))
            except Exception as error:
                self.complain(error)
        return stored, {} if self._sent is None else self._sent.take(span.span_id for span in stored)

    def write(self, spans: Sequence[StoredSpan], sent: Mapping[str, Body], *, timeout: float = _TIMEOUT_SECONDS) -> int:
        """Write all spans and return how many cannot be stored by their own fault.

        Args:
            spans: The spans.
            sent: What their calls have sent, by the id of the span.
            timeout: Seconds to wait for other threads and processes.

        Raises:
            Exception: Nothing was written: the store is locked, full, damaged, or not a store.
        """
        self._after_fork()
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise StoreError(f"another thread is writing to {self.path}") from TimeoutError()
        try:
            patience = max(0.0, deadline - time.monotonic())
            try:
                lost = self._write(spans, sent, patience)
            except sqlite3.OperationalError as error:
                if not _broken(error):
                    raise
                self._close()  # removed, moved, or its descriptors were closed by others: once more, from the start
                lost = self._write(spans, sent, patience)
            self._tidy(min(0.5, timeout))
            return lost
        finally:
            self._lock.release()

    def _write(self, spans: Sequence[StoredSpan], sent: Mapping[str, Body], timeout: float) -> int:
        writer = self._open(timeout)
        try:
            writer.write(spans, sent)
            return 0
        except sqlite3.DatabaseError as error:
            # Locked, full, gone, damaged: not the fault of a span.
            if not isinstance(error, (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError)):
                raise
            if len(spans) == 1:
                self.complain(error)
                return 1
        except Exception as error:
            if len(spans) == 1:
                self.complain(error)
                return 1
        # One span cannot be stored. The others can.
        return sum(self._write([span], sent, timeout) for span in spans)

    def complain(self, error: Exception) -> None:
        """Log why spans cannot be written, once."""
        if not self._complained:
            self._complained = True
            _log.warning("llmtrace could not write spans to %s (LLMTRACE_STORE): %s", self.path, error)

    def before_fork(self) -> None:
        # A connection must not be inherited: SQLite's locks would be wrong, and a daemon closes its descriptors.
        self._held_for_fork = self._lock.acquire(timeout=_FORK_TIMEOUT_SECONDS)
        if self._held_for_fork:
            self._close()

    def after_fork_in_parent(self) -> None:
        if self._held_for_fork:
            self._held_for_fork = False
            self._lock.release()

    def _after_fork(self) -> None:
        if self._process != os.getpid():
            if self._writer is not None:
                _inherited.append(self._writer)
            self._writer = None
            self._lock = threading.Lock()  # the old one was held
            self._process = os.getpid()

    def _open(self, timeout: float) -> Writer:
        if self._writer is not None and not self.path.exists():  # removed under us: write to a new one
            self._close()
        if self._writer is None:
            self._writer = Writer(connect(self.path, write=True, timeout=timeout))
        self._writer.connection.execute(f"PRAGMA busy_timeout = {int(timeout * 1000)}")
        return self._writer

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.connection.close()

    def _tidy(self, seconds: float) -> None:
        now = time.monotonic()
        if self._writer is None or (self._pruned and now - self._pruned < _PRUNE_EVERY):
            return
        try:
            # While there is more to remove than fits in one turn, every batch takes one.
            self._pruned = 0.0 if prune(self._writer.connection, self._limits, seconds=seconds) else now
        except sqlite3.Error as error:  # the spans are written; there will be another turn
            _log.debug("llmtrace could not prune %s: %s", self.path, error)

    def shutdown(self, timeout: float = _TIMEOUT_SECONDS) -> None:
        self._after_fork()
        if self._lock.acquire(timeout=timeout):
            try:
                self._close()
            finally:
                self._lock.release()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


_exporters: weakref.WeakSet[StoreExporter] = weakref.WeakSet()


def _before_fork() -> None:
    for exporter in list(_exporters):
        exporter.before_fork()


def _after_fork_in_parent() -> None:
    for exporter in list(_exporters):
        exporter.after_fork_in_parent()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)


def _broken(error: sqlite3.OperationalError) -> bool:
    """Whether the connection, rather than the store, may be at fault."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
