"""Sender thread: delivers the requests of a buffer one at a time, until the backend accepts or rejects each."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

from opentelemetry.context import attach, detach, set_value

from ... import _errors
from ..._compat.opentelemetry_context import SUPPRESS_KEY
from ..._process import new_thread
from ..._sink import Sink
from ..bridging import translate
from ..stats import ExportStats
from .buffers import Buffer, Entry
from .payload import Payload, Unencodable
from .transport import Outcome, Transport

_log = logging.getLogger("llmtrace")
_random = random.Random()
"""Not the shared generator: a program that seeds it gets the same numbers with llmtrace as without."""
_FIRST_BACKOFF, _LAST_BACKOFF = 0.25, 20.0
"""Seconds before the first retry, and the maximum between two."""
_MAX_RETRY_SECONDS = 300.0
_ADOPT_INTERVAL_SECONDS = 30.0
_POISON_ATTEMPTS = 24
"""Failed attempts until a request is dropped as poison: not chance even if the backend fails every other time."""
_MAX_SUSPECTS = 1000
_MIN_REQUEST_BYTES = 16 << 10
_ADOPTION_SHARE = 2
"""Divisor of the time for closing: one part of it is spent on the spools of dead processes."""


class Sender(Sink):
    """A sink that sends spans, metrics, logs or scores to one destination."""

    def __init__(
        self,
        buffer: Buffer,
        transport: Transport,
        stats: ExportStats,
        *,
        bridges: Sequence[str] = (),
        adopt_all: bool = False,
        durable: bool = False,
        pace: float = 0.0,
    ) -> None:
        """Store the settings; nothing is sent before ``start`` or ``close``.

        ``bridges`` add attributes to spans. With ``adopt_all``, closing adopts the spools of dead processes until the
        deadline. ``durable`` is True if the buffer outlives the process. Requests outside of a flush are ``pace``
        seconds apart, so that small ones are merged.
        """
        self.durable = durable
        self._bridges = bridges
        self._adopt_all = adopt_all
        self._pace_seconds = pace
        self._buffer = buffer
        self._transport = transport
        self._stats = stats
        self._limit = transport.limit
        self._merge_limit: int | None = None
        """Maximum bytes of a merged request before compression: half of the smallest refused for its size."""
        self._renew()

    def _renew(self) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._flush_requested = False
        self._deadline = float("inf")
        self._failures = 0
        self._not_before = 0.0
        self._backoff_requested = False
        """True if the backend requested the current delay."""
        self._paced_until = 0.0
        self._accepted = 0
        self._adopt_deadline = float("inf")
        self._adopted_once = False
        """True once this process has tried to adopt the spools of dead processes."""
        self._suspects: dict[Entry, tuple[int, int]] = {}
        """Requests that may be poison -> attempts, and number of requests accepted before the first attempt."""

    def after_fork(self) -> None:
        """Start empty in a forked child, without a thread."""
        self._buffer.after_fork()
        self._transport.after_fork()
        self._renew()

    def start(self) -> None:
        """Start the sender thread, unless it runs."""
        with self._changed:
            if self._thread is not None or self._closing:
                return
            self._thread = new_thread("send", self._run)
        try:
            self._thread.start()  # without the lock, because under gevent this runs other greenlets
        except RuntimeError:  # the interpreter is ending: close() sends on the thread that calls it
            self._thread = None

    # -- writing, on the caller's thread ---------------------------------------------------------------------------

    def write(self, batch: Sequence[Any]) -> None:
        """Encode and queue a batch. Each item is then sent, kept on disk, or counted as lost."""
        items = translate(batch, self._bridges) if self._bridges else batch
        for part in self._transport.encoder.encode(items, self._limit, self._transport.encoding):
            if isinstance(part, Unencodable):
                self._stats.record_dropped(part.reason, part.items)
            else:
                self.put(part)

    def put(self, payload: Payload) -> None:
        """Queue one encoded request."""
        if self._buffer.put(payload):
            self._stats.record_spooled(payload.items)
        with self._changed:
            self._changed.notify_all()

    def flush(self, deadline: float) -> bool:
        """Wait until all items of this process have arrived.

        Sending begins at once, unless the backend requested a delay.
        """
        with self._changed:
            if self._thread is None:
                return not self._buffer.waiting()
            self._flush_requested = True
            self._changed.notify_all()
            while self._buffer.waiting():
                left = deadline - time.monotonic()
                if left <= 0:
                    self._log_remaining("flush()")
                    return False
                self._changed.wait(left)
        return True

    def close(self, deadline: float) -> bool:
        """Send until the deadline, and stop. Requests on disk stay there for the next process."""
        with self._changed:
            self._closing, self._flush_requested, self._deadline = True, True, deadline
            now = time.monotonic()
            self._adopt_deadline = deadline if self._adopt_all else now + (deadline - now) / _ADOPTION_SHARE
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(max(0.0, deadline - time.monotonic()))
        else:
            self._run()
        if thread is not None and thread.is_alive():  # it releases the spool after its current request
            arrived = False
            self._log_remaining("shutdown()")
            self._buffer.drop_memory()
        else:
            arrived = not self._buffer.waiting()
            if time.monotonic() >= deadline:
                self._log_remaining("shutdown()")
            self._release()
        self._stats.log_losses(now=True)
        return arrived

    def rest(self, deadline: float) -> None:
        """Close, so that ``start`` can open everything again."""
        self.close(deadline)
        if self._thread is None or not self._thread.is_alive():
            self._renew()

    def _log_remaining(self, action: str) -> None:
        # Skip items in memory at shutdown: they are reported as lost.
        in_memory = self._buffer.unsaved() if action == "flush()" else 0
        self._stats.log_remaining(action, on_disk=self._buffer.saved(), in_memory=in_memory)

    def _release(self) -> None:
        self._buffer.close()
        self._transport.close()

    # -- sending, on the sender thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        token = attach(set_value(SUPPRESS_KEY, True))  # do not trace our own requests
        try:
            while (entry := self._next()) is not None:
                try:
                    self._deliver(entry)
                except Exception:
                    self._settle(entry, lost="fault")
                    _errors.log_internal_error("send a request")
                with self._changed:
                    self._changed.notify_all()
        finally:
            detach(token)
        # Release here after the deadline, because close() has returned. Before it, close() releases.
        if threading.current_thread() is self._thread and time.monotonic() >= self._deadline:
            self._release()

    def _adopt(self) -> bool:
        """Adopt some requests of dead processes. Return True if there may be more to send.

        While closing, do so once, and again only within its share of the time.
        """
        if self._closing and self._adopted_once and time.monotonic() >= self._adopt_deadline:
            return False
        self._adopted_once = True
        try:
            return self._buffer.adopt()
        except Exception:
            _errors.log_internal_error("adopt the spool of a dead process")
            return False

    def _next(self) -> Entry | None:
        """Wait for the next request to send, those of this process first. Return ``None`` to stop."""
        while True:
            with self._changed:
                now = time.monotonic()
                ready = self._buffer.ready()
                if self._closing and (now >= self._deadline or (ready and self._give_up())):
                    return None
                if ready:
                    wait = max(self._not_before, 0.0 if self._closing else self._paced_until) - now
                    if wait > 0 and (self._backoff_requested or not self._flush_requested):
                        self._changed.wait(min(wait, self._deadline - now))
                        continue
                    self._flush_requested = False
            if ready:
                if not self._failures:  # probe a failing backend with one request
                    self._buffer.coalesce(self._transport.encoder, self._merge_limit)
                if (entry := self._buffer.first()) is not None:
                    return entry
            if self._adopt():
                continue
            with self._changed:
                if self._closing:
                    return None
                signalled = self._buffer.ready() or self._changed.wait(_ADOPT_INTERVAL_SECONDS)
            if not signalled:
                self._stats.log_losses()

    def _give_up(self) -> bool:
        """Return True if closing may stop early: after one failure, if the disk keeps everything that remains."""
        if self._backoff_requested and self._not_before >= self._deadline:
            return True
        return self._failures > 0 and not self._flush_requested and not self._buffer.unsaved()

    def _deliver(self, entry: Entry) -> None:
        try:
            payload = entry.load()
        except (FileNotFoundError, NotADirectoryError):
            self._settle(entry, lost="removed")
            return
        except OSError as error:  # such as no descriptor left: unreadable now, but not lost
            self._retry(entry, Outcome("retry", str(error.strerror)), last=True)
            return
        if payload is None:
            self._settle(entry, lost="corrupt")
            return
        timeout = self._transport.timeout
        if self._closing:
            timeout = max(0.05, min(timeout, self._deadline - time.monotonic()))
        outcome = self._transport.send(payload, timeout)
        match outcome.kind:
            case "accepted":
                self._buffer.done(entry)  # first, because a crash before this sends it again
                self._record_success(entry)
                if not self._buffer.ready():
                    self._paced_until = time.monotonic() + self._pace_seconds
                self._stats.record_exported(max(0, payload.items - outcome.rejected))
                self._stats.record_dropped("rejected", min(outcome.rejected, payload.items))
                if outcome.message:  # at debug level, because the message may echo content
                    _log.debug("llmtrace received a message from the backend: %s", outcome.message)
            case "too_large":
                self._halve(entry, payload)
                self._record_success(entry)
            case "refused":
                self._settle(entry, lost="refused", message=outcome.message)
                self._record_success(entry)
            case "retry":
                self._stats.record_retry()
                if outcome.poison and self._is_poison(entry):
                    self._settle(entry, lost="refused", message=outcome.message)
                else:
                    self._retry(entry, outcome, last=outcome.poison)

    def _record_success(self, entry: Entry) -> None:
        """Reset the backoff: the backend processes requests."""
        self._suspects.pop(entry, None)
        self._accepted += 1
        self._failures, self._not_before, self._backoff_requested = 0, 0.0, False

    def _settle(self, entry: Entry, *, lost: str, message: str = "") -> None:
        self._suspects.pop(entry, None)
        self._buffer.done(entry)
        self._stats.record_dropped(lost, entry.items, message)

    def _halve(self, entry: Entry, payload: Payload) -> None:
        parts = self._transport.encoder.split(payload)
        half = len(payload.raw()) // 2
        # Without a minimum: what is merged again after a refusal must be smaller each time.
        self._merge_limit = min(half, self._merge_limit or half)
        if payload.items > 1:
            self._limit = max(_MIN_REQUEST_BYTES, min(self._limit, half))
        for part in parts:
            self._buffer.put(part)
        self._buffer.done(entry)
        if not parts:
            self._stats.record_dropped("too_large", payload.items)

    def _retry(self, entry: Entry, outcome: Outcome, *, last: bool) -> None:
        self._buffer.put_back(entry, last=last)
        backoff = min(_LAST_BACKOFF, _FIRST_BACKOFF * 2 ** min(self._failures, 10)) * _random.uniform(0.8, 1.2)
        with self._changed:
            self._failures += 1
            self._backoff_requested = bool(outcome.retry_after)
            # Apply the backoff as a minimum: a short Retry-After must not cause a busy loop.
            wait = max(backoff, min(outcome.retry_after or 0.0, _MAX_RETRY_SECONDS))
            self._not_before = time.monotonic() + wait
        if self._failures == 1:
            _log.debug(
                "llmtrace could not send %d %s (%s); it will retry", entry.items, self._stats.unit, outcome.message
            )

    def _is_poison(self, entry: Entry) -> bool:
        """Return True if this request fails again and again while others are accepted."""
        attempts, accepted = self._suspects.get(entry, (0, self._accepted))
        if len(self._suspects) > _MAX_SUSPECTS:  # the backend fails, not one request
            self._suspects.clear()
        self._suspects[entry] = attempts + 1, accepted
        return attempts + 1 >= _POISON_ATTEMPTS and self._accepted > accepted
