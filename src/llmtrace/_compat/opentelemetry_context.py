"""Private parts of OpenTelemetry's context, with public fallbacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from opentelemetry import baggage, context
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, set_span_in_context

from . import warn_missing


class ContextRuntime(Protocol):
    """Interface of OpenTelemetry's storage of the current context."""

    def get_current(self) -> Context:
        """Return the current context."""

    def attach(self, context: Context) -> Any:
        """Make a context current. Return the token that restores the previous one."""

    def detach(self, token: Any) -> None:
        """Restore the context that was current before ``attach`` returned ``token``."""


def _only_key(written: Mapping[str, object], name: str) -> str:
    """Return the key under which an OpenTelemetry function stored its value."""
    for key in written:
        return key
    warn_missing("OpenTelemetry", name, "spans and baggage of this process may not be connected")
    return name


def _find_runtime() -> ContextRuntime:
    runtime: ContextRuntime | None = getattr(context, "_RUNTIME_CONTEXT", None)
    if all(callable(getattr(runtime, name, None)) for name in ("get_current", "attach", "detach")):
        assert runtime is not None
        return runtime
    warn_missing("OpenTelemetry", "context._RUNTIME_CONTEXT", "llmtrace uses the public functions instead")
    return context  # its functions log an invalid token instead of raising


def _find_suppress_key() -> str:
    key = getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", None)
    if isinstance(key, str):
        return key
    warn_missing(
        "OpenTelemetry", "context._SUPPRESS_INSTRUMENTATION_KEY", "llmtrace reads 'suppress_instrumentation' alone"
    )
    return "suppress_instrumentation"


SPAN_KEY = _only_key(set_span_in_context(INVALID_SPAN, Context()), "current-span")
BAGGAGE_KEY = _only_key(baggage.set_baggage("llmtrace-probe", "", Context()), "baggage-key")
SUPPRESS_KEY = _find_suppress_key()
RUNTIME = _find_runtime()
