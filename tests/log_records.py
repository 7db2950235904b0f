"""The SDK's exporter of log records into a list, whose name has changed."""

from __future__ import annotations

try:
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
except ImportError:  # OpenTelemetry before 1.39
    from opentelemetry.sdk._logs.export import (  # type: ignore[attr-defined,no-redef]
        InMemoryLogExporter as InMemoryLogRecordExporter,
    )

__all__ = ["InMemoryLogRecordExporter"]
