"""JSON lines exporter, which appends spans to a local file."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .._files import make_private
from .._process import warn_once
from .spool.lock import lock

__all__ = ["JsonLinesExporter"]

_log = logging.getLogger("llmtrace")


class JsonLinesExporter(SpanExporter):
    """An exporter that appends one JSON object per span and line to a file that only its owner may read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append spans to the file. Log the first failure."""
        try:
            lines = "".join(span.to_json(indent=None) + "\n" for span in spans).encode()
            with self._open_locked() as descriptor:
                rest = memoryview(lines)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
        except Exception as error:
            warn_once(f"llmtrace could not write spans to {self.path}: {error}", about=self.path)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    @contextmanager
    def _open_locked(self) -> Iterator[int]:
        make_private(self.path.parent)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # Prefer the file lock: it excludes threads and processes, and a forked child does not inherit it locked.
            with nullcontext() if lock(descriptor) else self._lock:
                yield descriptor
        finally:
            os.close(descriptor)
