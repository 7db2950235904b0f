"""A stream as it is read: what its chunks say, when they came, and how it ended."""

from __future__ import annotations

import weakref
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

from .._errors import log_internal_error
from ..model import Response, StreamTiming
from ..model.chunk_gaps import ChunkGaps
from ..model.wire_format import Accumulator
from . import worker
from .call import OpenCall
from .failure import error_event
from .services import CallServices

__all__ = [
    "AsyncObservedHelperIterator",
    "AsyncObservedIterator",
    "ObservedHelperIterator",
    "ObservedIterator",
    "StreamObserver",
    "end_open_streams",
    "has_open_streams",
    "notify",
]

_BLOCK = 128
"""Gaps that are put into buckets at a time, and that percentiles are taken from at most."""
_STALL_SECONDS = 1.0

_open: weakref.WeakSet[StreamObserver] = weakref.WeakSet()


def end_open_streams() -> None:
    """End what is still open when the interpreter exits."""
    for recorder in list(_open):
        recorder.on_drop("dropped", at_exit=True)


def has_open_streams(tracing: CallServices) -> bool:
    """Return True if a stream of this instrumentation is still being read."""
    return any(recorder._call.services is tracing and not recorder.finished for recorder in list(_open))


class StreamObserver:
    """Sees every chunk of one stream and ends its call exactly once.

    Whoever lets the caller read the stream holds the recorder; when the last of them is collected, the stream was
    dropped.
    """

    __slots__ = (
        "__weakref__",
        "_add",
        "_answer",
        "_call",
        "_chunks",
        "_every",
        "_first",
        "_gaps",
        "_last",
        "_long",
        "_new",
        "_output_text",
        "_sample",
        "_token",
        "finished",
    )  # fmt: skip

    def __init__(self, call: OpenCall, answer: Accumulator) -> None:
        self._call = call
        self._answer = answer
        self._add = answer.add
        self._chunks = 0
        self._first = self._token = self._last = 0.0
        self._new = array("d")
        """The gaps since the last full block."""
        self._gaps: ChunkGaps | None = None
        self._sample = array("d")
        self._every = 1
        self._long: list[float] | None = None
        estimator = call.services.estimator
        self._output_text = call.output_text = None if estimator is None else estimator.buffer_for(call)
        self.finished = False
        _open.add(self)
        worker.start()

    def on_chunk(self, chunk: Any) -> None:
        """One chunk arrived."""
        try:
            now = perf_counter()
            count = self._chunks
            self._chunks = count + 1
            if count:
                gap = now - self._last
                if gap > _STALL_SECONDS:
                    self._stalled(gap)
                self._new.append(gap)
                if not count % _BLOCK:
                    self._settle()
            else:
                self._first = now
            self._last = now
            if self._add(chunk) and not self._token:
                self._token = now
            if self._output_text is not None:
                self._output_text.add(chunk)
        except Exception:
            log_internal_error("read a chunk")

    @property
    def chunks(self) -> int:
        """Chunks seen so far."""
        return self._chunks

    def unwrap(self, data: Callable[[Any], Any]) -> None:
        """Read ``data(chunk)`` in place of each chunk from now on."""
        add = self._add
        self._add = lambda chunk: add(data(chunk))

    def add(self, event: Any) -> None:
        """Take in what the answer says outside its chunks, which the caller does not see as one."""
        try:
            self._add(event)
        except Exception:
            log_internal_error("read a chunk")

    @property
    def hides_usage_chunk(self) -> bool:
        return self._call.injected_include_usage

    def strip_injected_usage(self, chunk: Any) -> bool:
        """Return True for a chunk that is there only because we asked for it; hide what the wish adds to others."""
        usage = getattr(chunk, "usage", None)
        if usage is None:
            # The server writes ``usage: null`` on the other chunks, which ``model_fields_set`` would show.
            fields = getattr(chunk, "__pydantic_fields_set__", None) or getattr(chunk, "__fields_set__", None)
            if isinstance(fields, set):
                fields.discard("usage")
        return bool(usage) and not getattr(chunk, "choices", True)

    def _stalled(self, gap: float) -> None:
        if self._long is None:
            self._long = []
        self._long.append(gap)

    def _settle(self) -> None:
        """Put a block of gaps into buckets, all of them, and some into the sample that percentiles are taken from."""
        if self._gaps is None:
            self._gaps = ChunkGaps()
        ordered = sorted(self._new)
        del self._new[:]
        self._gaps.add(ordered)
        self._sample.extend(ordered[self._every // 2 :: self._every])
        if len(self._sample) > _BLOCK:
            # Keep every second one, and so on: the percentile stays representative, memory bounded.
            self._sample = array("d", sorted(self._sample)[::2])
            self._every *= 2

    def on_exhausted(self) -> None:
        """The wire ended; whether in good order the format's end event tells."""
        answer = self._result()
        self._finish(answer, "failed" if answer.failed else "exhausted" if answer.complete else "truncated")

    def end_if_failed(self) -> None:
        answer = self._result()
        if answer.failed:
            self._finish(answer, "failed")

    def on_close(self) -> None:
        self.on_drop("closed")

    def on_drop(self, how: str, *, at_exit: bool = False) -> None:
        """The caller reads no more; a stream whose end event has come is none the less whole."""
        if self.finished:
            return
        try:
            ended = self._answer.ended
        except Exception:
            ended = False
            log_internal_error("read a stream")
        self.end("exhausted" if ended else how, at_exit=at_exit)

    def on_error(self, error: BaseException) -> None:
        if _refused(error):
            return
        how = "failed" if isinstance(error, Exception) else "cancelled"
        if not self.finished:
            self.finished = True
            try:
                if (event := error_event(error)) is not None:
                    self._add(event)
            except Exception:
                log_internal_error("read a chunk")
            self._call.fail(error, self._safe_timing(how), self._result())

    def end(self, how: str, *, at_exit: bool = False) -> None:
        self._finish(self._result(), how, at_exit=at_exit)

    def _finish(self, answer: Response, how: str, *, at_exit: bool = False) -> None:
        if not self.finished:
            self.finished = True
            self._call.end(answer, timing=self._safe_timing(how, at_exit=at_exit))

    def _result(self) -> Response:
        try:
            return self._answer.result()
        except Exception:
            log_internal_error("read a stream")
            return Response()

    def _safe_timing(self, how: str, *, at_exit: bool = False) -> StreamTiming:
        try:
            return self._timing(how, at_exit=at_exit)
        except Exception:
            log_internal_error("time a stream")
            return StreamTiming(how, at_exit=at_exit)

    def _timing(self, how: str, *, at_exit: bool = False) -> StreamTiming:
        started, chunks = self._call.started, self._chunks
        if not chunks:
            return StreamTiming(how, at_exit=at_exit)
        token = self._token
        if self._new:
            self._settle()
        told, gaps = self._gaps, sorted(self._sample)
        return StreamTiming(
            stream_outcome=how,
            chunks=chunks,
            first_chunk=self._first - started,
            first_token=token - started if token else None,
            generation_time=self._last - token if token else 0.0,
            gaps=told,
            gap_mean=(self._last - self._first) / (chunks - 1) if gaps else None,
            gap_p95=gaps[min(len(gaps) - 1, int(len(gaps) * 0.95))] if gaps else None,
            gap_max=None if told is None else told.maximum,
            stalls=sum(gap > 10 * median(gaps) for gap in self._long) if self._long and gaps else 0,
            at_exit=at_exit,
        )

    def __del__(self) -> None:
        if not getattr(self, "finished", True):  # absent where a fault has interrupted ``__init__``
            notify(worker.submit, partial(self.on_drop, "dropped"))


def _refused(error: BaseException) -> bool:
    """Whether a generator only sent a reader away, because another thread or task was reading it just then."""
    frames = error.__traceback__
    return isinstance(error, (ValueError, RuntimeError)) and frames is not None and frames.tb_next is None


def notify(step: Callable[..., object], *args: Any) -> None:
    """Have a recorder take a ``step`` at the end of a stream. Never raises: what the caller gets is the SDK's own."""
    try:
        step(*args)
    except Exception:
        log_internal_error("end a stream")


class ObservedIterator:
    """Stands in for the iterator inside a vendor's stream object."""

    __slots__ = ("_hide", "_inner", "_next", "_recorder")

    def __init__(self, inner: Iterator[Any], recorder: StreamObserver) -> None:
        self._inner = inner
        self._next = inner.__next__
        self._recorder = recorder
        self._hide = recorder.hides_usage_chunk

    def __iter__(self) -> ObservedIterator:
        return self

    def __next__(self) -> Any:
        while True:
            try:
                chunk = self._next()
            except StopIteration:
                notify(self._recorder.on_exhausted)
                raise
            except BaseException as error:
                notify(self._recorder.on_error, error)
                raise
            try:
                self._recorder.on_chunk(chunk)
                if self._hide and self._recorder.strip_injected_usage(chunk):
                    continue
            except Exception:
                log_internal_error("read a chunk")
            return chunk

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # absent where a fault has interrupted ``__init__``
            raise AttributeError(name)
        return getattr(self._inner, name)


class AsyncObservedIterator:
    """As ``Chunks``, for an asynchronous stream."""

    __slots__ = ("_hide", "_inner", "_recorder")

    def __init__(self, inner: AsyncIterator[Any], recorder: StreamObserver) -> None:
        self._inner = inner
        self._recorder = recorder
        self._hide = recorder.hides_usage_chunk

    def __aiter__(self) -> AsyncObservedIterator:
        return self

    async def __anext__(self) -> Any:
        while True:
            try:
                chunk = await self._inner.__anext__()
            except StopAsyncIteration:
                notify(self._recorder.on_exhausted)
                raise
            except BaseException as error:
                notify(self._recorder.on_error, error)
                raise
            try:
                self._recorder.on_chunk(chunk)
                if self._hide and self._recorder.strip_injected_usage(chunk):
                    continue
            except Exception:
                log_internal_error("read a chunk")
            return chunk

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # absent where a fault has interrupted ``__init__``
            raise AttributeError(name)
        return getattr(self._inner, name)


class ObservedHelperIterator:
    """Stands in for the iterator of an SDK's helper, which may fail on chunks that its stream has handed on."""

    __slots__ = ("_inner", "_next", "_recorder")

    def __init__(self, inner: Iterator[Any], recorder: StreamObserver) -> None:
        self._inner = inner
        self._next = inner.__next__
        self._recorder = recorder

    def __iter__(self) -> ObservedHelperIterator:
        return self

    def __next__(self) -> Any:
        try:
            return self._next()
        except StopIteration:
            raise
        except Exception as error:
            notify(self._recorder.on_error, error)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class AsyncObservedHelperIterator:
    """As ``Helped``, for an asynchronous stream."""

    __slots__ = ("_inner", "_recorder")

    def __init__(self, inner: AsyncIterator[Any], recorder: StreamObserver) -> None:
        self._inner = inner
        self._recorder = recorder

    def __aiter__(self) -> AsyncObservedHelperIterator:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._inner.__anext__()
        except StopAsyncIteration:
            raise
        except Exception as error:
            notify(self._recorder.on_error, error)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
