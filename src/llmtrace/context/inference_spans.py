"""Inference spans of other instrumentation: each represents the first call made under it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, get_current_span

from .._compat.opentelemetry_context import SPAN_KEY
from .._errors import log_internal_error
from ..model import Request

_UTIL_GENAI = "opentelemetry.genai.client.inference.context"
"""The context key by which OpenTelemetry's own GenAI instrumentation announces its span."""
_OWN_TRACER = "llmtrace"
"""First part of the names of llmtrace's tracers."""
_FAMILIES = {
    "chat": "generation",
    "generate_content": "generation",
    "text_completion": "generation",
    "embeddings": "embeddings",
}
_OPENINFERENCE_FAMILIES = {"LLM": "generation", "EMBEDDING": "embeddings"}

_adopted: WeakKeyDictionary[Any, object] = WeakKeyDictionary()


def adopt(context: Context, request: Request) -> Any:
    """Return the current span of another instrumentation if it represents ``request``, which is made now.

    A span represents one call. Later calls under the same span get ``None``, and so a span of their own below it.
    A span that is not recorded is returned every time, because its owner has decided that no span is wanted.
    """
    if not context:
        return None
    try:
        return _adopt(context, request)
    except Exception:  # the span may be of any class
        log_internal_error("read the parent span of a call")
        return None


def _adopt(context: Context, request: Request) -> Any:
    span: Any = context.get(SPAN_KEY)
    if context.get(_UTIL_GENAI) is not None:
        span = get_current_span(context)
        if not span.is_recording():
            return span
    elif span is None or not _represents(span, request):
        return None
    mark = object()
    # One dictionary operation, so that of two threads only one adopts the span.
    return span if _adopted.setdefault(span, mark) is mark else None


def release(span: Any) -> None:
    """Let the next call under ``span`` adopt it, because this one was refused and used nothing."""
    _adopted.pop(span, None)


def _represents(span: Any, request: Request) -> bool:
    family = _FAMILIES.get(request.operation)
    if family is None:
        return False
    tracer = getattr(getattr(span, "instrumentation_scope", None), "name", None) or ""
    if tracer.partition(".")[0] == _OWN_TRACER or not span.is_recording():
        return False
    attributes: Mapping[str, Any] = getattr(span, "attributes", None) or {}
    named: str | None = attributes.get("gen_ai.operation.name") or _operation_in_name(span, request.model)
    if named is not None:
        return _FAMILIES.get(named) == family
    return _OPENINFERENCE_FAMILIES.get(attributes.get("openinference.span.kind", "")) == family


def _operation_in_name(span: Any, model: str | None) -> str | None:
    """Return the operation in the conventional name of a client's span, for packages that set attributes late."""
    if getattr(span, "kind", None) is not SpanKind.CLIENT:
        return None
    operation, _, rest = str(getattr(span, "name", "")).partition(" ")
    return operation if model and rest == model else None
