"""The span exporter in front of the store."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .body import record
from .prune import Limits, prune
from .schema import connect
from .sent import Body, Sent
from .write import Writer

__all__ = ["StoreExporter"]

_log = logging.getLogger("llmtrace")
_PRUNE_EVERY = 60.0
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

    def __init__(self, path: Path, *, max_mb: float = 1024.0, max_days: float = 90.0, sent: Sent | None = None) -> None:
        self.path = path
        self._sent = sent
        self._limits = Limits(max_mb, max_days)
        self._lock = threading.Lock()
        self._writer: Writer | None = None
        self._process = os.getpid()
        self._pruned = 0.0
        self._complained = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._after_fork()
        try:
            with self._lock:
                ids = [f"{span.context.span_id:016x}" for span in spans if span.context is not None]
                lost = self._write(spans, {} if self._sent is None else self._sent.take(ids))
                self._tidy()
        except Exception as error:
            return self._failed(error)
        return SpanExportResult.SUCCESS if lost is None else self._failed(lost)

    def _write(self, spans: Sequence[ReadableSpan], sent: Mapping[str, Body]) -> Exception | None:
        writer = self._open()
        try:
            writer.write([record(span) for span in spans], sent)
            return None
        except sqlite3.OperationalError:  # locked, full, gone: not the fault of a span
            raise
        except Exception as error:
            if len(spans) == 1:
                return error
        # One span cannot be stored. The others can.
        errors = [self._write([span], sent) for span in spans]
        return next((error for error in errors if error is not None), None)

    def _failed(self, error: Exception) -> SpanExportResult:
        if not self._complained:
            self._complained = True
            _log.warning("llmtrace could not write spans to %s: %s", self.path, error)
        return SpanExportResult.FAILURE

    def _after_fork(self) -> None:
        if self._process != os.getpid():
            if self._writer is not None:
                _inherited.append(self._writer)
            self._writer = None
            self._lock = threading.Lock()  # another thread of the parent may have held the old one
            self._process = os.getpid()

    def _open(self) -> Writer:
        writer = self._writer
        if writer is not None and not self.path.exists():  # removed under us: write to a new one
            writer.connection.close()
            writer = None
        if writer is None:
            writer = self._writer = Writer(connect(self.path, write=True))
        return writer

    def _tidy(self) -> None:
        now = time.monotonic()
        if self._writer is None or (self._pruned and now - self._pruned < _PRUNE_EVERY):
            return
        try:
            # While there is more to remove than fits in one turn, every batch takes one.
            self._pruned = 0.0 if prune(self._writer.connection, self._limits) else now
        except sqlite3.Error as error:  # the spans are written; there will be another turn
            _log.debug("llmtrace could not prune %s: %s", self.path, error)

    def shutdown(self) -> None:
        self._after_fork()
        with self._lock:
            if self._writer is not None:
                self._writer.connection.close()
                self._writer = None

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True
