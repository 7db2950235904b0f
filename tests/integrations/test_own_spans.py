"""Frameworks that open spans of their own: the calls join these, and each token is counted once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from agent_server import INPUT, OUTPUT, AgentServer, check_money, only, provider_and_exporter, tree
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

pytestmark = [
    pytest.mark.usefixtures("agent_server"),
    pytest.mark.filterwarnings("ignore:.*PROGRESSIVE_SSE_STREAMING"),  # of ADK before 2.13
]
AGENT_TREE = ["execute_tool weather", "  retrieval"]
CYCLE = "execute_event_loop_cycle"


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


def check_calls(spans: Any, *, streamed: bool) -> None:
    """Check two calls of a run under the tag, the prompt and the tool's documents, and the sum on the agent's span."""
    check_money(spans, calls=2)
    assert document_ids(spans, "chat") == [None, ("d1",)]
    for span in spans:
        if span.name.startswith("chat"):
            found = span.attributes
            assert (found["llmtrace.feature"], found["gen_ai.prompt.version"]) == ("trip", "3")
            assert ("llmtrace.stream.time_to_first_token" in found) is streamed
    agent = only(spans, "invoke_agent meteo").attributes
    assert agent is not None
    sums = {name: agent.get(f"gen_ai.aggregated_usage.{name}") for name in ("input_tokens", "output_tokens")}
    assert sums == {"input_tokens": 2 * INPUT, "output_tokens": 2 * OUTPUT}


@pytest.fixture
def global_provider(telemetry: Any, monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The exporter of a provider that is the global one during the test."""
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", telemetry[0])
    exporter: InMemorySpanExporter = telemetry[1]
    return exporter


@pytest.fixture
def agent_framework(global_provider: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with its spans on, which the first releases leave off."""
    observability = pytest.importorskip("agent_framework.observability")
    monkeypatch.setattr(observability.OBSERVABILITY_SETTINGS, "enable_instrumentation", True)
    return pytest.importorskip("agent_framework")


@pytest.mark.parametrize("streamed", [False, True])
async def test_calls_join_the_spans_of_agent_framework(
    agent_framework: Any, global_provider: InMemorySpanExporter, streamed: bool
) -> None:
    """Its chat spans get cost, tags, prompt and timings, and its agent's span the sum by another name."""
    client = pytest.importorskip("agent_framework.openai").OpenAIChatCompletionClient("gpt-4o-mini")
    agent = agent_framework.Agent(client, name="meteo", tools=[weather])
    with llmtrace.tag(feature="trip"), llmtrace.prompt("brief", version="3"):
        if streamed:
            async for _ in agent.run("weather?", stream=True):
                pass
        else:
            await agent.run("weather?")
    llmtrace.flush()
    spans = global_provider.get_finished_spans()
    chat = "  chat gpt-4o-mini"
    assert tree(spans) == ["invoke_agent meteo", chat, *(f"  {line}" for line in AGENT_TREE), chat]
    check_calls(spans, streamed=streamed)


async def test_agent_without_spans_of_calls_keeps_its_token_counts(
    agent_framework: Any, global_provider: InMemorySpanExporter
) -> None:
    """An agent of the Agent Framework whose model has no spans is the only one with the usage of its calls."""

    class Model(agent_framework.BaseChatClient):  # type: ignore[misc]
        def _inner_get_response(self, **_: Any) -> Any:
            async def respond() -> Any:
                usage = agent_framework.UsageDetails(input_token_count=INPUT, output_token_count=OUTPUT)
                message = agent_framework.Message(role="assistant", contents=["sunny"])
                return agent_framework.ChatResponse(messages=[message], usage_details=usage)

            return respond()

    await agent_framework.Agent(Model(), name="meteo").run("weather?")
    (span,) = global_provider.get_finished_spans()
    assert span.name == "invoke_agent meteo"
    assert (span.attributes or {})["gen_ai.usage.input_tokens"] == INPUT


@pytest.mark.parametrize("way", ["sync", "async", "streamed"])
async def test_calls_join_the_spans_of_strands(
    global_provider: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, way: str
) -> None:
    """Its chat spans get cost, tags, prompt and timings, and its agent's span the sum by another name."""
    strands = pytest.importorskip("strands")
    models = pytest.importorskip("strands.models.openai")
    threads = pytest.importorskip("opentelemetry.instrumentation.threading")
    request.addfinalizer(threads.ThreadingInstrumentor().uninstrument)  # which its tracer has instrumented
    monkeypatch.setattr("strands.telemetry.tracer._tracer_instance", None)
    model = models.OpenAIModel(model_id="gpt-4o-mini")
    agent = strands.Agent(model, name="meteo", tools=[strands.tool(weather)], callback_handler=None)
    with llmtrace.tag(feature="trip"), llmtrace.prompt("brief", version="3"), llmtrace.workflow("ask"):
        if way == "sync":
            await asyncio.to_thread(agent, "weather?")
        elif way == "async":
            await agent.invoke_async("weather?")
        else:
            async for _ in agent.stream_async("weather?"):
                pass
    llmtrace.flush()
    spans = global_provider.get_finished_spans()
    first = [f"    {CYCLE}", "      chat", *(f"      {line}" for line in AGENT_TREE)]
    assert tree(spans) == ["invoke_workflow ask", "  invoke_agent meteo", *first, f"    {CYCLE}", "      chat"]
    check_calls(spans, streamed=True)


async def test_spans_of_mcp_have_the_calls_of_a_server_below_them(
    global_provider: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tool of a server is a span of the SDK; a call that it makes is below, and its documents reach the answer."""
    mcp = pytest.importorskip("mcp")
    server_module = pytest.importorskip("mcp.server")
    pytest.importorskip("mcp.shared._otel", reason="this release has no spans")
    openai = pytest.importorskip("openai")
    # The module keeps its tracer: set it before the first message.
    monkeypatch.setattr("mcp.shared._otel._tracer", trace.get_tracer("mcp-python-sdk"))
    server = server_module.MCPServer("atlas")
    client = openai.AsyncOpenAI()

    async def ask() -> str:
        messages = [{"role": "user", "content": "weather?"}]
        answer = await client.chat.completions.create(model="gpt-4o-mini", messages=messages)
        return str(answer.choices[0].message.content)

    @server.tool(name="weather")  # type: ignore[untyped-decorator]
    async def summarize(city: str) -> str:
        return f"{await weather(city)} {await ask()}"

    async with mcp.Client(server) as session:
        with llmtrace.tag(feature="trip"), llmtrace.agent("meteo"):
            await ask()
            await session.call_tool("weather", {"city": "Paris"})
            await ask()
    llmtrace.flush()
    # Releases differ in the messages that they send to connect and to learn about the tools.
    others = ("initialize", "notifications", "server", "tools/list")
    spans = tuple(span for span in global_provider.get_finished_spans() if not span.name.startswith(others))
    tool = ["  tools/call weather", "    retrieval", "    chat gpt-4o-mini"]
    assert tree(spans) == ["invoke_agent meteo", "  chat gpt-4o-mini", *tool, "  chat gpt-4o-mini"]
    check_money(spans, calls=3)
    assert document_ids(spans, "chat") == [None, ("d1",), ("d1",)]
    features = {(span.attributes or {}).get("llmtrace.feature") for span in spans if span.name.startswith("chat")}
    assert features == {"trip"}
