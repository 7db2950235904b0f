"""Takes what ended on the program's threads, and writes it on a thread of its own."""

from __future__ import annotations

import os
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from .. import _errors
from ..capture import worker
from . import exit_hooks
from .signals import Signal
from .stats import ExportStats

__all__ = ["BatchLimits", "BatchProcessor", "ExporterSink", "Sink", "SpanBatchProcessor"]

_QUEUE_FULL_TIMEOUT_SECONDS = 0.5
"""Seconds a thread waits, once, for room in the queue before spans are dropped."""
_KEEP_SECONDS = 0.02
"""Seconds until what has ended is in the spool or the store, where a killed process loses nothing more."""
_ITEM, _STOP = object(), object()
"""Messages to the writer: something waits; the thread is no longer needed."""


class Sink(Protocol):
    """Where batches go. Once ``write`` has returned, they are the sink's to deliver or to count as lost."""

    @property
    def keeps(self) -> bool:
        """True if what was written survives the process."""
        ...

    @property
    def waits(self) -> bool:
        """True while something that could not be written waits for ``retry``."""
        ...

    def start(self) -> None: ...

    def retry(self) -> None: ...

    def write(self, batch: Sequence[Any]) -> None: ...

    def flush(self, deadline: float) -> bool: ...

    def close(self, deadline: float) -> bool: ...

    def rest(self, deadline: float) -> None:
        """Stop threads and close files. The next ``start`` or ``write`` opens them again."""

    def after_fork(self) -> None: ...


class ExporterSink:
    """Any exporter of OpenTelemetry as a sink."""

    waits = False

    def __init__(self, exporter: Any, ledger: ExportStats, signal: Signal, *, keeps: bool = False) -> None:
        self.exporter = exporter
        self.keeps = keeps
        self._ledger = ledger
        self._signal = signal

    def start(self) -> None:
        pass

    def retry(self) -> None:
        pass

    def write(self, batch: Sequence[Any]) -> None:
        well = False
        try:
            well = self.exporter.export(self._signal.exported(batch)).name == "SUCCESS"
        finally:
            items = self._signal.count(batch)
            if well:
                self._ledger.record_exported(items)
            else:
                self._ledger.record_dropped("exporter", items)

    def flush(self, deadline: float) -> bool:
        left = max(0, int((deadline - time.monotonic()) * 1000))
        force_flush = getattr(self.exporter, "force_flush", None)  # that of logs for the console once had none
        return force_flush is None or force_flush(left) is not False

    def close(self, deadline: float) -> bool:
        self.exporter.shutdown()
        self._ledger.log_losses(now=True)
        return True

    def rest(self, deadline: float) -> None:
        if self.keeps:  # files of ours: they are opened again when needed, others' exporters are not
            self.exporter.shutdown()

    def after_fork(self) -> None:
        pass


class BatchLimits:
    """How long and how much is gathered. The standard ``OTEL_BSP_*`` and ``OTEL_BLRP_*`` variables keep their
    meaning."""

    __slots__ = ("batch", "delay", "queue")

    def __init__(self, kind: str = "BSP") -> None:
        self.delay = _number(f"OTEL_{kind}_SCHEDULE_DELAY", 1000) / 1000
        self.queue = _number(f"OTEL_{kind}_MAX_QUEUE_SIZE", 8192)
        self.batch = min(_number(f"OTEL_{kind}_MAX_EXPORT_BATCH_SIZE", 512), self.queue)


def _number(variable: str, default: int) -> int:
    with suppress(ValueError):
        value = int(os.environ.get(variable, ""))
        if value > 0:
            return value
    return default


class BatchProcessor:
    """A bounded queue, and a thread that empties it into the sink soon after the first item.

    Nothing runs before the first item, so that a program may fork first, and a forked child starts anew at its own.
    """

    def __init__(self, sink: Sink, ledger: ExportStats, limits: BatchLimits | None = None) -> None:
        self._sink = sink
        self._ledger = ledger
        self._limits = limits or BatchLimits()
        self._gather = min(self._limits.delay, _KEEP_SECONDS) if sink.keeps else self._limits.delay
        self._closed = False
        self._arrived = True
        self._patched = worker.is_gevent_patched()
        self._renew()
        if hasattr(os, "register_at_fork"):
            mine = weakref.WeakMethod(self._after_fork)
            os.register_at_fork(after_in_child=lambda: renew() if (renew := mine()) is not None else None)

    def _renew(self) -> None:
        self._queue: deque[Any] = deque()
        self._lock = threading.RLock()  # a finaliser may end a span while this very thread holds it
        self._writing = threading.Lock()
        self._messages: Any = None
        self._called = False
        """The writer has a message that items wait."""
        self._thread: threading.Thread | None = None
        self._started = False
        self._stalled = False

    def _after_fork(self) -> None:
        self._renew()  # what waits here is the parent's, which sends it
        self._ledger.after_fork()
        self._sink.after_fork()

    # -- the program's threads ----------------------------------------------------------------------------------------

    def enqueue(self, item: Any) -> None:
        """Queue it; or count it as lost, where that cannot be."""
        if self._closed:
            self._ledger.record_dropped("after_shutdown", 1)
            return
        if not self._started:
            self._start()
        waiting = self._queue
        if len(waiting) >= self._limits.queue and not self._make_room():
            self._ledger.record_dropped("queue_full", 1)
            return
        waiting.append(item)
        if not self._called:
            self._called = True
            self._messages.put(_ITEM)
        elif len(waiting) == self._limits.batch:
            self._messages.put(_ITEM)  # the second message ends the gathering

    def _make_room(self) -> bool:
        """Let the writer catch up, for a moment; after waiting in vain, not again until it moves."""
        if self._thread is not None and self._thread.ident == threading.get_ident():
            return True  # a finalizer that runs on the writer must not wait for the writer
        if not self._stalled:
            give_up = time.monotonic() + _QUEUE_FULL_TIMEOUT_SECONDS
            self._messages.put(_ITEM)
            while len(self._queue) >= self._limits.queue and time.monotonic() < give_up:
                time.sleep(0.001)
            self._stalled = len(self._queue) >= self._limits.queue
        return not self._stalled

    def _start(self) -> None:
        if self._patched != worker.is_gevent_patched():
            self._patched = True
            self._after_fork()
        with self._lock:
            if self._started or self._closed:
                return
            # Not a condition or an event: a finaliser or a signal handler may interrupt the very thread that puts.
            self._messages, self._called = queue.SimpleQueue(), False
            thread = threading.Thread(target=self._work, args=(self._messages,), name="llmtrace-write", daemon=True)
            # Where the interpreter is ending, flush and close write on the thread that calls them.
            with suppress(RuntimeError):
                thread.start()
                self._thread = thread  # not before: one that has not begun cannot be waited for
            self._started = True
            self._sink.start()
            exit_hooks.install()

    # -- our thread ---------------------------------------------------------------------------------------------------

    def _work(self, messages: Any) -> None:
        received: list[Any] = []
        while not self._closed and _STOP not in received:
            try:
                received = [messages.get(timeout=self._limits.delay if self._sink.waits else None)]
            except queue.Empty:
                self._sink.retry()
                continue
            with suppress(queue.Empty):
                if received[0] is _ITEM and not self._closed:
                    received.append(messages.get(timeout=self._gather))
                while True:
                    received.append(messages.get_nowait())
            self._called = False  # before writing: what ends from here on sends a message of its own
            self._write()
            _answer(received)
        self._write()
        with suppress(queue.Empty):
            while True:
                _answer([messages.get_nowait()])

    def _write(self) -> None:
        waiting = self._queue
        with self._writing:
            while waiting:
                batch = [waiting.popleft() for _ in range(min(len(waiting), self._limits.batch))]
                try:
                    self._sink.write(batch)
                except Exception:
                    _errors.log_internal_error(f"write {self._ledger.unit}")
                self._stalled = False

    def flush(self, deadline: float) -> bool:
        """Write what has ended, and wait until it has arrived or the deadline has come."""
        if self._closed:
            return self._arrived
        if not self._written(deadline):
            self._ledger.tell_left("flush()", in_memory=len(self._queue))
            return False
        return self._sink.flush(deadline) and not self._ledger.new_losses()

    def _written(self, deadline: float) -> bool:
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._write()
            return True
        ticket = threading.Event()
        self._messages.put(ticket)
        return ticket.wait(max(0.0, deadline - time.monotonic()))

    def close(self, deadline: float) -> bool:
        """Write what has ended, send what can be sent by the deadline, and stop."""
        if self._closed:
            return self._arrived
        written = self._written(deadline)
        self._closed = True
        if self._thread is not None:
            self._messages.put(_ITEM)
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread is None or not self._thread.is_alive():
            self._write()  # what ended in between
        else:
            self._ledger.record_dropped("exit", len(self._queue))
        self._arrived = self._sink.close(deadline) and written and not self._ledger.new_losses()
        return self._arrived

    def rest(self, deadline: float) -> None:
        """Write what has ended, stop, and let go of files and connections, until the next item starts all again."""
        with self._lock:
            thread, messages = self._thread, self._messages
            if self._closed or thread is None:
                return
            self._thread, self._started = None, False
        messages.put(_STOP)
        thread.join(max(0.0, deadline - time.monotonic()))
        self._sink.rest(deadline)

    # -- the names OpenTelemetry calls --------------------------------------------------------------------------------

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self.flush(time.monotonic() + timeout_millis / 1000)

    def shutdown(self) -> None:
        self.close(time.monotonic() + 5.0)


def _answer(messages: Sequence[Any]) -> None:
    """Tell those that wait that what they waited for is written."""
    for message in messages:
        if isinstance(message, threading.Event):
            message.set()


class SpanBatchProcessor(BatchProcessor, SpanProcessor):
    """Of ended spans."""

    def on_end(self, span: ReadableSpan) -> None:
        context = span.context
        if context is not None and context.trace_flags.sampled:
            self.enqueue(span)
