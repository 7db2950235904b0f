"""A runtime context that keeps what is ours beside one that keeps spans and baggage alone, as Datadog's does."""

from __future__ import annotations

from collections.abc import Collection
from contextvars import ContextVar, Token
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace.propagation import get_current_span

from .._compat.opentelemetry_context import Runtime
from .._errors import log_internal_error

__all__ = ["PrivateContext", "with_own_keys"]

_PROBE = "llmtrace-probe"
_NOTHING: dict[str, object] = {}


def with_own_keys(runtime: Runtime, keys: Collection[str]) -> Runtime:
    """``runtime``, or where it loses what is in a context under ``keys``, one that does not."""
    try:
        token = runtime.attach(Context({**runtime.get_current(), _PROBE: True}))
        kept = _PROBE in runtime.get_current()
        runtime.detach(token)
    except Exception:
        log_internal_error("try the context of OpenTelemetry")
        return runtime
    return runtime if kept else PrivateContext(runtime, keys)


class PrivateContext:
    """As OpenTelemetry's runtime context, for this library alone."""

    def __init__(self, runtime: Runtime, keys: Collection[str]) -> None:
        self._runtime = runtime
        self._keys = keys
        self._ours: ContextVar[dict[str, object]] = ContextVar("llmtrace-beside", default=_NOTHING)

    def get_current(self) -> Context:
        return Context({**self._runtime.get_current(), **self._ours.get()})

    def attach(self, context: Context) -> tuple[Any, Context, Token[dict[str, object]]]:
        before = self._runtime.get_current()
        theirs = self._runtime.attach(context)
        return theirs, before, self._ours.set({key: context[key] for key in self._keys if key in context})

    def detach(self, token: tuple[Any, Context, Token[dict[str, object]]]) -> None:
        theirs, before, ours = token
        self._runtime.detach(theirs)
        if _span(self._runtime.get_current()) != _span(before):  # Datadog's leaves the span current until it ends
            self._runtime.attach(before)
        self._ours.reset(ours)


def _span(context: Context) -> Any:
    return get_current_span(context).get_span_context()
