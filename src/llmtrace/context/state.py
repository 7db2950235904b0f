"""The one home of what is kept in the OpenTelemetry context."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel
from opentelemetry.context import Context

from .._compat.opentelemetry_context import RUNTIME, SPAN_KEY, SUPPRESS_KEY, Runtime
from ..model import CallContext, Document
from . import baggage
from . import documents as shelf
from .runtime import with_own_keys

if TYPE_CHECKING:
    from .blocks import Activation

__all__ = [
    "activation_of",
    "attach",
    "call_context_of",
    "current",
    "current_call",
    "detach",
    "documents_for",
    "leave_activation",
    "restore",
    "suppressed",
    "suppressing",
    "trace_of",
    "with_activation",
    "with_call",
]

_CALL = otel.create_key("llmtrace-call")
_FRAME = otel.create_key("llmtrace-frame")
_NOTHING = CallContext()
_SUPPRESS = ("suppress_instrumentation", SUPPRESS_KEY, "suppress_language_model_instrumentation")

_KEYS = (_CALL, _FRAME, *_SUPPRESS)
_runtime: Runtime = with_own_keys(RUNTIME, _KEYS)
current = _runtime.get_current
attach = _runtime.attach


def suppressed(context: Context) -> bool:
    """Whether the application, or an outer instrumentation, wants no span for this call."""
    return bool(context) and any(context.get(key) for key in _SUPPRESS)


def suppressing(context: Context) -> Context:
    """``context``, in which no call is traced."""
    return Context({**context, SUPPRESS_KEY: True})


def activation_of(context: Context) -> Activation | None:
    """The innermost block around."""
    return context.get(_FRAME)  # type: ignore[return-value] # nobody else has the key


def trace_of(context: Context) -> int:
    """The trace that is current in ``context``; 0 where there is none."""
    span: Any = context.get(SPAN_KEY)
    return 0 if span is None else int(span.get_span_context().trace_id)


def call_context_of(context: Context) -> CallContext:
    """What the blocks around a call say of it."""
    if not context:  # no block, no span, no baggage
        return _NOTHING
    frame = activation_of(context)
    scope = _NOTHING if frame is None else frame.scope
    if baggage.keys:
        scope = baggage.read(scope, context)
    documents = documents_for(frame, context)
    return replace(scope, documents=documents) if documents else scope


def documents_for(frame: Activation | None, context: Context) -> tuple[Document, ...]:
    """The documents that a call made now in ``context`` was given."""
    if frame is None:
        return shelf.documents_in_trace(trace_of(context)) if shelf.has_traces() else ()
    found = frame.shelf
    return () if found.empty else found.documents_for(shelf.current_path(), trace_of(context))


def with_activation(context: Context, frame: Activation) -> Context:
    return Context({**context, _FRAME: frame})


def with_call(context: Context, call: Any, span: Any) -> Context:
    """The context in which the SDK works on ``call``; spans it makes are children of ``span``.

    What blocks have put into baggage is not in it: it must not travel to a vendor.
    """
    inner = {**context, _CALL: call, SPAN_KEY: span}
    return Context(baggage.without(inner) if baggage.keys else inner)


def current_call() -> Any:
    """The call whose request an SDK is working on in this thread or task, or ``None``."""
    return current().get(_CALL)


def detach(token: Any, inner: Context, outer: Context, error: BaseException | None) -> None:
    """Make ``outer`` current again, which ``inner`` had taken the place of."""
    if not isinstance(error, GeneratorExit):
        restore(token, outer)
    elif current() is inner:
        # A coroutine closed half-way may run here in another context than it was entered in,
        # where the token is refused.
        attach(outer)


def leave_activation(token: Any, frame: Activation) -> None:
    """Make the context around ``frame`` current again, if ``frame`` is the innermost block here.

    It may not be: a block around a ``yield`` ends whenever its generator is resumed, closed or collected, perhaps below
    a block of the caller's, perhaps in another task. Then nothing of the caller's is touched, and the block above
    skips the overtaken one when it leaves.
    """
    if activation_of(current()) is not frame:
        frame.overtaken = True
        return
    outer = frame.outer
    below = activation_of(outer)
    if below is not None and below.overtaken:
        while below is not None and below.overtaken:
            outer = below.outer
            below = activation_of(outer)
        attach(outer)
        return
    restore(token, outer)


def restore(token: Any, outer: Context) -> None:
    """Detach, also where the token is refused: it may belong to another task, or have been used."""
    try:
        _runtime.detach(token)
    except (ValueError, RuntimeError):
        attach(outer)
