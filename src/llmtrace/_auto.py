"""Entry point of ``opentelemetry-instrument`` and the Kubernetes operator, which need no change of code."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


class LlmtraceInstrumentor:
    """Instrumentor with the interface of OpenTelemetry's ``BaseInstrumentor``, without its distribution."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return no dependencies: each client library is hooked when it is imported."""
        return ()

    def instrument(self, **kwargs: Any) -> None:
        """Instrument with the tracer provider that OpenTelemetry passes. Other options are ignored.

        Args:
            kwargs: Options of ``BaseInstrumentor``. Only ``tracer_provider`` is used.
        """
        import llmtrace

        llmtrace.instrument(tracer_provider=kwargs.get("tracer_provider"))

    def uninstrument(self, **kwargs: Any) -> None:
        """Remove the instrumentation. Options are ignored."""
        import llmtrace

        llmtrace.uninstrument()
