"""Who may see the attributes that a span starts with sees them; where nobody looks, they come with the rest."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import SpanProcessor, Tracer, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer, ProxyTracer

from llmtrace.telemetry.start_attributes import StartAttributes


class Looks(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.seen = dict(span.attributes)


class Reads(sampling.Sampler):
    def should_sample(self, *args: Any, **kwargs: Any) -> sampling.SamplingResult:
        return sampling.SamplingResult(sampling.Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "reads"


def tracer(*processors: Any, sampler: Any = None) -> Any:
    provider = TracerProvider(sampler=sampler)
    for each in processors:
        provider.add_span_processor(each)
    return provider.get_tracer("test")


class Hashless:
    """Some tracers are dataclasses."""

    __hash__ = None  # type: ignore[assignment]


class Mine(Tracer):
    """An application's own."""


def by_hand() -> Any:
    """A processor whose method was put there later."""
    processor = SpanProcessor()
    processor.on_start = lambda span, parent_context=None: None  # type: ignore[method-assign]
    return processor


@pytest.mark.parametrize(
    ("made", "seen"),
    [
        (tracer, False),
        (lambda: tracer(SimpleSpanProcessor(InMemorySpanExporter()), SpanProcessor()), False),
        (lambda: tracer(BatchSpanProcessor(InMemorySpanExporter())), False),
        (lambda: tracer(sampler=sampling.TraceIdRatioBased(0.5)), False),
        (lambda: tracer(sampler=sampling.ParentBasedTraceIdRatio(0.5)), False),
        (lambda: tracer(sampler=sampling.ALWAYS_OFF), False),
        (lambda: tracer(SpanProcessor(), Looks()), True),
        (lambda: tracer(by_hand()), True),
        (lambda: tracer(sampler=Reads()), True),
        (lambda: tracer(sampler=sampling.ParentBased(Reads())), True),
        (lambda: tracer(sampler=sampling.ParentBased(sampling.ALWAYS_ON, local_parent_sampled=Reads())), True),
        (NoOpTracer, True),
        (lambda: ProxyTracer("x"), True),
        (object, True),
        (Hashless, True),
    ],
)
def test_who_looks(made: Any, seen: bool) -> None:
    """The SDK's own samplers and exporters do not; of all others nobody knows."""
    onlookers, found = StartAttributes(), made()
    assert onlookers.needed_by(found) is seen
    assert onlookers.needed_by(found) is seen


def test_a_subclass_of_the_tracer_may_look() -> None:
    """What it does with the attributes is its own affair."""
    found = tracer()
    found.__class__ = Mine
    assert StartAttributes().needed_by(found)


def test_a_processor_that_is_added_later_is_told() -> None:
    """The next span shows it what it starts with."""
    provider = TracerProvider()
    found, onlookers = provider.get_tracer("test"), StartAttributes()
    assert not onlookers.needed_by(found)
    provider.add_span_processor(Looks())
    assert onlookers.needed_by(found)
