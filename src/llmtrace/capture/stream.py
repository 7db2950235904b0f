"""A stream as it is read: what its chunks say, when they came, and how it ended."""

from __future__ import annotations

import weakref
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

from .._guard import report
from ..facts import Response, Timing
from ..wire._format import Accumulator
from . import worker
from .call import OpenCall
from .failure import event_behind

__all__ = ["AsyncChunks", "Chunks", "Recorder", "end_open_streams", "notify"]

_GAPS = 256
_STALL = 1.0
_WAIT = 0.05
"""Seconds to wait for the end of a dropped stream, so that in the common case it has ended when ``del`` has."""

_open: weakref.WeakSet[Recorder] = weakref.WeakSet()


def end_open_streams() -> None:
    """End what is still open when the interpreter exits."""
    for recorder in list(_open):
        recorder.left("dropped", at_exit=True)


class Recorder:
    """Sees every chunk of one stream and ends its call exactly once.

    Whoever lets the caller read the stream holds the recorder; when the last of them is collected, the stream was
    dropped.
    """

    __slots__ = ("__weakref__", "_add", "_answer", "_call", "_chunks", "_first", "_gaps", "_last", "_long", "_max",
                 "_spoken", "_stride", "_token", "finished")  # fmt: skip

    def __init__(self, call: OpenCall, answer: Accumulator) -> None:
        self._call = call
        self._answer = answer
        self._add = answer.add
        self._chunks = 0
        self._first = self._token = self._last = self._max = 0.0
        self._gaps = array("d")
        self._stride = 1
        self._long: list[float] | None = None
        estimator = call.tracing.estimator
        self._spoken = call.spoken = None if estimator is None else estimator.listen(call)
        self.finished = False
        _open.add(self)
        worker.start()

    def mark(self, chunk: Any) -> None:
        """One chunk arrived."""
        try:
            now = perf_counter()
            count = self._chunks
            self._chunks = count + 1
            if count:
                gap = now - self._last
                if gap > self._max:
                    self._max = gap
                    if gap > _STALL:
                        self._stalled(gap)
                elif gap > _STALL:
                    self._stalled(gap)
                if count % self._stride == 0:
                    self._gaps.append(gap)
                    if len(self._gaps) >= _GAPS:
                        self._thin()
            else:
                self._first = now
            self._last = now
            if self._add(chunk) and not self._token:
                self._token = now
            if self._spoken is not None:
                self._spoken.add(chunk)
        except Exception:
            report("read a chunk")

    @property
    def asked_usage(self) -> bool:
        return self._call.asked_usage

    def hides(self, chunk: Any) -> bool:
        """Whether a chunk is there only because we asked for it."""
        return not getattr(chunk, "choices", True) and bool(getattr(chunk, "usage", None))

    def _stalled(self, gap: float) -> None:
        if self._long is None:
            self._long = []
        self._long.append(gap)

    def _thin(self) -> None:
        # Beyond 256 gaps keep every second one, and so on: the percentile stays representative, memory bounded.
        self._gaps = self._gaps[::2]
        self._stride *= 2

    def exhausted(self) -> None:
        """The wire ended; whether in good order the format's end event tells."""
        answer = self._result()
        self._finish(answer, "failed" if answer.failed else "exhausted" if answer.complete else "truncated")

    def end_if_failed(self) -> None:
        answer = self._result()
        if answer.failed:
            self._finish(answer, "failed")

    def closed(self) -> None:
        self.left("closed")

    def left(self, how: str, *, at_exit: bool = False) -> None:
        """The caller reads no more; a stream whose end event has come is none the less whole."""
        if self.finished:
            return
        try:
            ended = self._answer.ended
        except Exception:
            ended = False
            report("read a stream")
        self.end("exhausted" if ended else how, at_exit=at_exit)

    def failed(self, error: BaseException) -> None:
        if _refused(error):
            return
        how = "failed" if isinstance(error, Exception) else "cancelled"
        if not self.finished:
            self.finished = True
            try:
                if (event := event_behind(error)) is not None:
                    self._add(event)
            except Exception:
                report("read a chunk")
            self._call.fail(error, self._timed(how), self._result())

    def end(self, how: str, *, at_exit: bool = False) -> None:
        self._finish(self._result(), how, at_exit=at_exit)

    def _finish(self, answer: Response, how: str, *, at_exit: bool = False) -> None:
        if not self.finished:
            self.finished = True
            self._call.end(answer, timing=self._timed(how, at_exit=at_exit))

    def _result(self) -> Response:
        try:
            return self._answer.result()
        except Exception:
            report("read a stream")
            return Response()

    def _timed(self, how: str, *, at_exit: bool = False) -> Timing:
        try:
            return self._timing(how, at_exit=at_exit)
        except Exception:
            report("time a stream")
            return Timing(how, at_exit=at_exit)

    def _timing(self, how: str, *, at_exit: bool = False) -> Timing:
        started, chunks = self._call.started, self._chunks
        if not chunks:
            return Timing(how, at_exit=at_exit)
        token = self._token
        gaps = sorted(self._gaps)
        return Timing(
            end=how,
            chunks=chunks,
            first_chunk=self._first - started,
            first_token=token - started if token else None,
            speaking=self._last - token if token else 0.0,
            gaps=self._gaps,
            gap_mean=(self._last - self._first) / (chunks - 1) if gaps else None,
            gap_p95=gaps[min(len(gaps) - 1, int(len(gaps) * 0.95))] if gaps else None,
            gap_max=self._max if gaps else None,
            stalls=sum(gap > 10 * median(gaps) for gap in self._long) if self._long and gaps else 0,
            at_exit=at_exit,
        )

    def __del__(self) -> None:
        if not getattr(self, "finished", True):  # absent where a fault has interrupted ``__init__``
            notify(partial(worker.submit, partial(self.left, "dropped"), wait=_WAIT))


def _refused(error: BaseException) -> bool:
    """Whether a generator only sent a reader away, because another thread or task was reading it just then."""
    frames = error.__traceback__
    return isinstance(error, (ValueError, RuntimeError)) and frames is not None and frames.tb_next is None


def notify(step: Callable[..., object], *args: Any) -> None:
    """Have a recorder take a ``step`` at the end of a stream. Never raises: what the caller gets is the SDK's own."""
    try:
        step(*args)
    except Exception:
        report("end a stream")


class Chunks:
    """Stands in for the iterator inside a vendor's stream object."""

    __slots__ = ("_hide", "_inner", "_next", "_recorder")

    def __init__(self, inner: Iterator[Any], recorder: Recorder) -> None:
        self._inner = inner
        self._next = inner.__next__
        self._recorder = recorder
        self._hide = recorder.asked_usage

    def __iter__(self) -> Chunks:
        return self

    def __next__(self) -> Any:
        while True:
            try:
                chunk = self._next()
            except StopIteration:
                notify(self._recorder.exhausted)
                raise
            except BaseException as error:
                notify(self._recorder.failed, error)
                raise
            try:
                self._recorder.mark(chunk)
                if self._hide and self._recorder.hides(chunk):
                    continue
            except Exception:
                report("read a chunk")
            return chunk

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # absent where a fault has interrupted ``__init__``
            raise AttributeError(name)
        return getattr(self._inner, name)


class AsyncChunks:
    """As ``Chunks``, for an asynchronous stream."""

    __slots__ = ("_hide", "_inner", "_recorder")

    def __init__(self, inner: AsyncIterator[Any], recorder: Recorder) -> None:
        self._inner = inner
        self._recorder = recorder
        self._hide = recorder.asked_usage

    def __aiter__(self) -> AsyncChunks:
        return self

    async def __anext__(self) -> Any:
        while True:
            try:
                chunk = await self._inner.__anext__()
            except StopAsyncIteration:
                notify(self._recorder.exhausted)
                raise
            except BaseException as error:
                notify(self._recorder.failed, error)
                raise
            try:
                self._recorder.mark(chunk)
                if self._hide and self._recorder.hides(chunk):
                    continue
            except Exception:
                report("read a chunk")
            return chunk

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # absent where a fault has interrupted ``__init__``
            raise AttributeError(name)
        return getattr(self._inner, name)
