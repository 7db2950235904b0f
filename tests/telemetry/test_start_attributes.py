"""Start attributes are set only if a sampler or a span processor may read them."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import SpanProcessor, Tracer, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer, ProxyTracer

from llmtrace.telemetry.start_attributes import StartAttributes


class ReadingProcessor(SpanProcessor):
    """Processor that reads the attributes of a starting span."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.seen = dict(span.attributes)


class ReadingSampler(sampling.Sampler):
    """Sampler that may read the attributes of a starting span."""

    def should_sample(self, *args: Any, **kwargs: Any) -> sampling.SamplingResult:
        return sampling.SamplingResult(sampling.Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "reads"


def make_tracer(*processors: Any, sampler: Any = None) -> Any:
    provider = TracerProvider(sampler=sampler)
    for processor in processors:
        provider.add_span_processor(processor)
    return provider.get_tracer("test")


class Hashless:
    """Tracer without a hash, such as a dataclass."""

    __hash__ = None  # type: ignore[assignment]


class TracerSubclass(Tracer):
    """Tracer class of an application."""


def patched_processor() -> Any:
    """Return a processor whose method was replaced on the instance."""
    processor = SpanProcessor()
    processor.on_start = lambda span, parent_context=None: None  # type: ignore[method-assign]
    return processor


@pytest.mark.parametrize(
    ("make", "needed"),
    [
        (make_tracer, False),
        (lambda: make_tracer(SimpleSpanProcessor(InMemorySpanExporter()), SpanProcessor()), False),
        (lambda: make_tracer(BatchSpanProcessor(InMemorySpanExporter())), False),
        (lambda: make_tracer(sampler=sampling.TraceIdRatioBased(0.5)), False),
        (lambda: make_tracer(sampler=sampling.ParentBasedTraceIdRatio(0.5)), False),
        (lambda: make_tracer(sampler=sampling.ALWAYS_OFF), False),
        (lambda: make_tracer(SpanProcessor(), ReadingProcessor()), True),
        (lambda: make_tracer(patched_processor()), True),
        (lambda: make_tracer(sampler=ReadingSampler()), True),
        (lambda: make_tracer(sampler=sampling.ParentBased(ReadingSampler())), True),
        (
            lambda: make_tracer(
                sampler=sampling.ParentBased(sampling.ALWAYS_ON, local_parent_sampled=ReadingSampler())
            ),
            True,
        ),
        (NoOpTracer, True),
        (lambda: ProxyTracer("x"), True),
        (object, True),
        (Hashless, True),
    ],
)
def test_start_attributes_are_skipped_without_readers(make: Any, needed: bool) -> None:
    """Samplers and exporters of the SDK do not read them; all others may."""
    start_attributes, tracer = StartAttributes(), make()
    assert start_attributes.needed_by(tracer) is needed
    assert start_attributes.needed_by(tracer) is needed


def test_start_attributes_are_needed_by_a_tracer_subclass() -> None:
    """A subclass of the SDK's tracer may read the attributes."""
    tracer = make_tracer()
    tracer.__class__ = TracerSubclass
    assert StartAttributes().needed_by(tracer)


def test_start_attributes_are_needed_by_a_processor_added_later() -> None:
    """The next span after the addition has start attributes."""
    provider = TracerProvider()
    tracer, start_attributes = provider.get_tracer("test"), StartAttributes()
    assert not start_attributes.needed_by(tracer)
    provider.add_span_processor(ReadingProcessor())
    assert start_attributes.needed_by(tracer)
