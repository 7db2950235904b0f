"""Observation of a stream while it is read: its chunks, their times, and its outcome.

A stream ends when it is read to its end, fails or is closed. An abandoned stream ends when it is garbage-collected
(``StreamObserver.__del__``) or when the interpreter exits (``end_open_streams``).
"""

from __future__ import annotations

import weakref
from array import array
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from operator import sub
from statistics import median
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from .._errors import attempt, log_internal_error
from ..model import Response, StreamTiming
from ..model.chunk_gaps import ChunkGaps
from ..model.wire_format import Accumulator
from . import worker
from .call import CallState
from .failure import error_event
from .results import record_results
from .services import CallServices

if TYPE_CHECKING:
    from ..pricing.estimator import OutputText

_GAP_BLOCK = 128
"""Number of gaps counted at a time, and maximum size of the sample behind the percentiles."""
_STALL_SECONDS = 1.0

_open_observers: weakref.WeakSet[StreamObserver] = weakref.WeakSet()


def end_open_streams(deadline: float) -> int:
    """End the streams that are still open when the interpreter exits, until the monotonic time ``deadline``.

    Returns:
        The number of streams that are still open.
    """
    streams = [observer for observer in list(_open_observers) if not observer.finished]
    for ended, observer in enumerate(streams):
        if monotonic() > deadline:
            return len(streams) - ended
        observer.on_drop("dropped", at_exit=True)
    return 0


def has_open_streams(services: CallServices) -> bool:
    """Return True if a stream of this instrumentation is still being read."""
    return any(observer._call.services is services and not observer.finished for observer in list(_open_observers))


@dataclass(slots=True, eq=False, weakref_slot=True)
class StreamObserver:
    """Observer of one stream: it sees every chunk and ends the call exactly once.

    The objects through which the caller reads the stream hold the observer. The stream was dropped if the last of them
    is garbage-collected first.
    """

    _call: CallState
    _accumulator: Accumulator
    _add: Callable[[Any], bool | str] = field(init=False)
    _first_chunk_at: float = 0.0
    _first_token_at: float = 0.0
    _times: array[float] = field(default_factory=lambda: array("d"))
    """Times of the latest chunks, in seconds. The gaps before the first of them are counted."""
    _gap_count: int = 0
    _gaps: ChunkGaps | None = None
    _sample: array[float] = field(default_factory=lambda: array("d"))
    _sample_stride: int = 1
    _long_gaps: list[float] = field(default_factory=list)
    _output_text: OutputText | None = field(init=False)
    finished: bool = False

    def __post_init__(self) -> None:
        self._add = self._accumulator.add if self._call.start.wire_format.results is None else self._add_with_results
        self._output_text = self._call.make_text_buffer()
        if self._call.start.joined_span is not None:
            self._call.services.emitter.before_end(self._call.span, weakref.WeakMethod(self.on_joined_span_end))
        _open_observers.add(self)
        worker.start()

    def on_chunk(self, chunk: Any) -> None:
        """Record the arrival of a chunk and fold it into the response."""
        try:
            now = perf_counter()
            times = self._times
            times.append(now)
            if len(times) > _GAP_BLOCK:
                self._count_gaps()
            content = self._add(chunk)
            if content and not self._first_token_at:
                self._first_token_at = now
            output_text = self._output_text
            if output_text is not None:
                if type(content) is str:
                    output_text.parts.append(content)
                else:
                    output_text.add(chunk)
        except Exception:
            log_internal_error("read a chunk")

    def _add_with_results(self, chunk: Any) -> bool | str:
        content = self._accumulator.add(chunk)
        accumulator: Any = getattr(self._accumulator, "counts", self._accumulator)
        record_results(self._call, accumulator.take_results(), self._call.parent_context)
        return content

    @property
    def chunks(self) -> int:
        """Number of chunks seen so far."""
        return self._gap_count + len(self._times)

    def unwrap(self, data: Callable[[Any], Any]) -> None:
        """Read ``data(chunk)`` instead of each chunk from now on."""
        add = self._add
        self._add = lambda chunk: add(data(chunk))

    def add(self, event: Any) -> None:
        """Fold in an event that the caller does not receive as a chunk."""
        attempt("read a chunk", self._add, event)

    @property
    def hides_usage_chunk(self) -> bool:
        """True if the chunk that ``include_usage`` adds is hidden from the caller."""
        return self._call.injected_include_usage

    def strip_injected_usage(self, chunk: Any) -> bool:
        """Return True for the chunk that ``include_usage`` adds. Remove the ``usage`` field it adds to other chunks."""
        usage = getattr(chunk, "usage", None)
        if usage is None:
            # Remove it from the set fields: the server sends ``usage: null`` on the other chunks.
            fields = getattr(chunk, "__pydantic_fields_set__", None) or getattr(chunk, "__fields_set__", None)
            if isinstance(fields, set):
                fields.discard("usage")
        return bool(usage) and not getattr(chunk, "choices", True)

    def _count_gaps(self) -> None:
        """Count the latest gaps in buckets, and add some of them to the sample behind the percentiles."""
        times = self._times
        if self._gaps is None:
            self._gaps = ChunkGaps()
            self._first_chunk_at = times[0]
        ordered = sorted(map(sub, times[1:], times))
        del times[:-1]
        self._gap_count += len(ordered)
        self._gaps.add(ordered)
        self._long_gaps += ordered[bisect_right(ordered, _STALL_SECONDS) :]
        if self._output_text is not None:
            self._output_text.join()
        self._sample.extend(ordered[self._sample_stride // 2 :: self._sample_stride])
        if len(self._sample) > _GAP_BLOCK:
            # Halve the sample: percentiles stay representative, and memory stays bounded.
            self._sample = array("d", sorted(self._sample)[::2])
            self._sample_stride *= 2

    def on_exhausted(self) -> None:
        """End the stream, whose last byte was read. It is truncated if the end event of the format is missing."""
        response = self._result()
        self._finish(response, "failed" if response.failed else "exhausted" if response.complete else "truncated")

    def end_if_failed(self) -> None:
        """End the stream if its chunks report an error."""
        response = self._result()
        if response.failed:
            self._finish(response, "failed")

    def on_joined_span_end(self) -> None:
        """End the stream if its last counts were read: the span that the call has joined ends before its last byte."""
        if not self.finished and self._accumulator.ended:
            response = self._result()
            if response.usage:
                self._finish(response, "failed" if response.failed else "exhausted")

    def on_close(self) -> None:
        """End the stream because the caller closed it."""
        self.on_drop("closed")

    def on_drop(self, outcome: str, *, at_exit: bool = False) -> None:
        """End a stream that the caller stopped reading. It counts as exhausted if its end event was read."""
        if self.finished:
            return
        ended = attempt("read a stream", lambda: self._accumulator.ended)
        self._finish(self._result(), "exhausted" if ended else outcome, at_exit=at_exit)

    def on_collected(self) -> None:
        """End a stream that the caller dropped, on the worker: the thread of the collector may hold any lock."""
        notify(worker.submit, partial(self.on_drop, "dropped"))

    def on_error(self, error: BaseException) -> None:
        """End the stream with the exception that the caller receives, perhaps that of an iterator at its end."""
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            self.on_exhausted()
            return
        if _is_concurrent_read(error):
            return
        outcome = "failed" if isinstance(error, Exception) else "cancelled"
        if not self.finished:
            self.finished = True
            if (event := attempt("read a chunk", error_event, error)) is not None:
                self.add(event)
            self._call.fail(error, self._safe_timing(outcome), self._result())

    def _finish(self, response: Response, outcome: str, *, at_exit: bool = False) -> None:
        if not self.finished:
            self.finished = True
            self._call.end(response, timing=self._safe_timing(outcome, at_exit))

    def _result(self) -> Response:
        return attempt("read a stream", self._accumulator.result) or Response()

    def _safe_timing(self, outcome: str, at_exit: bool = False) -> StreamTiming:
        return attempt("time a stream", self._timing, outcome, at_exit) or StreamTiming(outcome, at_exit=at_exit)

    def _timing(self, outcome: str, at_exit: bool) -> StreamTiming:
        started, chunks = self._call.started, self.chunks
        if not chunks:
            return StreamTiming(outcome, at_exit=at_exit)
        self._count_gaps()
        first, token, last = self._first_chunk_at, self._first_token_at, self._times[-1]
        gaps, sample = self._gaps if chunks > 1 else None, sorted(self._sample)
        return StreamTiming(
            stream_outcome=outcome,
            chunks=chunks,
            first_chunk=first - started,
            first_token=token - started if token else None,
            generation_time=last - token if token else 0.0,
            gaps=gaps,
            gap_mean=(last - first) / (chunks - 1) if sample else None,
            gap_p95=sample[min(len(sample) - 1, int(len(sample) * 0.95))] if sample else None,
            gap_max=None if gaps is None else gaps.maximum,
            stalls=sum(gap > 10 * median(sample) for gap in self._long_gaps),
            at_exit=at_exit,
        )

    def __del__(self) -> None:
        if not getattr(self, "finished", True):  # absent if ``__init__`` failed
            self.on_collected()


def _is_concurrent_read(error: BaseException) -> bool:
    """Return True if a generator rejected a read because another thread or task is reading it."""
    frames = error.__traceback__
    return isinstance(error, (ValueError, RuntimeError)) and frames is not None and frames.tb_next is None


def notify(step: Callable[..., object], *args: Any) -> None:
    """Run a ``step`` that ends a stream. Never raise: the caller receives only the SDK's own exceptions."""
    attempt("end a stream", step, *args)


class _Observed:
    """Replacement of an iterator in an SDK's object, with all its attributes."""

    __slots__ = ("_inner", "_observer")

    def __init__(self, inner: Any, observer: StreamObserver) -> None:
        self._inner = inner
        self._observer = observer

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # absent if ``__init__`` failed
            raise AttributeError(name)
        return getattr(self._inner, name)


class ObservedIterator(_Observed):
    """Replacement of the iterator inside a vendor's stream object, which passes each chunk to an observer."""

    __slots__ = ("_hide", "_next")

    def __init__(self, inner: Iterator[Any], observer: StreamObserver) -> None:
        super().__init__(inner, observer)
        self._next = inner.__next__
        self._hide = observer.hides_usage_chunk

    def __iter__(self) -> ObservedIterator:
        return self

    def __next__(self) -> Any:
        while True:
            try:
                chunk = self._next()
            except BaseException as error:
                notify(self._observer.on_error, error)
                raise
            try:
                self._observer.on_chunk(chunk)
                if self._hide and self._observer.strip_injected_usage(chunk):
                    continue
            except Exception:
                log_internal_error("read a chunk")
            return chunk


class AsyncObservedIterator(_Observed):
    """Asynchronous counterpart of ``ObservedIterator``."""

    __slots__ = ("_hide",)

    def __init__(self, inner: AsyncIterator[Any], observer: StreamObserver) -> None:
        super().__init__(inner, observer)
        self._hide = observer.hides_usage_chunk

    def __aiter__(self) -> AsyncObservedIterator:
        return self

    async def __anext__(self) -> Any:
        while True:
            try:
                chunk = await self._inner.__anext__()
            except BaseException as error:
                notify(self._observer.on_error, error)
                raise
            try:
                self._observer.on_chunk(chunk)
                if self._hide and self._observer.strip_injected_usage(chunk):
                    continue
            except Exception:
                log_internal_error("read a chunk")
            return chunk


class ObservedHelperIterator(_Observed):
    """Replacement of the iterator of an SDK's stream helper, which may fail on chunks that its stream returned."""

    __slots__ = ()

    def __iter__(self) -> ObservedHelperIterator:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._inner)
        except StopIteration:
            raise
        except Exception as error:
            notify(self._observer.on_error, error)
            raise


class AsyncObservedHelperIterator(_Observed):
    """Asynchronous counterpart of ``ObservedHelperIterator``."""

    __slots__ = ()

    def __aiter__(self) -> AsyncObservedHelperIterator:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._inner.__anext__()
        except StopAsyncIteration:
            raise
        except Exception as error:
            notify(self._observer.on_error, error)
            raise
