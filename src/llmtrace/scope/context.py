"""The one home of what is kept in the OpenTelemetry context."""

from __future__ import annotations

from typing import Any

from opentelemetry import context as otel
from opentelemetry.context import Context
from opentelemetry.trace.propagation import _SPAN_KEY

from ..facts import Scope

__all__ = ["attach", "current", "current_call", "detach", "outer_inference", "scope_of", "suppressed", "with_call"]

_CALL = otel.create_key("llmtrace-call")
_SCOPE = otel.create_key("llmtrace-scope")
_NOTHING = Scope()
_INFERENCE = "opentelemetry.genai.client.inference.context"
_SUPPRESS = (
    "suppress_instrumentation",
    otel._SUPPRESS_INSTRUMENTATION_KEY,
    "suppress_language_model_instrumentation",
)

current = otel.get_current
attach = otel.attach


def suppressed(context: Context) -> bool:
    """Whether the application, or an outer instrumentation, wants no span for this call."""
    return bool(context) and any(context.get(key) for key in _SUPPRESS)


def outer_inference(context: Context) -> bool:
    """Whether another instrumentation has opened the inference span of this call."""
    return bool(context) and context.get(_INFERENCE) is not None


def scope_of(context: Context) -> Scope:
    """What the blocks around a call say of it."""
    found = context.get(_SCOPE)
    return found if isinstance(found, Scope) else _NOTHING


def with_scope(context: Context, scope: Scope) -> Context:
    return otel.set_value(_SCOPE, scope, context)


def with_call(context: Context, call: Any, span: Any) -> Context:
    """The context in which the SDK works on ``call``; spans it makes are children of ``span``."""
    return Context({**context, _CALL: call, _SPAN_KEY: span})


def current_call() -> Any:
    """The call whose request an SDK is working on in this thread or task, or ``None``."""
    return otel.get_current().get(_CALL)


def detach(token: Any, inner: Context, outer: Context, error: BaseException | None) -> None:
    """Make ``outer`` current again, which ``inner`` had taken the place of."""
    if not isinstance(error, GeneratorExit):
        otel.detach(token)
    elif otel.get_current() is inner:
        # A coroutine closed half-way may run here in another context than it was entered in,
        # where the token is refused.
        otel.attach(outer)
