"""Fixtures of the context tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_vendor import Vendor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from serving import serving


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with serving(Vendor()) as server:
        yield server
        server.go_on.set()


@pytest.fixture
def open_spans() -> Iterator[InMemorySpanExporter]:
    """Yield an exporter like ``spans``, with content recorded and one word redacted."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = {"capture_content": True, "redact": lambda text: text.replace("secret", "****")}
    with llmtrace.instrument(tracer_provider=provider, bridges="none", strict=True, **settings):
        yield exporter
    provider.shutdown()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of prompts that is in force."""
    place = tmp_path / "repository" / "prompts"
    place.mkdir(parents=True)
    monkeypatch.setenv("LLMTRACE_PROMPTS", str(place))
    return place
