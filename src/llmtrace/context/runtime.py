"""Storage for llmtrace's own context keys where the runtime context drops them, as Datadog's does."""

from __future__ import annotations

from collections.abc import Collection
from contextvars import ContextVar, Token
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace.propagation import get_current_span

from .._compat.opentelemetry_context import ContextRuntime
from .._errors import log_internal_error

_PROBE_KEY = "llmtrace-probe"
_NO_VALUES: dict[str, object] = {}


def with_own_keys(runtime: ContextRuntime, keys: Collection[str]) -> ContextRuntime:
    """Return ``runtime``, or a ``PrivateContext`` over it if it drops keys that it does not know."""
    try:
        token = runtime.attach(Context({**runtime.get_current(), _PROBE_KEY: True}))
        kept = _PROBE_KEY in runtime.get_current()
        runtime.detach(token)
    except Exception:
        log_internal_error("try the context of OpenTelemetry")
        return runtime
    return runtime if kept else PrivateContext(runtime, keys)


class PrivateContext:
    """ContextRuntime context that keeps llmtrace's keys in a variable of its own and delegates the rest."""

    def __init__(self, runtime: ContextRuntime, keys: Collection[str]) -> None:
        self._runtime = runtime
        self._keys = keys
        self._own_values: ContextVar[dict[str, object]] = ContextVar("llmtrace-own-keys", default=_NO_VALUES)

    def get_current(self) -> Context:
        """Return the current context of the delegate, with llmtrace's values added."""
        return Context({**self._runtime.get_current(), **self._own_values.get()})

    def attach(self, context: Context) -> tuple[Any, Context, Token[dict[str, object]]]:
        """Make ``context`` current in the delegate and in the own variable. Return a token for ``detach``."""
        previous = self._runtime.get_current()
        delegate_token = self._runtime.attach(context)
        values = {key: context[key] for key in self._keys if key in context}
        return delegate_token, previous, self._own_values.set(values)

    def detach(self, token: tuple[Any, Context, Token[dict[str, object]]]) -> None:
        """Restore the context that was current before ``attach`` returned ``token``."""
        delegate_token, previous, own_token = token
        self._runtime.detach(delegate_token)
        # Attach the previous context again: Datadog's runtime keeps a span current until it ends.
        if _span_context(self._runtime.get_current()) != _span_context(previous):
            self._runtime.attach(previous)
        self._own_values.reset(own_token)


def _span_context(context: Context) -> Any:
    return get_current_span(context).get_span_context()
