"""Every recorded exchange, with content and metrics recorded, against the GenAI conventions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google_recordings import IGNORED_WARNINGS, all_of_google
from google_recordings import call_sync as call_google
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from recordings import Cassette, all_of_both, call_sync, request_of

import llmtrace
from conformance.checks import check_metrics, check_span

pytestmark = [pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning"), *IGNORED_WARNINGS]

KNOWN = {
    "request_model": "gen_ai.request.model",
    "model": "gen_ai.response.model",
    "response_id": "gen_ai.response.id",
}
COUNTS = {"input_tokens": "gen_ai.usage.input_tokens", "output_tokens": "gen_ai.usage.output_tokens"}
Signals = tuple[InMemorySpanExporter, InMemoryMetricReader]


@pytest.fixture
def signals() -> Iterator[Signals]:
    """Return the exporter of spans and the reader of metrics of an instrumentation with content on."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    with llmtrace.instrument(tracer_provider=tracers, meter_provider=meters, strict=True, capture_content=True):
        yield exporter, reader
    tracers.shutdown()
    meters.shutdown()


def known_attributes(cassette: Cassette, span: ReadableSpan) -> list[str]:
    """Return the names of the attributes whose values the recording states."""
    expected, counts = cassette["expected"], cassette["expected"]["normalised"] or {}
    operation = (span.attributes or {}).get("gen_ai.operation.name")
    known = ["server.address", *(name for field, name in KNOWN.items() if expected[field])]
    if operation in ("chat", "generate_content", "text_completion"):
        known += [name for field, name in COUNTS.items() if counts.get(field) is not None]
        if any(reason not in (None, "", "queued", "in_progress") for reason in expected["finish_reasons"] or ()):
            known.append("gen_ai.response.finish_reasons")
    elif operation == "embeddings" and counts.get("input_tokens") is not None:
        known.append(COUNTS["input_tokens"])
    return known


def check(cassette: Cassette, signals: Signals) -> None:
    llmtrace.flush()
    exporter, reader = signals
    (span,) = exporter.get_finished_spans()
    assert check_span(span, expected=known_attributes(cassette, span)) == []
    data = reader.get_metrics_data()
    assert data is not None
    assert check_metrics(data) == []


@pytest.mark.cassettes(choose=all_of_both)
def test_recorded_exchange_follows_the_conventions(cassette: Cassette, replay: Any, signals: Signals) -> None:
    """Span, content and metrics have no finding but the intended deviations, and nothing known is missing."""
    call_sync(request_of(cassette, replay.url), raw=False)
    check(cassette, signals)


@pytest.mark.cassettes(choose=all_of_google)
def test_recorded_google_exchange_follows_the_conventions(cassette: Cassette, replay: Any, signals: Signals) -> None:
    """Span, content and metrics have no finding but the intended deviations, and nothing known is missing."""
    call_google(cassette, replay.url)
    check(cassette, signals)
