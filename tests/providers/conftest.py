"""Fixtures of the tests that make calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from exported_spans import exported  # noqa: F401 (a fixture)
from loopback import Loopback, json_answer
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from conformance.checks import check_span
from serving import serving


@pytest.fixture(scope="session")
def _loopback() -> Iterator[Loopback]:
    with serving(Loopback()) as server:
        yield server


@pytest.fixture
def loopback(_loopback: Loopback) -> Loopback:
    """The loopback server, which responds with ``{}`` by default."""
    _loopback.will(json_answer({}))
    return _loopback


@pytest.fixture
def content_spans() -> Iterator[InMemorySpanExporter]:
    """Finished spans of calls that record content without a size limit."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.get_empty())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    llmtrace.instrument(tracer_provider=provider, strict=True, capture_content=True, content_max_bytes=10_000_000)
    yield exporter
    llmtrace.uninstrument()
    provider.shutdown()
    findings = [finding for span in exporter.get_finished_spans() for finding in check_span(span)]
    assert findings == []
