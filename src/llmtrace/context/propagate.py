"""Propagation of the current span and tags to thread pools, callbacks and other processes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context
from opentelemetry.trace.propagation import get_current_span

from ..model import CallContext
from . import state
from .blocks import Activation, Decorated, async_steps, current, pause, resume, select_by_kind, steps
from .documents import begin_path, end_path

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")


def wrap(function: F, /) -> F:
    """Return ``function`` bound to the span and tags that are current now, for calls from another thread or process.

    The result can be pickled if ``function`` can. Another process gets the parent span, tags, prompt and document ids,
    without document content and prompt variables.

    Args:
        function: A function, a coroutine function, or a generator function of either kind.

    Returns:
        A wrapper with the name and signature of ``function``.
    """
    wrapper: Any = _BoundFunction(function, current())
    return wrapper  # type: ignore[no-any-return] # looks like the function


class ContextExecutor(ThreadPoolExecutor):
    """``ThreadPoolExecutor`` whose functions run with the span and tags that were current at ``submit``."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Submit ``fn`` with the current span and tags.

        Args:
            fn: The function to run in a thread of the pool.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The future of the result, as ``ThreadPoolExecutor.submit`` returns it.

        Raises:
            RuntimeError: The executor has been shut down.
        """
        return super().submit(_plain, fn, current(), args, kwargs)


def _plain(function: Callable[..., R], inside: Context | None, args: Any, kwargs: Any) -> R:
    resumed = resume(inside)
    token = begin_path()
    try:
        return function(*args, **kwargs)
    finally:
        end_path(token)
        pause(resumed, inside)


async def _coroutine(
    function: Callable[..., Coroutine[Any, Any, R]], inside: Context | None, args: Any, kwargs: Any
) -> R:
    resumed = resume(inside)
    try:
        return await function(*args, **kwargs)
    finally:
        pause(resumed, inside)


class _BoundFunction(Decorated):
    """A function and the context it runs in."""

    def __init__(self, function: Callable[..., Any], inside: Context | None) -> None:
        run: Any = select_by_kind(
            function,
            _plain,
            _coroutine,
            lambda function, inside, args, kwargs: steps(function(*args, **kwargs), inside),
            lambda function, inside, args, kwargs: async_steps(function(*args, **kwargs), inside),
        )
        super().__init__(function, lambda wrapped, instance, args, kwargs: run(wrapped, inside, args, kwargs))
        self._self_inside = inside

    def __reduce__(self) -> Any:
        return _bind_in_process, (self.__wrapped__, *_portable_context(self._self_inside or Context()))


def _portable_context(inside: Context) -> tuple[CallContext, tuple[int, int, int, dict[str, str]]]:
    """Return the parts of a context that can be pickled: the call context and the ids of the current span.

    Collectors, document content and prompt variables are dropped: they may hold objects that cannot be pickled.
    """
    call_context = state.call_context_of(inside)
    prompt = call_context.prompt
    call_context = replace(
        call_context,
        collectors=(),
        documents=tuple(replace(document, content=None, metadata={}) for document in call_context.documents),
        metadata=dict(call_context.metadata),
        prompt=None if prompt is None else replace(prompt, variables=None),
    )
    ids = get_current_span(inside).get_span_context()
    return call_context, (ids.trace_id, ids.span_id, int(ids.trace_flags), dict(ids.trace_state))


def _bind_in_process(
    function: Callable[..., Any], call_context: CallContext, ids: tuple[int, int, int, dict[str, str]]
) -> Any:
    """Return ``function`` bound to a context that another process sent."""
    outer = Context()
    if ids[0]:
        trace_id, span_id, flags, trace_state = ids
        parent = SpanContext(trace_id, span_id, True, TraceFlags(flags), TraceState(list(trace_state.items())))
        outer = set_span_in_context(NonRecordingSpan(parent), outer)
    return _BoundFunction(function, Activation.with_call_context(call_context, outer).context)
