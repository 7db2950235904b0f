"""An operation that has ended keeps little alive until an exporter reads its span."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from opentelemetry import context as otel
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

import llmtrace
from llmtrace.telemetry.operations import OperationSpans


class _Keep(SpanProcessor):
    """Keeps spans without reading their attributes."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class _Value:
    """An object that can be weakly referenced."""


@pytest.fixture
def kept() -> Any:
    """Yield the spans of an instrumentation without content."""
    keep, provider = _Keep(), TracerProvider()
    provider.add_span_processor(keep)
    with llmtrace.instrument(tracer_provider=provider, strict=True):
        yield keep.spans


def test_attributes_are_built_when_they_are_read(kept: list[ReadableSpan], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is described before the span is read, and then once."""
    described = []
    original = OperationSpans._describe
    monkeypatch.setattr(OperationSpans, "_describe", lambda *args: described.append(1) or original(*args))
    with llmtrace.tag(feature="trip"), llmtrace.retrieval("atlas", query="Paris?", top_k=2) as search:
        search.add([("d1", 0.5)])
    assert described == []
    attributes = dict(kept[0].attributes or {})
    assert (attributes["gen_ai.data_source.id"], attributes["gen_ai.retrieval.top_k"]) == ("atlas", 2)
    assert attributes["llmtrace.retrieval.document_ids"] == ("d1",)
    assert (attributes["llmtrace.feature"], attributes["llmtrace.outcome"]) == ("trip", "ok")
    assert dict(kept[0].attributes or {}) == attributes and described == [1]


def test_span_that_waits_keeps_no_content(kept: list[ReadableSpan]) -> None:
    """Arguments, results and the metadata of documents are freed at once, without the garbage collector."""
    values = [_Value() for _ in range(4)]
    references = [weakref.ref(value) for value in values]
    key = otel.create_key("value")
    token = otel.attach(otel.set_value(key, values[3]))
    gc.collect()
    gc.disable()
    try:
        with llmtrace.tool("weather", arguments={"value": values[0]}) as run:
            run.result(values[1])
        with llmtrace.retrieval("atlas") as search:
            search.add([{"id": "d1", "content": "Rain.", "metadata": {"value": values[2]}}])
        otel.detach(token)
        del values, token, run, search
        assert [reference() for reference in references] == [None] * 4
    finally:
        gc.enable()
    assert len(kept) == 2
