"""Carries the current span and tags to where Python does not: thread pools, callbacks, other processes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context
from opentelemetry.trace.propagation import get_current_span

from .._errors import log_internal_error
from ..model import CallContext
from . import documents
from . import state as context
from .blocks import Activation, Decorated, async_steps, current, pause, resume, select_by_kind, steps

__all__ = ["ContextExecutor", "wrap"]

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")


def wrap(function: F, /) -> F:
    """``function``, to be called anywhere, as if it were called here: with the span and tags that are current now.

    Takes functions, coroutine functions and generator functions of both kinds. The result can be sent to another
    process when ``function`` can.
    """
    made: Any = _Carried(function, current())
    return made  # type: ignore[no-any-return] # looks like the function


class ContextExecutor(ThreadPoolExecutor):
    """A ``ThreadPoolExecutor`` whose work runs with the span and tags of the line that submitted it."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """As ``ThreadPoolExecutor.submit``."""
        return super().submit(_plain, fn, current(), args, kwargs)


def _plain(function: Callable[..., R], inside: Context | None, args: Any, kwargs: Any) -> R:
    resumed = resume(inside)
    mark = _begin_flow()
    try:
        return function(*args, **kwargs)
    finally:
        _end_flow(mark)
        pause(resumed, inside)


def _begin_flow() -> Any:
    try:
        return documents.begin_path()
    except Exception:
        log_internal_error("begin a strand of work")
        return None


def _end_flow(mark: Any) -> None:
    try:
        if mark is not None:
            documents.end_path(mark)
    except Exception:
        log_internal_error("end a strand of work")


async def _coroutine(
    function: Callable[..., Coroutine[Any, Any, R]], inside: Context | None, args: Any, kwargs: Any
) -> R:
    resumed = resume(inside)
    try:
        return await function(*args, **kwargs)
    finally:
        pause(resumed, inside)


def _generator(function: Any, inside: Context | None, args: Any, kwargs: Any) -> Generator[Any, Any, Any]:
    return steps(function(*args, **kwargs), inside)


def _async_generator(function: Any, inside: Context | None, args: Any, kwargs: Any) -> AsyncGenerator[Any, Any]:
    return async_steps(function(*args, **kwargs), inside)


class _Carried(Decorated):
    """A function and the context it runs in."""

    def __init__(self, function: Callable[..., Any], inside: Context | None) -> None:
        run: Any = select_by_kind(function, _plain, _coroutine, _generator, _async_generator)
        super().__init__(function, lambda wrapped, instance, args, kwargs: run(wrapped, inside, args, kwargs))
        self._self_inside = inside

    def __reduce__(self) -> Any:
        return _run_in_process, (self.__wrapped__, *_portable_context(self._self_inside or Context()))


def _portable_context(inside: Context) -> tuple[CallContext, tuple[int, int, int, dict[str, str]]]:
    """What can go to another process: no span, no collector, nothing of the program's own that may not be picklable."""
    scope = context.call_context_of(inside)
    prompt = scope.prompt
    scope = replace(
        scope,
        collectors=(),
        documents=tuple(replace(document, content=None, metadata={}) for document in scope.documents),
        metadata=dict(scope.metadata),
        prompt=None if prompt is None else replace(prompt, variables=None),
    )
    ids = get_current_span(inside).get_span_context()
    return scope, (ids.trace_id, ids.span_id, int(ids.trace_flags), dict(ids.trace_state))


def _run_in_process(function: Callable[..., Any], scope: CallContext, ids: tuple[int, int, int, dict[str, str]]) -> Any:
    outer = Context()
    if ids[0]:
        trace_id, span_id, flags, state = ids
        parent = SpanContext(trace_id, span_id, True, TraceFlags(flags), TraceState(list(state.items())))
        outer = set_span_in_context(NonRecordingSpan(parent), outer)
    return _Carried(function, Activation.with_scope(scope, outer).context)
