"""Requests: split by bytes, halved, and shed of content."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmtrace.export.otlp.encoder import OtlpEncoder
from llmtrace.export.otlp.payload import ENCODINGS, Payload, Unencodable
from llmtrace.export.signals import TRACES

from .backend import spans_of

FORM = OtlpEncoder(TRACES)
encode, halves = FORM.encode, FORM.split


def make_spans(*attributes: dict[str, Any], scopes: int = 1) -> list[ReadableSpan]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "test"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for number, each in enumerate(attributes):
        span = provider.get_tracer(f"scope {number % scopes}").start_span(str(number), attributes=each)
        span.end()
    return list(exporter.get_finished_spans())


def names(payload: Payload) -> list[str]:
    return [span.name for span in spans_of(ExportTraceServiceRequest.FromString(payload.raw()))]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_split_requests_fit_and_contain_every_span(encoding: str) -> None:
    """No request is larger than the limit, and no span is missing or there twice."""
    spans = make_spans(*({"text": "x" * (number * 50)} for number in range(40)))
    parts = list(encode(spans, 5000, encoding))
    assert all(isinstance(part, Payload) and len(part.raw()) <= 5000 for part in parts)
    assert [name for part in parts for name in names(part)] == [str(number) for number in range(40)]
    assert sum(part.items for part in parts) == 40


def test_unencodable_span_is_dropped_alone() -> None:
    """A name that is no text costs its own span and not its neighbours."""
    spans = make_spans({}, {}, {})
    spans[1]._name = "\ud800"
    parts = list(encode(spans, 1 << 20, "none"))
    assert [part.reason for part in parts if isinstance(part, Unencodable)] == ["unencodable"]
    assert [name for part in parts if isinstance(part, Payload) for name in names(part)] == ["0", "2"]


def test_halves_contain_the_same_spans() -> None:
    """Halving keeps every span, its scope and its resource, down to single spans."""
    (payload_of_all,) = encode(make_spans(*({} for _ in range(7)), scopes=3), 1 << 20, "gzip")
    waiting, single = [payload_of_all], []
    while waiting:
        payload = waiting.pop()
        if payload.items == 1:
            single.append(payload)
        else:
            waiting += halves(payload)
    scopes_of_spans = {}
    for payload in single:
        (group,) = ExportTraceServiceRequest.FromString(payload.raw()).resource_spans
        assert group.resource.attributes[0].value.string_value == "test"
        (scope,) = group.scope_spans
        scopes_of_spans[scope.spans[0].name] = scope.scope.name
    assert scopes_of_spans == {str(number): f"scope {number % 3}" for number in range(7)}


def test_content_is_dropped_before_other_attributes() -> None:
    """Content is taken away first, then what is longest, and short attributes never."""
    attributes = {"gen_ai.input.messages": "x" * 3000, "note": "y" * 3000, "longer note": "z" * 4000, "short": "kept"}
    (part,) = encode(make_spans(attributes), 4000, "none")
    assert isinstance(part, Payload)
    (span,) = spans_of(ExportTraceServiceRequest.FromString(part.raw()))
    keys = {pair.key for pair in span.attributes}
    assert keys == {"note", "short", "llmtrace.content.truncated", "llmtrace.content.original_size"}
    assert span.dropped_attributes_count == 2


def test_span_without_content_to_drop_is_too_large() -> None:
    """A span that stays too large without its least important attributes is reported as too large."""
    (part,) = encode(make_spans({f"k{number}": "x" * 100 for number in range(100)}), 2000, "none")
    assert isinstance(part, Unencodable)
    assert part.reason == "too_large"
    (small,) = encode(make_spans({}), 1 << 20, "none")
    assert isinstance(small, Payload)
    assert halves(small) == []
