"""What the three signals of OpenTelemetry have in common over OTLP, and the names in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

__all__ = ["LOGS", "METRICS", "SIGNALS", "TRACES", "Signal"]

_EXPORTERS = "opentelemetry.exporter.otlp.proto"


@dataclass(frozen=True, slots=True, eq=False)  # one of each: looked up at every call
class Signal:
    """One row: everything else about a signal is the same code. Nothing is imported before it is asked for."""

    name: str
    """As in the variables and in the path: ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``, ``/v1/traces``."""
    unit: str
    """What is counted, in the plural."""
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
        """The message class of an answer."""
        return getattr(self._service(), f"Export{self.proto.capitalize()}ServiceResponse")

    def _service(self) -> Any:
        return import_module(f"opentelemetry.proto.collector.{self.proto}.v1.{self.proto}_service_pb2")

    def exporter_class(self, protocol: str) -> Any:
        """OpenTelemetry's own exporter over ``http`` or ``grpc``."""
        module, name = self.exporter.split(":")
        return getattr(import_module(f"{_EXPORTERS}.{protocol}.{module}"), name)

    def encode(self, batch: Sequence[Any]) -> Any:
        """The request that holds a batch: of spans, of log records, or of metrics by resource."""
        return self.load_encoder()(self.exported(batch))

    def load_encoder(self) -> Any:
        """OpenTelemetry's function that makes a request of a batch.

        Raises:
            ImportError, AttributeError: This release has none.
        """
        module, name = self.encoder.split(":")
        return getattr(import_module(f"{_EXPORTERS}.common.{module}"), name)

    def exported(self, batch: Sequence[Any]) -> Any:
        """The batch as exporters of OpenTelemetry take it."""
        if self is not METRICS:
            return batch
        from opentelemetry.sdk.metrics.export import MetricsData

        return MetricsData(resource_metrics=batch)

    def count(self, batch: Sequence[Any]) -> int:
        """How many of ``unit`` there are in a batch."""
        if self is not METRICS:
            return len(batch)
        metrics = (metric for group in batch for scope in group.scope_metrics for metric in scope.metrics)
        return sum(len(metric.data.data_points) for metric in metrics)

    def path(self, endpoint: str) -> str:
        """The address of this signal below one for all signals; one that ends in a path of OTLP is taken without."""
        base = endpoint.rstrip("/")
        for signal in SIGNALS:
            base = base.removesuffix(f"/v1/{signal.name}")
        return f"{base}/v1/{self.name}"

    def variables(self, what: str) -> tuple[str, str]:
        """The variable of this signal for an exporter, and the one for all signals, which it beats."""
        return f"OTEL_EXPORTER_OTLP_{self.name.upper()}_{what}", f"OTEL_EXPORTER_OTLP_{what}"


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
