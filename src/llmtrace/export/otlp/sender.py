"""Sends what a buffer holds: one request at a time, on one thread, until the backend has it or refuses it for good."""

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
from ..stats import ExportStats
from .buffers import Buffer, Entry
from .payload import Payload, Unencodable
from .transport import Outcome, Transport

__all__ = ["Sender"]

_log = logging.getLogger("llmtrace")
_FIRST_BACKOFF, _LAST_BACKOFF = 0.25, 20.0
_MAX_RETRY_SECONDS = 300.0
_ADOPT_INTERVAL_SECONDS = 30.0
_POISON_ATTEMPTS = 24  # so many in a row are no bad luck, even at a backend that fails every other time
_MAX_SUSPECTS = 1000
_MIN_REQUEST_BYTES = 16 << 10
_ADOPTING_SHARE = 2
"""While closing, what dead processes left is adopted for one part in so many of the time."""


class Sender:
    """Where what was traced leaves the process."""

    waits = False

    def __init__(
        self,
        buffer: Buffer,
        transport: Transport,
        ledger: ExportStats,
        *,
        adopt_all: bool = False,
        keeps: bool = False,
        pace: float = 0.0,
    ) -> None:
        """Set up; nothing is sent before ``start`` or ``close``.

        Args:
            buffer: Holds the requests until they have arrived.
            transport: Sends one.
            ledger: Counts what is sent and what is lost.
            adopt_all: While closing, go on adopting what dead processes left, until the deadline.
            keeps: The buffer outlives the process.
            pace: Seconds between requests while nothing is in a hurry, so that small ones are sent together.
        """
        self.keeps = keeps
        self._adopt_all = adopt_all
        self._pace = pace
        self._buffer = buffer
        self._transport = transport
        self._ledger = ledger
        self._limit = transport.limit
        self._joins = True
        """Small requests are joined, until the backend refuses one for its size."""
        self._renew()

    def _renew(self) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._hurry = False
        self._deadline = float("inf")
        self._failures = 0
        self._not_before = 0.0
        self._ordered = False
        """The backend itself named the time to wait."""
        self._paced_until = 0.0
        self._accepted = 0
        self._adopt_until = float("inf")
        self._adopted = False
        """True once this process has taken on a share of what dead processes left."""
        self._suspects: dict[Entry, tuple[int, int]] = {}
        """Request that may be at fault itself -> attempts, and requests accepted before the first."""

    def after_fork(self) -> None:
        self._buffer.after_fork()
        self._transport.after_fork()
        self._renew()

    def start(self) -> None:
        """Have the sender run in this process."""
        with self._changed:
            if self._thread is not None or self._closing:
                return
            self._thread = threading.Thread(target=self._work, name="llmtrace-send", daemon=True)
        try:
            self._thread.start()  # without the lock: under gevent this runs other greenlets
        except RuntimeError:  # the interpreter is ending: close() sends on the thread that calls it
            self._thread = None

    # -- the writing side ---------------------------------------------------------------------------------------------

    def retry(self) -> None:
        pass  # the sender does so by itself

    def write(self, batch: Sequence[Any]) -> None:
        """Take a batch over: from here it is sent, kept, or counted as lost."""
        for part in self._transport.form.encode(batch, self._limit, self._transport.encoding):
            if isinstance(part, Unencodable):
                self._ledger.record_dropped(part.reason, part.items)
            else:
                self.put(part)

    def put(self, payload: Payload) -> None:
        """Take one encoded request over."""
        if self._buffer.put(payload):
            self._ledger.record_spooled(payload.items)
        with self._changed:
            self._changed.notify_all()

    def flush(self, deadline: float) -> bool:
        """Wait until all that this process wrote has arrived. Attempts begin at once, unless the backend forbids."""
        with self._changed:
            if self._thread is None:
                return not self._buffer.waiting()
            self._hurry = True
            self._changed.notify_all()
            while self._buffer.waiting():
                left = deadline - time.monotonic()
                if left <= 0:
                    self._tell_left("flush()")
                    return False
                self._changed.wait(left)
        return True

    def close(self, deadline: float) -> bool:
        """Send what can be sent by the deadline. What is on disk stays there for the next process."""
        with self._changed:
            self._closing, self._hurry, self._deadline = True, True, deadline
            now = time.monotonic()
            self._adopt_until = deadline if self._adopt_all else now + (deadline - now) / _ADOPTING_SHARE
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(max(0.0, deadline - time.monotonic()))
        else:
            self._work()
        if thread is not None and thread.is_alive():  # it lets go of the disk when its request has had its time
            arrived = False
            self._tell_left("shutdown()")
            self._buffer.give_up_memory()
        else:
            arrived = not self._buffer.waiting()
            if time.monotonic() >= deadline:
                self._tell_left("shutdown()")
            self._release()
        self._ledger.log_losses(now=True)
        return arrived

    def rest(self, deadline: float) -> None:
        """Close, so that ``start`` opens all again."""
        self.close(deadline)
        if self._thread is None or not self._thread.is_alive():
            self._renew()

    def _tell_left(self, action: str) -> None:
        left = self._buffer.left()
        # What is in memory alone at the end is reported as lost.
        self._ledger.tell_left(action, on_disk=left.on_disk, in_memory=left.in_memory if action == "flush()" else 0)

    def _release(self) -> None:
        self._buffer.close()
        self._transport.close()

    # -- the sending side ---------------------------------------------------------------------------------------------

    def _work(self) -> None:
        token = attach(set_value(SUPPRESS_KEY, True))  # our requests are nobody's telemetry
        try:
            while (entry := self._next()) is not None:
                try:
                    self._deliver(entry)
                except Exception:
                    self._settle(entry, lost="fault")
                    _errors.log_internal_error("send what was traced")
                with self._changed:
                    self._changed.notify_all()
        finally:
            detach(token)
        # On a thread of its own nobody waits for it any more; else close() goes on.
        if threading.current_thread() is self._thread and time.monotonic() >= self._deadline:
            self._release()

    def _adopt(self) -> bool:
        """Get hold of a few requests that dead processes left; while closing, only for a share of the time, but once at
        least. True if there may be more to send."""
        if self._closing and self._adopted and time.monotonic() >= self._adopt_until:
            return False
        self._adopted = True
        try:
            return self._buffer.adopt()
        except Exception:
            _errors.log_internal_error("adopt what another process left in the spool")
            return False

    def _next(self) -> Entry | None:
        """The request to send now, those of this process first; waits for it. ``None`` when it is time to stop."""
        while True:
            with self._changed:
                now = time.monotonic()
                ready = self._buffer.ready()
                if self._closing and (now >= self._deadline or (ready and self._give_up())):
                    return None
                if ready:
                    wait = max(self._not_before, 0.0 if self._closing else self._paced_until) - now
                    if wait > 0 and (self._ordered or not self._hurry):
                        self._changed.wait(min(wait, self._deadline - now))
                        continue
                    self._hurry = False
            if ready:
                if self._joins and not self._failures:  # a backend that is down is tried with one request
                    self._buffer.gather(self._transport.form)
                if (entry := self._buffer.first()) is not None:
                    return entry
            if self._adopt():
                continue
            with self._changed:
                if self._closing:
                    return None
                signalled = self._buffer.ready() or self._changed.wait(_ADOPT_INTERVAL_SECONDS)
            if not signalled:
                self._ledger.log_losses()

    def _give_up(self) -> bool:
        """While closing, one refusal is enough where the disk keeps what is left."""
        if self._ordered and self._not_before >= self._deadline:
            return True
        return self._failures > 0 and not self._hurry and not self._buffer.unsaved()

    def _deliver(self, entry: Entry) -> None:
        try:
            payload = entry.load()
        except (FileNotFoundError, NotADirectoryError):
            self._settle(entry, lost="removed")
            return
        except OSError as error:  # without a descriptor left, for one: it is not lost, it cannot be read now
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
                self._buffer.done(entry)  # first of all: a crash before this sends it again
                self._record_success(entry)
                if not self._buffer.ready():
                    self._paced_until = time.monotonic() + self._pace
                self._ledger.record_exported(max(0, payload.items - outcome.rejected))
                self._ledger.record_dropped("rejected", min(outcome.rejected, payload.items))
                if outcome.message:  # a message of the backend's own may echo what we sent
                    _log.debug("llmtrace was told by the backend: %s", outcome.message)
            case "too_large":
                self._halve(entry, payload)
                self._record_success(entry)
            case "refused":
                self._settle(entry, lost="refused", message=outcome.message)
                self._record_success(entry)
            case "retry":
                self._ledger.record_retry()
                if outcome.poison and self._is_poison(entry):
                    self._settle(entry, lost="refused", message=outcome.message)
                else:
                    self._retry(entry, outcome, last=outcome.poison)

    def _record_success(self, entry: Entry) -> None:
        """The backend answers."""
        self._suspects.pop(entry, None)
        self._accepted += 1
        self._failures, self._not_before, self._ordered = 0, 0.0, False

    def _settle(self, entry: Entry, *, lost: str, message: str = "") -> None:
        self._suspects.pop(entry, None)
        self._buffer.done(entry)
        self._ledger.record_dropped(lost, entry.items, message)

    def _halve(self, entry: Entry, payload: Payload) -> None:
        self._joins = False
        parts = self._transport.form.split(payload)
        if payload.items > 1:
            self._limit = max(_MIN_REQUEST_BYTES, min(self._limit, len(payload.raw()) // 2))
        for part in parts:
            self._buffer.put(part)
        self._buffer.done(entry)
        if not parts:
            self._ledger.record_dropped("too_large", payload.items)

    def _retry(self, entry: Entry, outcome: Outcome, *, last: bool) -> None:
        self._buffer.put_back(entry, last=last)
        backoff = min(_LAST_BACKOFF, _FIRST_BACKOFF * 2 ** min(self._failures, 10)) * random.uniform(0.8, 1.2)
        with self._changed:
            self._failures += 1
            self._ordered = bool(outcome.after)
            # However soon the backend says, a backend in trouble is not asked in a loop.
            wait = max(backoff, min(outcome.after or 0.0, _MAX_RETRY_SECONDS))
            self._not_before = time.monotonic() + wait
        if self._failures == 1:
            _log.debug("llmtrace could not send %d %s (%s); they wait", entry.items, self._ledger.unit, outcome.message)

    def _is_poison(self, entry: Entry) -> bool:
        """Whether this request alone fails, time and again, while others arrive."""
        attempts, accepted = self._suspects.get(entry, (0, self._accepted))
        if len(self._suspects) > _MAX_SUSPECTS:  # not one request: the backend
            self._suspects.clear()
        self._suspects[entry] = attempts + 1, accepted
        return attempts + 1 >= _POISON_ATTEMPTS and self._accepted > accepted
