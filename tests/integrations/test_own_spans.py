"""Frameworks that open spans of their own: the calls join these, and each token is counted once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from agent_server import INPUT, OUTPUT, AgentServer, check_money, provider_and_exporter, tree
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

pytestmark = [
    pytest.mark.usefixtures("agent_server"),
    pytest.mark.filterwarnings("ignore:.*PROGRESSIVE_SSE_STREAMING"),  # of ADK before 2.13
]
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


class Adk:
    """An agent of Google ADK, with the exporter of its spans."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        agents: Any = pytest.importorskip("google.adk.agents")
        runners: Any = pytest.importorskip("google.adk.runners")
        self.exporter = exporter
        agent = agents.LlmAgent(name="meteo", model="gemini-2.5-flash", tools=[weather])
        self.runner = runners.InMemoryRunner(agent, app_name="app")

    @property
    def closes_streams(self) -> bool:
        """True for releases that close the stream of a call when the caller leaves a run early."""
        return int(version("google-adk").partition(".")[0]) >= 2

    async def arguments(self, *, streamed: bool = True) -> dict[str, Any]:
        """Return the arguments of a run in a new session."""
        from google.adk.agents.run_config import RunConfig, StreamingMode
        from google.genai.types import Content, Part

        session = await self.runner.session_service.create_session(app_name="app", user_id="u")
        return {
            "user_id": "u",
            "session_id": session.id,
            "new_message": Content(role="user", parts=[Part(text="weather?")]),
            "run_config": RunConfig(streaming_mode=StreamingMode.SSE if streamed else StreamingMode.NONE),
        }

    def chats(self) -> list[dict[str, Any]]:
        """Return the attributes of the spans of calls. Each of them is one of ADK's own."""
        llmtrace.flush()
        spans = [span for span in self.exporter.get_finished_spans() if span.name.startswith("generate_content")]
        spans.sort(key=lambda span: span.start_time or 0)
        scopes = [span.instrumentation_scope.name for span in spans if span.instrumentation_scope]
        assert set(scopes) == {"gcp.vertex.agent"}
        return [dict(span.attributes or {}) for span in spans]


@pytest.fixture(scope="module")
def adk_telemetry() -> Iterator[tuple[TracerProvider, InMemorySpanExporter]]:
    """The provider of ADK's tracer, which its modules import from one another, some before the first run."""
    for part in ("runners", "telemetry.tracing"):
        pytest.importorskip(f"google.adk.{part}")
    provider, exporter = provider_and_exporter()
    tracer = provider.get_tracer("gcp.vertex.agent")
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("google.adk.") and "tracer" in vars(module):
                patch.setattr(module, "tracer", tracer)
        yield provider, exporter


@pytest.fixture
def adk(adk_telemetry: Any, agent_server: AgentServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Adk]:
    provider, exporter = adk_telemetry
    exporter.clear()
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", agent_server.url.removesuffix("/v1"))
    with llmtrace.instrument(tracer_provider=provider, strict=True):
        yield Adk(exporter)


@pytest.mark.parametrize("streamed", [False, True], ids=["complete", "streamed"])
async def test_calls_join_the_spans_of_google_adk(adk: Adk, streamed: bool) -> None:
    """ADK's spans hold usage, cost, tags, prompt and times of each call, and there are no others."""
    with llmtrace.collect() as calls, llmtrace.tag(feature="trip"), llmtrace.prompt("advice"), llmtrace.workflow("ask"):
        async for _ in adk.runner.run_async(**await adk.arguments(streamed=streamed)):
            pass
    chats = adk.chats()
    spans = adk.exporter.get_finished_spans()
    assert "execute_tool weather" in map(str.strip, tree(spans))
    check_money(spans, calls=2, cost=INPUT * 3e-7 + OUTPUT * 25e-7)
    assert [call.document_ids for call in calls] == [(), ("d1",)]
    assert [(chat["llmtrace.feature"], chat["gen_ai.prompt.name"]) for chat in chats] == [("trip", "advice")] * 2
    assert [chat.get("llmtrace.stream.end") for chat in chats] == ["exhausted" if streamed else None] * 2
    assert [chat.get("llmtrace.stream.chunks") for chat in chats] == [2 if streamed else None] * 2


async def test_streamed_call_joins_the_span_of_google_adk_in_a_thread(adk: Adk) -> None:
    """The synchronous run of ADK, which has a thread of its own, has one span for each call too."""
    arguments = await adk.arguments()
    for _ in adk.runner.run(**arguments):
        pass
    chats = adk.chats()
    check_money(adk.exporter.get_finished_spans(), calls=2, cost=INPUT * 3e-7 + OUTPUT * 25e-7)
    assert len(chats) == 2


async def test_stream_of_google_adk_that_is_left_early_has_one_span(adk: Adk, agent_server: AgentServer) -> None:
    """ADK's span holds the tokens that had been reported, and no cost."""
    if not adk.closes_streams:
        pytest.skip("this release of ADK leaves its streams open")
    agent_server.resumed.clear()
    with llmtrace.collect() as calls, llmtrace.workflow("ask"):
        events = adk.runner.run_async(**await adk.arguments())
        async for _ in events:
            break
        await events.aclose()
    agent_server.resumed.set()
    (chat,), (call,) = adk.chats(), calls
    assert (call.outcome, call.usage.input, call.cost) == ("cancelled", INPUT, None)
    assert (chat["gen_ai.usage.input_tokens"], chat["llmtrace.stream.chunks"]) == (INPUT, 1)
    assert chat["llmtrace.stream.end"] == "cancelled"


async def test_failed_stream_of_google_adk_has_one_span(adk: Adk, agent_server: AgentServer) -> None:
    """ADK's span holds the error, and neither usage nor cost."""
    agent_server.status = 400
    with pytest.raises(Exception, match="not accepted"), llmtrace.collect() as calls, llmtrace.tag(feature="trip"):
        async for _ in adk.runner.run_async(**await adk.arguments()):
            pass
    (chat,), (call,) = adk.chats(), calls
    assert (call.outcome, call.cost, chat["llmtrace.feature"]) == ("error", None, "trip")
    assert not {"gen_ai.usage.input_tokens", "llm.cost.total"} & set(chat)


async def test_budget_counts_the_streamed_calls_of_google_adk(adk: Adk) -> None:
    """A budget that is used up by the first call blocks the second, and its reason is on ADK's span."""
    llmtrace.budget("small", usd=1e-5, action="block")
    with llmtrace.collect() as calls, pytest.raises(llmtrace.BudgetExceeded):
        async for _ in adk.runner.run_async(**await adk.arguments()):
            pass
    assert [call.outcome for call in calls] == ["ok", "blocked"]
    assert [chat.get("llm.cost.total", 0) > 0 for chat in adk.chats()] == [True, False]
