"""Batch processor: queues ended items on the program's threads, and writes them on its own thread."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from .. import _errors, _process
from .._settings.environment import variable
from .._settings.opentelemetry import usable_environment
from .._sink import Sink
from . import exit_hooks
from .signals import Signal
from .stats import ExportStats

_QUEUE_FULL_TIMEOUT_SECONDS = 0.5
"""Seconds a thread waits, once, for room in the queue before spans are dropped."""
_DURABLE_DELAY_SECONDS = 0.02
"""Seconds until an ended item is in the spool or the store, where it survives a killed process."""
_ITEM, _STOP = object(), object()
"""Messages to the writer thread: an item is queued; the thread must stop."""


class ExporterSink(Sink):
    """A sink that writes to an OpenTelemetry exporter."""

    def __init__(self, exporter: Any, stats: ExportStats, signal: Signal, *, durable: bool = False) -> None:
        self.exporter = exporter
        self.durable = durable
        self._stats = stats
        self._signal = signal

    def write(self, batch: Sequence[Any]) -> None:
        """Export a batch, and count its items as exported or lost."""
        succeeded = False
        try:
            succeeded = self.exporter.export(self._signal.exported(batch)).name == "SUCCESS"
        finally:
            items = self._signal.count(batch)
            if succeeded:
                self._stats.record_exported(items)
            else:
                self._stats.record_dropped("exporter", items)

    def flush(self, deadline: float) -> bool:
        """Flush the exporter."""
        remaining_ms = max(0, int((deadline - time.monotonic()) * 1000))
        # Old console exporters of logs have no ``force_flush``.
        force_flush = getattr(self.exporter, "force_flush", None)
        return force_flush is None or force_flush(remaining_ms) is not False

    def close(self, deadline: float) -> bool:
        """Shut the exporter down."""
        self.exporter.shutdown()
        self._stats.log_losses(now=True)
        return True

    def rest(self, deadline: float) -> None:
        """Close the file of the exporter, if it is our own."""
        if self.durable:  # our own file exporter opens again when needed; other exporters do not
            self.exporter.shutdown()


class BatchLimits:
    """Delay in seconds, batch size and queue size, from the standard ``OTEL_BSP_*`` or ``OTEL_BLRP_*`` variables."""

    __slots__ = ("batch", "delay", "queue")

    def __init__(self, kind: str = "BSP") -> None:
        with usable_environment():
            self.delay: float = int(variable(f"OTEL_{kind}_SCHEDULE_DELAY") or 1000) / 1000
            self.queue: int = int(variable(f"OTEL_{kind}_MAX_QUEUE_SIZE") or 8192)
            self.batch: int = min(int(variable(f"OTEL_{kind}_MAX_EXPORT_BATCH_SIZE") or 512), self.queue)


class BatchProcessor:
    """A bounded queue, and a thread that writes it to the sink soon after the first item.

    A forked child starts its own thread.
    """

    def __init__(self, sink: Sink, stats: ExportStats, limits: BatchLimits | None = None) -> None:
        self._sink = sink
        self._stats = stats
        self._limits = limits or BatchLimits()
        self._delay_seconds = min(self._limits.delay, _DURABLE_DELAY_SECONDS) if sink.durable else self._limits.delay
        self._closed = False
        self._delivered = True
        self._patched = _process.is_gevent_patched()
        self._renew()
        _process.after_fork(self._after_fork)

    def _renew(self) -> None:
        self._queue: deque[Any] = deque()
        self._lock = threading.RLock()  # reentrant, because a finalizer may end a span on the thread that holds it
        self._writing = threading.Lock()
        self._messages: Any = None
        self._notified = False
        """True if the writer has an unread message that items are queued."""
        self._thread: threading.Thread | None = None
        self._started = False
        self._stalled = False

    def _after_fork(self) -> None:
        self._renew()  # drop the queue, because the parent sends it
        self._stats.after_fork()
        self._sink.after_fork()

    def start(self) -> None:
        """Do nothing: the thread starts with the first item, so that a program may fork before it."""

    # -- the program's threads ----------------------------------------------------------------------------------------

    def enqueue(self, item: Any) -> None:
        """Queue an item, or count it as lost if the queue stays full or is closed."""
        if self._closed:
            self._stats.record_dropped("after_shutdown", 1)
            return
        if not self._started:
            self._start()
        waiting = self._queue
        if len(waiting) >= self._limits.queue and not self._make_room():
            self._stats.record_dropped("queue_full", 1)
            return
        waiting.append(item)
        if not self._notified:
            self._notified = True
            self._messages.put(_ITEM)
        elif len(waiting) == self._limits.batch:
            self._messages.put(_ITEM)  # the second message makes the writer start at once

    def _make_room(self) -> bool:
        """Wait a moment for the writer to make room. After a timeout, do not wait again until it has written."""
        if self._thread is not None and self._thread.ident == threading.get_ident():
            return True  # a finalizer on the writer thread must not wait for itself
        if not self._stalled:
            deadline = time.monotonic() + _QUEUE_FULL_TIMEOUT_SECONDS
            self._messages.put(_ITEM)
            while len(self._queue) >= self._limits.queue and time.monotonic() < deadline:
                time.sleep(0.001)
            self._stalled = len(self._queue) >= self._limits.queue
        return not self._stalled

    def _start(self) -> None:
        if self._patched != _process.is_gevent_patched():
            self._patched = True
            self._after_fork()
        # Use SimpleQueue, which is reentrant: a finalizer or signal handler may interrupt ``put``.
        messages: Any = queue.SimpleQueue()
        thread = _process.new_thread("write", self._run, messages)
        with self._lock:
            if self._started or self._closed:
                return
            self._messages, self._notified, self._started = messages, False, True
        # Start it without the lock: this waits for the new thread, on which a finalizer may end a span.
        # If the interpreter is ending, flush and close write on their caller's thread.
        with suppress(RuntimeError):
            thread.start()
            self._thread = thread  # after start(), because an unstarted thread cannot be joined
        self._sink.start()
        exit_hooks.install()

    # -- the writer thread ------------------------------------------------------------------------------------------

    def _run(self, messages: Any) -> None:
        received: list[Any] = []
        while not self._closed and _STOP not in received:
            try:
                received = [messages.get(timeout=self._limits.delay if self._sink.has_backlog else None)]
            except queue.Empty:
                self._sink.retry()
                continue
            with suppress(queue.Empty):
                if received[0] is _ITEM and not self._closed:
                    received.append(messages.get(timeout=self._delay_seconds))
                while True:
                    received.append(messages.get_nowait())
            self._notified = False  # before writing, so that later items send a new message
            self._write()
            _acknowledge(received)
        self._write()
        with suppress(queue.Empty):
            while True:
                _acknowledge([messages.get_nowait()])

    def _write(self, *, blocking: bool = True) -> None:
        """Write all queued items, unless another thread is writing and ``blocking`` is False."""
        if not self._writing.acquire(blocking=blocking):
            return
        try:
            while batch := self._take(self._limits.batch):
                try:
                    self._sink.write(batch)
                except Exception:
                    _errors.log_internal_error(f"write {self._stats.unit}")
                self._stalled = False
        finally:
            self._writing.release()

    def _take(self, count: int) -> list[Any]:
        """Remove up to ``count`` items from the queue. Several threads may do so."""
        items: list[Any] = []
        with suppress(IndexError):
            while len(items) < count:
                items.append(self._queue.popleft())
        return items

    def flush(self, deadline: float) -> bool:
        """Write all queued items and wait until they have arrived. Return False if the deadline passes first."""
        if self._closed:
            return self._delivered
        if not self._wait_written(deadline):
            self._stats.log_remaining("flush()", in_memory=len(self._queue))
            return False
        return self._sink.flush(deadline) and not self._stats.new_losses()

    def _wait_written(self, deadline: float) -> bool:
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._write()
            return True
        written = threading.Event()
        self._messages.put(written)
        return written.wait(max(0.0, deadline - time.monotonic()))

    def close(self, deadline: float) -> bool:
        """Write all queued items, send until the deadline, and stop. Return True if all have arrived."""
        if self._closed:
            return self._delivered
        written = self._wait_written(deadline)
        self._closed = True
        if self._thread is not None:
            self._messages.put(_ITEM)
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread is None or not self._thread.is_alive():
            self._write()  # items that were queued in between
        else:
            if self._sink.durable:  # it never waits long, so there is time even if the deadline has passed
                self._write(blocking=False)
            self._stats.record_dropped("exit", len(self._take(len(self._queue))))
        self._delivered = self._sink.close(deadline) and written and not self._stats.new_losses()
        return self._delivered

    def rest(self, deadline: float) -> None:
        """Write all queued items, stop, and close files and connections until the next item."""
        with self._lock:
            thread, messages = self._thread, self._messages
            if self._closed or thread is None:
                return
            self._thread, self._started = None, False
        messages.put(_STOP)
        thread.join(max(0.0, deadline - time.monotonic()))
        self._sink.rest(deadline)

    # -- interface of OpenTelemetry --------------------------------------------------------------------------------

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Call ``flush`` with a timeout in milliseconds."""
        return self.flush(time.monotonic() + timeout_millis / 1000)

    def shutdown(self) -> None:
        """Call ``close`` with a timeout of 5 seconds."""
        self.close(time.monotonic() + 5.0)


def _acknowledge(messages: Sequence[Any]) -> None:
    """Set the events of callers that wait for the write."""
    for message in messages:
        if isinstance(message, threading.Event):
            message.set()


class SpanBatchProcessor(BatchProcessor, SpanProcessor):
    """The batch processor of spans."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue an ended span, if it is sampled."""
        context = span.context
        if context is not None and context.trace_flags.sampled:
            self.enqueue(span)
