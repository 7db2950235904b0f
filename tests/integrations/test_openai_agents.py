"""Runs of the OpenAI Agents SDK are one trace each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from agent_server import AgentServer, check_money, only, tree
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

pytest.importorskip("agents.tracing")

from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrailTripwireTriggered,
    ModelSettings,
    OpenAIChatCompletionsModel,
    RunConfig,
    Runner,
    function_tool,
    input_guardrail,
    set_trace_processors,
    trace,
)
from agents.tracing import traces
from openai import AsyncOpenAI

pytestmark = pytest.mark.usefixtures("agent_server")
AGENT_TREE = [
    "invoke_workflow Agent workflow",
    "  invoke_agent meteo",
    "    chat gpt-4o-mini",
    "    execute_tool weather",
    "    chat gpt-4o-mini",
]


@pytest.fixture(autouse=True)
def _no_other_processors() -> None:
    """Send nothing to OpenAI, as programs do: the bridge needs no processor."""
    set_trace_processors([])


@function_tool
def weather(city: str) -> str:
    """Weather of a city."""
    with llmtrace.retrieval("atlas") as search:
        search.add([("d1", 0.5)])
    return f"sunny in {city}"


def meteo(**more: Any) -> Agent[Any]:
    model = OpenAIChatCompletionsModel("gpt-4o-mini", AsyncOpenAI(max_retries=0))
    settings = ModelSettings(include_usage=True)
    return Agent(**{"name": "meteo", "tools": [weather], "model": model, "model_settings": settings, **more})


async def _run(agent: Agent[Any], **more: Any) -> None:
    await Runner.run(agent, "weather?", **more)


async def _stream(agent: Agent[Any], **more: Any) -> None:
    async for _ in Runner.run_streamed(agent, "weather?", **more).stream_events():
        pass


@pytest.mark.parametrize("run", [_run, _stream])
async def test_agent_run_is_one_trace(spans: InMemorySpanExporter, run: Any) -> None:
    """A run has one tree, and the call after the tool names the documents that the tool retrieved."""
    await run(meteo())
    finished = spans.get_finished_spans()
    assert tree(finished) == [*AGENT_TREE[:4], "      retrieval", AGENT_TREE[4]]
    check_money(finished, calls=2)
    assert {(span.attributes or {})["llmtrace.outcome"] for span in finished} == {"ok"}
    chats = sorted((span for span in finished if span.name.startswith("chat")), key=lambda span: span.start_time or 0)
    ids = [(span.attributes or {}).get("llmtrace.retrieval.document_ids") for span in chats]
    assert ids == [None, ("d1",)]


@pytest.fixture
def default_loop() -> Iterator[None]:
    """Close the event loop that ``run_sync`` keeps for the next run."""
    with closing(asyncio.new_event_loop()) as loop:
        asyncio.set_event_loop(loop)
        yield
        asyncio.set_event_loop(None)


@pytest.mark.usefixtures("default_loop")
def test_synchronous_run_is_one_trace(spans: InMemorySpanExporter) -> None:
    """``run_sync`` gives the same tree, also inside an ``except`` block of the application, whose error it ignores."""
    try:
        raise ValueError("before")
    except ValueError:
        Runner.run_sync(meteo(), "weather?")
    finished = spans.get_finished_spans()
    assert [line for line in tree(finished) if "retrieval" not in line] == AGENT_TREE
    assert {(span.attributes or {})["llmtrace.outcome"] for span in finished} == {"ok"}


async def test_trace_of_the_application_is_the_workflow(spans: InMemorySpanExporter) -> None:
    """Runs in a trace of the application share it; its group is the session, and its tags hold inside."""
    with llmtrace.tag(feature="trip"), trace("Trip", group_id="g-1"):
        await asyncio.gather(_run(meteo(tools=[])), _run(meteo(tools=[])))
    finished = spans.get_finished_spans()
    run = ["  invoke_agent meteo", "    chat gpt-4o-mini"]
    assert tree(finished) == ["invoke_workflow Trip", *run * 2]
    assert {(span.attributes or {})["session.id"] for span in finished} == {"g-1"}
    assert {(span.attributes or {})["llmtrace.feature"] for span in finished} == {"trip"}
    assert llmtrace.current().session is None


async def test_resumed_run_has_its_workflow_and_session(spans: InMemorySpanExporter) -> None:
    """A run that waits for approval continues in a trace with the same name and session."""
    if not hasattr(traces, "ReattachedTrace"):
        pytest.skip("this release resumes no traces")

    @function_tool(needs_approval=True)
    def weather(city: str) -> str:
        """Weather of a city."""
        return f"sunny in {city}"

    agent = meteo(tools=[weather])
    config = RunConfig(workflow_name="trip", group_id="g-1")
    waiting = await Runner.run(agent, "weather in Paris?", run_config=config)
    state = waiting.to_state()
    state.approve(waiting.interruptions[0])
    assert (await Runner.run(agent, state, run_config=config)).final_output == "sunny"
    finished = spans.get_finished_spans()
    first = ["invoke_workflow trip", "  invoke_agent meteo", "    chat gpt-4o-mini", "    execute_tool weather"]
    resumed = [*first[:2], first[3], first[2]]
    assert tree(finished) == [*first, *resumed]
    assert {(span.attributes or {})["session.id"] for span in finished} == {"g-1"}


async def test_handoff_is_recorded(spans: InMemorySpanExporter) -> None:
    """A handoff is a tool of the agent that hands over."""
    expert = meteo(name="expert", tools=[])
    await _run(meteo(name="front", tools=[], handoffs=[expert]))
    assert tree(spans.get_finished_spans()) == [
        "invoke_workflow Agent workflow",
        "  invoke_agent front",
        "    chat gpt-4o-mini",
        "    execute_tool handoff to expert",
        "  invoke_agent expert",
        "    chat gpt-4o-mini",
    ]


async def test_guardrail_that_stops_a_run_ends_it_with_its_error(spans: InMemorySpanExporter) -> None:
    """A guardrail has a span, and the exception of its tripwire reaches the application and the agent's span."""

    @input_guardrail(run_in_parallel=False)
    async def polite(*_: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)

    with pytest.raises(InputGuardrailTripwireTriggered):
        await _run(meteo(input_guardrails=[polite]))
    finished = spans.get_finished_spans()
    assert tree(finished) == [*AGENT_TREE[:2], "    invoke_workflow polite"]
    workflow = only(finished, "invoke_workflow Agent workflow").attributes or {}
    assert workflow["error.type"] == "agents.exceptions.InputGuardrailTripwireTriggered"
    assert (only(finished, "invoke_agent meteo").attributes or {})["llmtrace.outcome"] == "error"


@pytest.mark.parametrize("run", [_run, _stream])
async def test_errors_end_every_span(spans: InMemorySpanExporter, agent_server: AgentServer, run: Any) -> None:
    """The error of a call reaches the application, and no span stays open."""
    agent_server.status = 400
    with pytest.raises(Exception, match="400"):
        await run(meteo())
    finished = spans.get_finished_spans()
    assert tree(finished) == AGENT_TREE[:3]
    assert {(span.attributes or {})["llmtrace.outcome"] for span in finished} == {"error"}


async def test_failed_tool_is_an_error_of_its_span_alone(spans: InMemorySpanExporter) -> None:
    """The SDK answers a failed tool with a text; its span records the error, and the run goes on."""

    @function_tool
    def broken(city: str) -> str:
        raise LookupError(city)

    await _run(meteo(tools=[broken]))
    outcomes = {span.name: (span.attributes or {})["llmtrace.outcome"] for span in spans.get_finished_spans()}
    assert outcomes["execute_tool broken"] == "error"
    assert outcomes["invoke_agent meteo"] == outcomes["invoke_workflow Agent workflow"] == "ok"


async def test_cancelled_stream_ends_its_spans(spans: InMemorySpanExporter) -> None:
    """A stream that the application cancels ends the run."""
    result = Runner.run_streamed(meteo(), "weather?")
    async for _ in result.stream_events():
        result.cancel()
    await asyncio.gather(result.run_loop_task, return_exceptions=True)  # type: ignore[arg-type] # it has begun
    assert tree(spans.get_finished_spans())[0] == AGENT_TREE[0]


async def test_content_is_recorded_on_request(content_spans: InMemorySpanExporter) -> None:
    """With content on, agents and tools have their inputs and outputs."""
    await _run(meteo())
    finished = content_spans.get_finished_spans()
    called = only(finished, "execute_tool weather").attributes or {}
    assert called["gen_ai.tool.call.arguments"] == '{"city":"Paris"}'
    assert "sunny in Paris" in str(called["gen_ai.tool.call.result"])
    agent = only(finished, "invoke_agent meteo").attributes or {}
    assert "weather?" in str(agent["gen_ai.input.messages"])
    assert "sunny" in str(agent["gen_ai.output.messages"])


async def test_run_without_tracing_stays_flat(spans: InMemorySpanExporter) -> None:
    """A run that switches the SDK's tracing off has the spans of its calls alone."""
    await _run(meteo(tools=[]), run_config=RunConfig(tracing_disabled=True))
    assert tree(spans.get_finished_spans()) == ["chat gpt-4o-mini"]
