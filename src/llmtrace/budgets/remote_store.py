"""A shared store behind a thread of its own: a slow server costs a call little, and an event loop nothing."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Protocol

from .stores import Claim, Step

__all__ = ["RemoteStore"]

_log = logging.getLogger("llmtrace")
_PATIENCE = 0.5
"""Seconds that a call waits for its reservation."""
_GLANCE = 0.02
"""Seconds that the end of a call waits for the new balance, which its span shows."""
_PAUSE = 5.0
"""Seconds in which a store that failed or was slow is not waited for again."""
_MAX_OWED = 10_000
"""Settlements kept for a store that cannot be reached; beyond it the oldest are lost."""
_BATCH = 200
_IDLE = 10.0
"""Seconds after which the thread ends; the next step starts another."""


class Backend(Protocol):
    def run(self, steps: Sequence[Step]) -> list[Any]:
        """Run ``steps`` in order; return the result of each, or the exception that it met."""


class RemoteStore:
    """A store reached over the network. Settlements are repeated until they have arrived."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Step | Future[bool]] = SimpleQueue()
        self._owed: deque[Step] = deque()
        self._thread: threading.Thread | None = None
        self._down_until = self._slow_until = self._retry_at = 0.0

    def reserve(self, call: str, claims: Sequence[Claim]) -> Future[Any]:
        step = Step(call, claims)
        if monotonic() < self._down_until:
            step.answer.set_result(ConnectionError("the budget store did not answer in time"))
        else:
            self._put(step)
        return step.answer

    def settle(self, call: str, claims: Sequence[Claim], spent: Sequence[int]) -> Future[Any]:
        step = Step(call, claims, spent)
        self._put(step)
        if monotonic() >= max(self._down_until, self._slow_until):
            try:
                step.answer.result(_GLANCE)
            except FutureTimeoutError:
                self._slow_until = monotonic() + _PAUSE
        return step.answer

    def wait(self, answer: Future[Any]) -> Any:
        """Return the result of a reservation, which may be an exception; wait no longer than half a second."""
        try:
            return answer.result(_PATIENCE)
        except FutureTimeoutError:
            return self._give_up()

    async def wait_async(self, answer: Future[Any]) -> Any:
        """Return the same without blocking the event loop."""
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio: the wait blocks it, for as long as a thread
            return self.wait(answer)
        arrived = asyncio.Event()

        def wake(_: object) -> None:
            with suppress(RuntimeError):  # the loop has been closed since
                loop.call_soon_threadsafe(arrived.set)

        answer.add_done_callback(wake)
        with suppress(TimeoutError):
            await asyncio.wait_for(arrived.wait(), _PATIENCE)
        return answer.result() if answer.done() else self._give_up()

    def drain(self, timeout: float) -> bool:
        """Wait until every settlement has arrived; return False if one has not."""
        if self._pid != os.getpid() or (self._thread is None and not self._owed):
            return True
        done: Future[bool] = Future()
        self._put(done)
        try:
            return done.result(timeout)
        except FutureTimeoutError:
            return False

    def _put(self, item: Step | Future[bool]) -> None:
        if self._pid != os.getpid():  # what is queued here is the business of the parent process
            self._begin()
        with self._lock:
            self._queue.put(item)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="llmtrace-budgets", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                items = [self._queue.get(timeout=_PAUSE if self._owed else _IDLE)]
            except Empty:
                items = []
                with self._lock:
                    if not self._owed and self._queue.empty():
                        self._thread = None
                        return
            with suppress(Empty):
                while len(items) < _BATCH:
                    items.append(self._queue.get_nowait())
            steps = [item for item in items if isinstance(item, Step)]
            waiting = [item for item in items if isinstance(item, Future)]
            self._carry(steps, at_once=bool(waiting))
            while waiting and self._owed and not self._retry_at:
                self._carry([], at_once=True)
            for each in waiting:
                each.set_result(not self._owed)

    def _carry(self, steps: list[Step], *, at_once: bool) -> None:
        """Run ``steps``, after some of the settlements that have not arrived yet."""
        if monotonic() < self._retry_at and not at_once:
            self._finish(steps, [ConnectionError("the budget store is down")] * len(steps))
            return
        owed = [self._owed.popleft() for _ in range(min(len(self._owed), _BATCH))]
        steps = owed + steps
        if not steps:
            return
        began = monotonic()
        try:
            results = self._backend.run(steps)
        except Exception as error:
            results = [error] * len(steps)
        failure = next((result for result in results if isinstance(result, Exception)), None)
        if failure is not None:
            self._retry_at = monotonic() + _PAUSE
            self._pause(failure)
        else:
            self._retry_at = 0.0
            if monotonic() - began <= _PATIENCE:
                self._down_until = 0.0
        self._finish(steps, results)

    def _finish(self, steps: list[Step], results: list[Any]) -> None:
        for step, result in zip(steps, results, strict=True):
            if step.spent is None or not isinstance(result, Exception):
                step.answer.set_result(result)
                continue
            self._owed.append(step)
            if len(self._owed) > _MAX_OWED:
                self._owed.popleft()

    def _give_up(self) -> Exception:
        error = TimeoutError(f"no answer within {_PATIENCE} s")
        self._pause(error)
        return error

    def _pause(self, error: Exception) -> None:
        if not self._down_until:
            _log.warning(
                "llmtrace cannot reach the budget store (%s); budgets do not hold until it answers in time", error
            )
        self._down_until = monotonic() + _PAUSE
