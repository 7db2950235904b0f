"""Fixtures of the scope's tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from scope_vendor import Everything, Vendor

from llmtrace.scope import values


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    server = Vendor()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def said_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test hears the warnings that are given once."""
    monkeypatch.setattr(values, "_said", set())


@pytest.fixture
def open_spans(spans: InMemorySpanExporter) -> InMemorySpanExporter:
    """As ``spans``, with content let through."""
    from llmtrace import _api

    made = _api._current
    assert made is not None
    made._tracing.emitter.content = made._scope_spans._content = Everything()  # type: ignore[attr-defined]
    return spans
