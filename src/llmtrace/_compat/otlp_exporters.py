"""Settings that OpenTelemetry's OTLP exporters have read from the environment, and the gRPC client of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import warn_missing

# The modules have the underscore of ``opentelemetry._logs``. A release without one of them exports no logs.
LOG_ENCODER, LOG_EXPORTER = "_log_encoder:encode_logs", "_log_exporter:OTLPLogExporter"
"""Module and name of the function that encodes log records, and of their exporter."""

_PREFERENCES = {"temporality": "_preferred_temporality", "aggregation": "_preferred_aggregation"}


def grpc_settings(exporter: Any) -> tuple[str, tuple[tuple[str, str], ...], float]:
    """Return the endpoint, the headers and the seconds for one request of a gRPC exporter.

    Raises:
        AttributeError: This release of the exporter has other internals. Spans go to the local store then.
    """
    grpc_stub(exporter)
    return exporter._endpoint, tuple(exporter._headers), float(exporter._timeout)


def grpc_stub(exporter: Any) -> Callable[..., Any]:
    """Return the function that sends a request over the channel of a gRPC exporter.

    Raises:
        AttributeError: This release of the exporter has other internals.
    """
    stub: Callable[..., Any] = exporter._client.Export
    return stub


def metric_preference(exporter: Any, name: str) -> Any:
    """Return the preferred ``temporality`` or ``aggregation`` of a metric exporter, ``None`` for the SDK's default."""
    attribute = _PREFERENCES[name]
    if not hasattr(exporter, attribute):
        warn_missing("OpenTelemetry", f"{type(exporter).__name__}.{attribute}", "metrics have the SDK's default")
    return getattr(exporter, attribute, None)
