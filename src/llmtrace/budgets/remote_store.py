"""A shared store behind a thread of its own: a slow server delays a call briefly and never blocks an event loop."""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from .._process import after_fork, new_thread
from .stores import Claim, RedisStore, Step

_log = logging.getLogger("llmtrace")
_RESERVE_TIMEOUT_SECONDS = 0.5
"""Seconds that a call waits for its reservation at most."""
_SETTLE_WAIT_SECONDS = 0.02
"""Seconds that the end of a call waits for the new balance, which goes on its span."""
_PAUSE_SECONDS = 5.0
"""Seconds after a failure or a timeout in which no call waits for the store."""
_MAX_UNSETTLED = 10_000
"""Maximum number of settlements kept while the store cannot be reached; above it the oldest are dropped."""
_MAX_BATCH_STEPS = 200
"""Maximum number of steps in one round trip, from the queue and from the backlog each."""
_IDLE_SECONDS = 10.0
"""Seconds without a step after which the thread ends; the next step starts another."""


class RemoteStore:
    """A store reached over the network. Settlements are repeated until they succeed."""

    def __init__(self, backend: RedisStore) -> None:
        self._backend = backend
        self._reset()
        after_fork(self._reset)  # the parent process runs the queued steps

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Step | Future[bool]] = SimpleQueue()
        self._unsettled: deque[Step] = deque()
        self._thread: threading.Thread | None = None
        self._down_until = self._slow_until = self._retry_at = 0.0

    def reserve(self, call: str, claims: Sequence[Claim]) -> Future[Any]:
        """Queue a reservation; return its future, which is an error at once while the store is paused."""
        step = Step(call, claims)
        if monotonic() < self._down_until:
            step.future.set_result(ConnectionError("the budget store did not respond in time"))
        else:
            self._put(step)
        return step.future

    def settle(self, call: str, claims: Sequence[Claim], spent: Sequence[int]) -> Future[Any]:
        """Queue a settlement and wait briefly for the new balances; return the future of them."""
        step = Step(call, claims, spent)
        self._put(step)
        if monotonic() >= max(self._down_until, self._slow_until):
            try:
                step.future.result(_SETTLE_WAIT_SECONDS)
            except TimeoutError:
                self._slow_until = monotonic() + _PAUSE_SECONDS
        return step.future

    def wait(self, future: Future[Any]) -> Any:
        """Wait up to half a second for a reservation; return its result, which may be an exception."""
        try:
            return future.result(_RESERVE_TIMEOUT_SECONDS)
        except TimeoutError:
            return self._give_up()

    async def wait_async(self, future: Future[Any]) -> Any:
        """Wait like ``wait``, without blocking the event loop of asyncio or trio."""
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            trio: Any = sys.modules.get("trio")
            try:
                return await trio.to_thread.run_sync(self.wait, future, abandon_on_cancel=True)
            except (AttributeError, RuntimeError):
                return self.wait(future)  # an unknown event loop: block, as in a thread
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), _RESERVE_TIMEOUT_SECONDS)
        except TimeoutError:
            return self._give_up()

    def drain(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until every settlement is stored; return False if one is not."""
        if self._thread is None and not self._unsettled:
            return True
        done: Future[bool] = Future()
        self._put(done)
        try:
            return done.result(timeout)
        except TimeoutError:
            return False

    def _put(self, item: Step | Future[bool]) -> None:
        self._queue.put(item)
        with self._lock:
            if self._thread is not None:
                return
            thread = self._thread = new_thread("budgets", self._run)
        try:
            thread.start()  # without the lock: a finalizer on the new thread may settle a call
        except RuntimeError:  # the interpreter is ending
            self._thread = None
            raise

    def _run(self) -> None:
        while True:
            try:
                items = [self._queue.get(timeout=_PAUSE_SECONDS if self._unsettled else _IDLE_SECONDS)]
            except Empty:
                items = []
                with self._lock:
                    if not self._unsettled and self._queue.empty():
                        self._thread = None
                        return
            with suppress(Empty):
                while len(items) < _MAX_BATCH_STEPS:
                    items.append(self._queue.get_nowait())
            steps = [item for item in items if isinstance(item, Step)]
            drains = [item for item in items if isinstance(item, Future)]
            self._run_batch(steps, at_once=bool(drains))
            while drains and self._unsettled and not self._retry_at:
                self._run_batch([], at_once=True)
            for drain in drains:
                drain.set_result(not self._unsettled)

    def _run_batch(self, steps: list[Step], *, at_once: bool) -> None:
        """Run ``steps``, after a batch of the settlements that failed before."""
        if monotonic() < self._retry_at and not at_once:
            self._finish(steps, [ConnectionError("the budget store is down")] * len(steps))
            return
        unsettled = [self._unsettled.popleft() for _ in range(min(len(self._unsettled), _MAX_BATCH_STEPS))]
        steps = unsettled + steps
        if not steps:
            return
        started = monotonic()
        try:
            results = self._backend.run(steps)
        except Exception as error:
            results = [error] * len(steps)
        failure = next((result for result in results if isinstance(result, Exception)), None)
        if failure is not None:
            self._retry_at = monotonic() + _PAUSE_SECONDS
            self._pause(failure)
        else:
            self._retry_at = 0.0
            if monotonic() - started <= _RESERVE_TIMEOUT_SECONDS:
                self._down_until = 0.0
        self._finish(steps, results)

    def _finish(self, steps: list[Step], results: list[Any]) -> None:
        for step, result in zip(steps, results, strict=True):
            if step.spent is None or not isinstance(result, Exception):
                step.future.set_result(result)
                continue
            self._unsettled.append(step)
            if len(self._unsettled) > _MAX_UNSETTLED:
                self._unsettled.popleft()

    def _give_up(self) -> Exception:
        error = TimeoutError(f"no response within {_RESERVE_TIMEOUT_SECONDS} s")
        self._pause(error)
        return error

    def _pause(self, error: Exception) -> None:
        if not self._down_until:
            _log.warning(
                "llmtrace cannot reach the budget store (%s); budgets are not enforced until it responds in time, "
                "except those with on_store_error='closed', which refuse calls",
                error,
            )
        self._down_until = monotonic() + _PAUSE_SECONDS
