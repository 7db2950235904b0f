"""Fixtures of the tests of frameworks."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from agent_server import AgentServer, provider_and_exporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from conformance.checks import check_span
from llmtrace.budgets import budget
from llmtrace.integrations.registry import INTEGRATIONS
from serving import serving


@pytest.fixture(scope="session")
def _agent_server() -> Iterator[AgentServer]:
    with serving(AgentServer()) as server:
        yield server


@pytest.fixture
def agent_server(_agent_server: AgentServer, monkeypatch: pytest.MonkeyPatch) -> AgentServer:
    """The loopback model, at the address of the environment."""
    _agent_server.requests.clear()
    _agent_server.status = 200
    _agent_server.resumed.set()
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", _agent_server.url)
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    return _agent_server


@pytest.fixture(autouse=True)
def no_open_runs() -> Iterator[None]:
    """Fail if a bridge holds a run that has ended."""
    yield
    bridges = [sys.modules.get(f"llmtrace.integrations.{each.name}") for each in INTEGRATIONS]
    assert [bridge.__name__ for bridge in bridges if bridge is not None and len(getattr(bridge, "_runs", ()))] == []


@pytest.fixture(autouse=True)
def no_budgets() -> Iterator[None]:
    """Forget the budgets of a test."""
    yield
    budget.forget()


@pytest.fixture
def content_spans() -> Iterator[InMemorySpanExporter]:
    """Yield the exporter of an instrumentation that records content."""
    provider, exporter = provider_and_exporter()
    with llmtrace.instrument(tracer_provider=provider, strict=True, capture_content=True):
        yield exporter
    assert [finding for span in exporter.get_finished_spans() for finding in check_span(span)] == []
