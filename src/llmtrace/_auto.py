"""What ``opentelemetry-instrument`` and the Kubernetes operator load: instrumentation without a change of code."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

__all__ = ["LlmtraceInstrumentor"]


class LlmtraceInstrumentor:
    """Has the shape of OpenTelemetry's ``BaseInstrumentor``, which is in a distribution that we do not need."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: clients are hooked when they are imported, whichever there are."""
        return ()

    def instrument(self, **kwargs: Any) -> None:
        """Instrument with what is given of OpenTelemetry's providers; the rest of its options is not for us."""
        import llmtrace

        llmtrace.instrument(tracer_provider=kwargs.get("tracer_provider"))

    def uninstrument(self, **kwargs: Any) -> None:
        import llmtrace

        llmtrace.uninstrument()
