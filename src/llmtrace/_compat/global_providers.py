"""The global providers of OpenTelemetry that the application has set."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from . import warn_missing

_GLOBALS = {
    "traces": ("opentelemetry.trace", "_TRACER_PROVIDER", "opentelemetry.trace", "get_tracer_provider"),
    "metrics": ("opentelemetry.metrics._internal", "_METER_PROVIDER", "opentelemetry.metrics", "get_meter_provider"),
    "logs": ("opentelemetry._logs._internal", "_LOGGER_PROVIDER", "opentelemetry._logs", "get_logger_provider"),
}
"""Module and name by signal. The public getter is a fallback: it might set a provider."""
_MISSING = object()


def provider_finder(signal: str) -> Callable[[], Any]:
    """Return a function that returns the global provider of ``traces``, ``metrics`` or ``logs``, ``None`` if unset."""
    home, name, *_ = _GLOBALS[signal]

    def find() -> Any:
        provider = getattr(sys.modules.get(home), name, _MISSING)
        return _from_getter(signal) if provider is _MISSING else provider

    return find


def _from_getter(signal: str) -> Any:
    home, name, module, getter = _GLOBALS[signal]
    if module in sys.modules:
        warn_missing("OpenTelemetry", f"{home}.{name}", f"{getter}() is used instead")
        with suppress(Exception):  # it may need the missing name itself
            return getattr(sys.modules[module], getter)()
    return None
