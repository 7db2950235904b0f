"""Early import of the OpenTelemetry SDK, which reads ``OTEL_*`` variables on import and raises on invalid values."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

from .._settings.opentelemetry import usable_environment

__all__: list[str] = []

with usable_environment():
    import_module("opentelemetry.sdk.trace")
    import_module("opentelemetry.sdk.metrics")
    with suppress(ImportError):  # a private module
        import_module("opentelemetry.sdk._logs")
