"""OpenTelemetry's SDK, imported before anything else needs it: it reads variables then, and raises at wrong ones."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

from .._settings.opentelemetry import usable_environment

__all__: list[str] = []

with usable_environment():
    import_module("opentelemetry.sdk.trace")
    import_module("opentelemetry.sdk.metrics")
    with suppress(ImportError):  # its name is not public
        import_module("opentelemetry.sdk._logs")
