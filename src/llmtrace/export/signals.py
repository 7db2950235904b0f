"""Signals of OpenTelemetry: the names in which traces, metrics and logs differ over OTLP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .._compat.otlp_exporters import LOG_ENCODER, LOG_EXPORTER

_EXPORTERS = "opentelemetry.exporter.otlp.proto"


@dataclass(frozen=True, slots=True, eq=False)  # one instance of each, compared by identity
class Signal:
    """The names of one signal. Modules of OpenTelemetry are imported on first use."""

    name: str
    """Name in variables and paths: ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``, ``/v1/traces``."""
    unit: str
    """Plural name of the items."""
    proto: str
    """Name of the package and the service in OpenTelemetry's protobuf modules."""
    encoder: str
    """Module and name of the function that encodes a batch."""
    exporter: str
    """Module and name of the exporter class."""
    items: str
    """Name of the field with the items, in the messages of a scope."""

    @property
    def groups(self) -> str:
        """Name of the field of a request with one message for each resource."""
        return f"resource_{self._plural}"

    @property
    def scopes(self) -> str:
        """Name of the field of such a message with one message for each scope."""
        return f"scope_{self._plural}"

    @property
    def _plural(self) -> str:
        return "spans" if self is TRACES else self.name

    @property
    def rejected(self) -> str:
        """Name of the field of a response with the number of rejected items."""
        return f"rejected_{self.unit.replace(' ', '_')}"

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


TRACES = Signal("traces", "spans", "trace", "trace_encoder:encode_spans", "trace_exporter:OTLPSpanExporter", "spans")
METRICS = Signal(
    "metrics", "data points", "metrics", "metrics_encoder:encode_metrics", "metric_exporter:OTLPMetricExporter",
    "metrics",
)  # fmt: skip
LOGS = Signal("logs", "log records", "logs", LOG_ENCODER, LOG_EXPORTER, "log_records")
SIGNALS = (TRACES, METRICS, LOGS)
