"""JSON lines exporter, which appends spans to a local file."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .._files import Descriptor, make_private
from .._process import warn_once
from .spool.lock import lock

_START, _CONTEXT = b'{"name": ', b'"context": {"trace_id": "0x'
"""Text at the start of each line, and text that follows the name of the span."""
_MAX_NAME_BYTES = 64 << 10


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
                rest = memoryview(_separator(descriptor, self.path) + lines)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
        except Exception as error:
            warn_once(f"llmtrace could not write spans to {self.path}: {error}", about=self.path)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    @contextmanager
    def _open_locked(self) -> Iterator[int]:
        make_private(self.path.parent)
        if self.path.exists() and not self.path.is_file():  # opening a named pipe would block
            raise FileExistsError(f"{self.path} is not a regular file; set LLMTRACE_STORE to another path")
        descriptor = Descriptor(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            # Prefer the file lock: it excludes threads and processes, and a forked child does not inherit it locked.
            with nullcontext() if lock(descriptor.number()) else self._lock:
                yield descriptor.number()
        finally:
            descriptor.close()


def _separator(descriptor: int, path: Path) -> bytes:
    """Return the bytes to write before the next span: a line break if the last line is incomplete.

    Raises:
        FileExistsError: The file contains something other than spans.
    """
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size == 0:
        return b""
    os.lseek(descriptor, 0, os.SEEK_SET)
    start = os.read(descriptor, _MAX_NAME_BYTES)
    if not start.startswith(_START) or _CONTEXT not in start:
        raise FileExistsError(
            f"{path} is not a file of spans and is left unchanged; set LLMTRACE_STORE to another path"
        )
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    # A killed process or a full disk can leave a part of a line.
    return b"" if os.read(descriptor, 1) == b"\n" else b"\n"
