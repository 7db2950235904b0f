"""llmtrace's entries in the OpenTelemetry context; no other module reads or writes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel
from opentelemetry.context import Context

from .._compat.opentelemetry_context import RUNTIME, SPAN_KEY, SUPPRESS_KEY, ContextRuntime
from ..model import CallContext, Document
from . import baggage
from .documents import current_path, documents_in_trace, has_traces
from .runtime import with_own_keys

if TYPE_CHECKING:
    from .blocks import Activation

_CALL_KEY = otel.create_key("llmtrace-call")
_ACTIVATION_KEY = otel.create_key("llmtrace-activation")
_EMPTY_CALL_CONTEXT = CallContext()
_SUPPRESS_KEYS = ("suppress_instrumentation", SUPPRESS_KEY, "suppress_language_model_instrumentation")

_KEYS = (_CALL_KEY, _ACTIVATION_KEY, *_SUPPRESS_KEYS)
_runtime: ContextRuntime = with_own_keys(RUNTIME, _KEYS)
current: Callable[[], Context] = _runtime.get_current
attach: Callable[[Context], Any] = _runtime.attach


def suppressed(context: Context) -> bool:
    """Return true if the application or another instrumentation suppresses instrumentation in ``context``.

    Suppressed calls get a non-recording span. Budgets, ``collect()`` and ``llmtrace.*`` metrics still count them.
    """
    if context:  # runs with every call: a loop is faster than ``any``
        for key in _SUPPRESS_KEYS:
            if context.get(key):
                return True
    return False


def suppressing(context: Context) -> Context:
    """Return a copy of ``context`` in which no call is traced."""
    return Context({**context, SUPPRESS_KEY: True})


def activation_of(context: Context) -> Activation | None:
    """Return the activation of the innermost block that is open in ``context``."""
    return context.get(_ACTIVATION_KEY)  # type: ignore[return-value] # only ``with_activation`` writes this key


def trace_of(context: Context) -> int:
    """Return the id of the trace that is current in ``context``, or 0 without a span."""
    span: Any = context.get(SPAN_KEY)
    return 0 if span is None else int(span.get_span_context().trace_id)


def call_context_of(context: Context) -> CallContext:
    """Return tags, prompt, documents, agent and collectors for a call made in ``context``."""
    if not context:  # no block, no span, no baggage
        return _EMPTY_CALL_CONTEXT
    activation = activation_of(context)
    call_context = _EMPTY_CALL_CONTEXT if activation is None else activation.call_context
    if baggage.keys:
        call_context = baggage.read(call_context, context)
    documents = documents_for(activation, context)
    return replace(call_context, documents=documents) if documents else call_context


def documents_for(activation: Activation | None, context: Context) -> tuple[Document, ...]:
    """Return the retrieved documents that a call made now in ``context`` can have received."""
    if activation is None:
        return documents_in_trace(trace_of(context)) if has_traces() else ()
    documents = activation.documents
    if not documents.retrieved and not documents.inherited:
        return ()
    return documents.documents_for(current_path(), trace_of(context))


def with_activation(context: Context, activation: Activation) -> Context:
    """Return a copy of ``context`` with ``activation`` as its innermost block."""
    return Context({**context, _ACTIVATION_KEY: activation})


def with_span(context: Context, span: Any) -> Context:
    """Return a copy of ``context`` in which ``span`` is current."""
    return Context({**context, SPAN_KEY: span})


def with_call(context: Context, call: Any, span: Any) -> Context:
    """Return the context in which the SDK sends the request of ``call``; spans created in it are children of ``span``.

    Entries that blocks have put into baggage are removed: they must not reach a vendor.
    """
    inner = {**context, _CALL_KEY: call, SPAN_KEY: span}
    return Context(baggage.without(inner) if baggage.keys else inner)


def current_call() -> Any:
    """Return the call whose request an SDK is sending in this thread or task, or ``None``."""
    return current().get(_CALL_KEY)


def detach(token: Any, inner: Context, outer: Context, error: BaseException | None) -> None:
    """Make ``outer`` current again in place of ``inner``, which ``error`` has ended, if it is not ``None``."""
    if not isinstance(error, GeneratorExit):
        restore(token, outer)
    elif current() is inner:
        # Attach ``outer`` instead of using the token: a coroutine closed half-way may run in another
        # ``contextvars`` context than it was entered in, which refuses the token.
        attach(outer)


def leave_activation(token: Any, activation: Activation) -> None:
    """Make the outer context of ``activation`` current again, if ``activation`` is the innermost block here.

    It may not be the innermost one. A block with a ``yield`` inside ends when its generator is resumed, closed or
    collected. That may happen inside a block of the caller, or in another task. Then the caller's context is left
    unchanged, and the caller's block skips the ended one when it leaves.
    """
    if activation_of(current()) is not activation:
        activation.ended_out_of_order = True
        return
    outer = activation.outer
    below = activation_of(outer)
    if below is not None and below.ended_out_of_order:
        while below is not None and below.ended_out_of_order:
            outer = below.outer
            below = activation_of(outer)
        attach(outer)
        return
    restore(token, outer)


def restore(token: Any, outer: Context) -> None:
    """Detach ``token``, or attach ``outer`` where the token is refused: it was used or belongs to another task."""
    try:
        _runtime.detach(token)
    except (ValueError, RuntimeError):
        attach(outer)
