"""Frameworks that open spans of their own: the calls join these, and each token is counted once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from agent_server import INPUT, OUTPUT, AgentServer, check_money, provider_and_exporter, tree
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

pytestmark = pytest.mark.usefixtures("agent_server")
AGENT_TREE = ["execute_tool weather", "  retrieval"]


@pytest.fixture
def telemetry() -> Iterator[tuple[TracerProvider, InMemorySpanExporter]]:
    """The provider of the application, which the framework uses too, and its exporter."""
    provider, exporter = provider_and_exporter()
    with llmtrace.instrument(tracer_provider=provider, strict=True):
        yield provider, exporter


async def weather(city: str) -> str:
    """Return the weather of a city."""
    with llmtrace.retrieval("atlas") as search:
        search.add([("d1", 0.5)])
    return f"sunny in {city}"


def document_ids(spans: Any, name: str) -> list[Any]:
    named = sorted((span for span in spans if span.name.startswith(name)), key=lambda span: span.start_time)
    return [span.attributes.get("llmtrace.retrieval.document_ids") for span in named]


@pytest.mark.parametrize("streamed", [False, True])
async def test_calls_join_the_spans_of_pydantic_ai(telemetry: Any, streamed: bool) -> None:
    """With Pydantic AI's instrumentation on, its chat spans get cost and tags, and there are no others."""
    pydantic_ai = pytest.importorskip("pydantic_ai")
    models = pytest.importorskip("pydantic_ai.models.openai")
    instrumented = pytest.importorskip("pydantic_ai.models.instrumented")
    provider, exporter = telemetry
    agent = pydantic_ai.Agent(models.OpenAIChatModel("gpt-4o-mini"), name="meteo", tools=[weather])
    agent.instrument = instrumented.InstrumentationSettings(tracer_provider=provider)
    with llmtrace.tag(feature="trip"), llmtrace.workflow("ask"):
        if streamed:
            async with agent.run_stream("weather?") as response:
                async for _ in response.stream_text():
                    pass
        else:
            await agent.run("weather?")
    llmtrace.flush()
    spans = exporter.get_finished_spans()
    chat = "    chat gpt-4o-mini"
    tool = [f"    {line}" for line in AGENT_TREE]
    assert tree(spans) == ["invoke_workflow ask", "  invoke_agent meteo", chat, *tool, chat]
    check_money(spans, calls=2)
    chats = [dict(span.attributes or {}) for span in spans if span.name.startswith("chat")]
    assert {each["llmtrace.feature"] for each in chats} == {"trip"}
    assert document_ids(spans, "chat") == [None, ("d1",)]


async def test_calls_join_the_spans_of_google_adk(
    telemetry: Any, agent_server: AgentServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ADK's spans hold the usage, and each call has its cost once, also when it is streamed."""
    agents = pytest.importorskip("google.adk.agents")
    runners = pytest.importorskip("google.adk.runners")
    modes = pytest.importorskip("google.adk.agents.run_config")
    types = pytest.importorskip("google.genai.types")
    provider, exporter = telemetry
    # ADK's modules import its tracer from one another: set it before the first run, once.
    monkeypatch.setattr("google.adk.telemetry.tracing.tracer", provider.get_tracer("gcp.vertex.agent"))
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", agent_server.url.removesuffix("/v1"))
    agent = agents.LlmAgent(name="meteo", model="gemini-2.5-flash", tools=[weather])
    runner = runners.InMemoryRunner(agent, app_name="app")
    message = types.Content(role="user", parts=[types.Part(text="weather?")])
    for mode in (modes.StreamingMode.NONE, modes.StreamingMode.SSE):
        session = await runner.session_service.create_session(app_name="app", user_id="u")
        exporter.clear()
        with llmtrace.collect() as calls, llmtrace.workflow("ask"):
            config = modes.RunConfig(streaming_mode=mode)
            async for _ in runner.run_async(user_id="u", session_id=session.id, new_message=message, run_config=config):
                pass
        llmtrace.flush()
        spans = exporter.get_finished_spans()
        assert "      execute_tool weather" in tree(spans)
        check_money(spans, calls=2, cost=INPUT * 3e-7 + OUTPUT * 25e-7)
        assert [call.document_ids for call in calls] == [(), ("d1",)]
