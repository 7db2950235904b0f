"""Signals of OpenTelemetry: the names in which traces, metrics and logs differ over OTLP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

__all__ = ["LOGS", "METRICS", "SIGNALS", "TRACES", "Signal"]

_EXPORTERS = "opentelemetry.exporter.otlp.proto"


@dataclass(frozen=True, slots=True, eq=False)  # one instance of each, compared by identity
class Signal:
    """The names of one signal. Modules of OpenTelemetry are imported on first use."""

    name: str
    """Name in variables and paths: ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``, ``/v1/traces``."""
    unit: str
    """Plural name of the items."""
    proto: str
    encoder: str
    exporter: str
    groups: str
    scopes: str
    items: str
    rejected: str

    @property
    def request(self) -> Any:
        """The message class of a request."""
        return getattr(self._service(), f"Export{self.proto.capitalize()}ServiceRequest")

    @property
    def response(self) -> Any:
        """The message class of a response."""
        return getattr(self._service(), f"Export{self.proto.capitalize()}ServiceResponse")

    def _service(self) -> Any:
        return import_module(f"opentelemetry.proto.collector.{self.proto}.v1.{self.proto}_service_pb2")

    def exporter_class(self, protocol: str) -> Any:
        """Return OpenTelemetry's exporter class for ``http`` or ``grpc``."""
        module, name = self.exporter.split(":")
        return getattr(import_module(f"{_EXPORTERS}.{protocol}.{module}"), name)

    def encode(self, batch: Sequence[Any]) -> Any:
        """Return the request message for a batch of spans, log records, or metrics by resource."""
        return self.load_encoder()(self.exported(batch))

    def load_encoder(self) -> Any:
        """Return OpenTelemetry's function that encodes a batch.

        Raises:
            ImportError, AttributeError: This release of OpenTelemetry lacks it.
        """
        module, name = self.encoder.split(":")
        return getattr(import_module(f"{_EXPORTERS}.common.{module}"), name)

    def exported(self, batch: Sequence[Any]) -> Any:
        """Return the batch in the type that OpenTelemetry's exporters accept."""
        if self is not METRICS:
            return batch
        from opentelemetry.sdk.metrics.export import MetricsData

        return MetricsData(resource_metrics=batch)

    def count(self, batch: Sequence[Any]) -> int:
        """Return the number of items in a batch."""
        if self is not METRICS:
            return len(batch)
        metrics = (metric for group in batch for scope in group.scope_metrics for metric in scope.metrics)
        return sum(len(metric.data.data_points) for metric in metrics)

    def path(self, endpoint: str) -> str:
        """Return the URL of this signal below a base URL, from which an OTLP path at the end is removed."""
        base = endpoint.rstrip("/")
        for signal in SIGNALS:
            base = base.removesuffix(f"/v1/{signal.name}")
        return f"{base}/v1/{self.name}"

    def variables(self, option: str) -> tuple[str, str]:
        """Return the OTLP variable of this signal, and the variable for all signals, which it overrides."""
        return f"OTEL_EXPORTER_OTLP_{self.name.upper()}_{option}", f"OTEL_EXPORTER_OTLP_{option}"


TRACES = Signal(
    name="traces",
    unit="spans",
    proto="trace",
    encoder="trace_encoder:encode_spans",
    exporter="trace_exporter:OTLPSpanExporter",
    groups="resource_spans",
    scopes="scope_spans",
    items="spans",
    rejected="rejected_spans",
)
METRICS = Signal(
    name="metrics",
    unit="data points",
    proto="metrics",
    encoder="metrics_encoder:encode_metrics",
    exporter="metric_exporter:OTLPMetricExporter",
    groups="resource_metrics",
    scopes="scope_metrics",
    items="metrics",
    rejected="rejected_data_points",
)
LOGS = Signal(
    name="logs",
    unit="log records",
    proto="logs",
    encoder="_log_encoder:encode_logs",
    exporter="_log_exporter:OTLPLogExporter",
    groups="resource_logs",
    scopes="scope_logs",
    items="log_records",
    rejected="rejected_log_records",
)
SIGNALS = (TRACES, METRICS, LOGS)
