"""Frameworks that open spans of their own: the calls join these, and each token is counted once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from agent_server import INPUT, OUTPUT, AgentServer, check_money, only, provider_and_exporter, tree
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

pytestmark = pytest.mark.usefixtures("agent_server")
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
