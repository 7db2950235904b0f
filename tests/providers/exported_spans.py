"""Exporter that both an SDK with spans of its own and llmtrace write to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace


class Exported:
    """Exporter of the SDK and llmtrace."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(resource=Resource.get_empty())
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def take(self) -> tuple[list[ReadableSpan], list[ReadableSpan]]:
        """Return our spans and the SDK's, since the last time."""
        assert llmtrace.flush()
        found = self._exporter.get_finished_spans()
        self._exporter.clear()
        ours = [span for span in found if span.instrumentation_scope.name.startswith("llmtrace")]
        return ours, [span for span in found if span not in ours]


@pytest.fixture
def exported() -> Iterator[Exported]:
    made = Exported()
    yield made
    llmtrace.uninstrument()
    made.provider.shutdown()
