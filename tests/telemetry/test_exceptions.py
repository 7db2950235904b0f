"""Exceptions of failed calls: events of their spans, and log records where there is a logger provider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from local_vendor import LocalVendor
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from serving import serving

EXCEPTION = {"exception.type": "openai.RateLimitError"}


@pytest.fixture
def refusing() -> Iterator[LocalVendor]:
    with serving(LocalVendor()) as vendor:
        vendor.status, vendor.answer = 429, {"error": {"message": "the secret", "code": "slow_down"}}
        yield vendor


def fail(vendor: LocalVendor, *, with_logs: bool = True, **settings: Any) -> tuple[ReadableSpan, list[Any]]:
    """Make a call that fails, and return its span and the log records of the exception."""
    exporter, records = InMemorySpanExporter(), InMemoryLogRecordExporter()
    tracers, loggers = TracerProvider(), LoggerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
    providers: dict[str, Any] = {"tracer_provider": tracers, "logger_provider": loggers if with_logs else None}
    with (
        llmtrace.instrument(**providers, strict=True, **settings),
        openai.OpenAI(base_url=vendor.url, api_key="k", max_retries=0) as client,
        pytest.raises(openai.RateLimitError),
    ):
        client.chat.completions.create(model="m", messages=[])
    (span,) = exporter.get_finished_spans()
    loggers.shutdown()
    logs = [item.log_record for item in records.get_finished_logs()]
    return span, [record for record in logs if record.event_name != "gen_ai.client.inference.operation.details"]


def events_of(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    return [(event.name, dict(event.attributes or {})) for event in span.events]


def test_exception_is_an_event_and_a_log_record_of_the_span(refusing: LocalVendor) -> None:
    """Both have the class of the exception only; the record is a warning in the context of the span."""
    span, (record,) = fail(refusing)
    assert events_of(span) == [("exception", EXCEPTION)]
    assert (record.event_name, dict(record.attributes)) == ("gen_ai.client.operation.exception", EXCEPTION)
    assert record.severity_number is SeverityNumber.WARN
    assert (record.trace_id, record.span_id) == (span.context.trace_id, span.context.span_id)
    assert span.status.description == "RateLimitError"


@pytest.mark.parametrize("mode", ["span_only", "event_only", "span_and_event"])
def test_exception_with_content_has_message_and_stack_trace(refusing: LocalVendor, mode: str) -> None:
    """Message and stack trace are recorded, and redacted, only where content is: on the span, in the logs or both."""
    span, (record,) = fail(refusing, capture_content=mode, redact=lambda text: text.replace("secret", "****"))
    ((_, on_span),) = events_of(span)
    for event, with_content in ((on_span, "span" in mode), (dict(record.attributes), "event" in mode)):
        if with_content:
            assert "the ****" in event["exception.message"]
            assert "RateLimitError" in event["exception.stacktrace"]
        else:
            assert event == EXCEPTION
    assert "secret" not in f"{on_span} {record.attributes} {span.status.description}"


@pytest.mark.parametrize(
    ("value", "with_logs", "events"), [("logs", True, 0), ("logs/dup", True, 1), ("logs", False, 1)]
)
def test_exception_moves_to_the_logs_where_opted_in(
    refusing: LocalVendor, monkeypatch: pytest.MonkeyPatch, value: str, with_logs: bool, events: int
) -> None:
    """``logs`` leaves the event off the span, but only if there is a logger to take it."""
    monkeypatch.setenv("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", value)
    span, records = fail(refusing, with_logs=with_logs)
    assert (len(span.events), len(records)) == (events, int(with_logs))
    assert not span.status.is_ok
    assert (span.attributes or {})["error.type"] == "429"
