"""Runs of CrewAI are one trace each."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from agent_server import AgentServer, check_money, only, tree
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

os.environ.setdefault("CREWAI_DISABLE_TELEMETRY", "true")
pytest.importorskip("crewai")

from crewai import LLM, Agent, Crew, Task
from crewai.flow.flow import Flow, listen, start
from crewai.tools import tool

pytestmark = [
    pytest.mark.usefixtures("agent_server"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # CrewAI uses deprecated names of its dependencies
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
CREW_TREE = [
    "invoke_workflow trip",
    "  invoke_workflow ask",
    "    invoke_agent meteo",
    "      chat gpt-4o-mini",
    "      execute_tool weather",
    "      chat gpt-4o-mini",
]


@tool("weather")
def weather(city: str) -> str:
    """Weather of a city."""
    with llmtrace.retrieval("atlas") as search:
        search.add([("d1", 0.5)])
    return f"sunny in {city}"


def meteo() -> Any:
    llm = LLM(model="gpt-4o-mini", base_url=os.environ["OPENAI_BASE_URL"], api_key="k", max_retries=0)
    return Agent(role="meteo", goal="g", backstory="b", tools=[weather], llm=llm, max_retry_limit=0)


def trip(**more: Any) -> Any:
    agent = meteo()
    task = Task(description="weather in Paris?", expected_output="text", agent=agent, name="ask")
    return Crew(agents=[agent], tasks=[task], name="trip", **more)


def stream() -> None:
    """Read a crew that streams its steps; the model of the crew streams too."""
    streaming = trip(stream=True).kickoff()
    assert "sunny" in "".join(chunk.content for chunk in streaming)


RUNS = {
    "kickoff": lambda: trip().kickoff(),
    "kickoff_async": lambda: asyncio.run(trip().kickoff_async()),
    "akickoff": lambda: asyncio.run(trip().akickoff()),
    "stream": stream,
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_crew_is_one_trace(spans: InMemorySpanExporter, run: Any) -> None:
    """A crew has its task, its agent and its tool, and the call after the tool names the documents."""
    with llmtrace.tag(feature="trip"):
        run()
    finished = spans.get_finished_spans()
    assert tree(finished) == [*CREW_TREE[:5], "        retrieval", CREW_TREE[5]]
    check_money(finished, calls=2)
    assert {(span.attributes or {})["llmtrace.feature"] for span in finished} == {"trip"}
    chats = sorted((span for span in finished if span.name.startswith("chat")), key=lambda span: span.start_time or 0)
    ids = [(span.attributes or {}).get("llmtrace.retrieval.document_ids") for span in chats]
    assert ids == [None, ("d1",)]


async def _kickoff() -> None:
    await meteo().kickoff("weather in Paris?")  # a coroutine in an event loop


@pytest.mark.parametrize(
    "run",
    [
        lambda: meteo().kickoff("weather in Paris?"),
        lambda: asyncio.run(meteo().kickoff_async("weather in Paris?")),
        lambda: asyncio.run(meteo().akickoff("weather in Paris?")),
        lambda: asyncio.run(_kickoff()),
    ],
)
def test_agent_without_a_crew_is_one_trace(spans: InMemorySpanExporter, run: Any) -> None:
    """An agent that is started directly is the root."""
    run()
    finished = spans.get_finished_spans()
    alone = [line[4:] for line in CREW_TREE[2:]]
    assert tree(finished) == [*alone[:3], "    retrieval", alone[3]]
    check_money(finished, calls=2)


def test_flow_is_a_workflow(spans: InMemorySpanExporter) -> None:
    """A flow has a span, and each of its methods one below it, above the crews that it starts."""

    class Journey(Flow[Any]):
        @start()
        def begin(self) -> Any:
            return trip().kickoff()

        @listen(begin)
        async def end(self) -> Any:
            return await meteo().kickoff("weather in Paris?")

    Journey().kickoff()
    finished = spans.get_finished_spans()
    steps = [line for line in tree(finished) if "invoke_" in line]
    assert steps == [
        "invoke_workflow Journey",
        "  invoke_workflow begin",
        *[f"    {line}" for line in CREW_TREE[:3]],
        "  invoke_workflow end",
        "    invoke_agent meteo",
    ]
    check_money(finished, calls=4)


def test_errors_end_every_span(spans: InMemorySpanExporter, agent_server: AgentServer) -> None:
    """The error of a call reaches the application, and the spans above it record it."""
    agent_server.status = 400
    with pytest.raises(Exception, match="400"):
        trip().kickoff()
    outcomes = {span.name: (span.attributes or {})["llmtrace.outcome"] for span in spans.get_finished_spans()}
    assert outcomes["invoke_workflow trip"] == outcomes["invoke_agent meteo"] == "error"


def test_content_is_recorded_on_request(content_spans: InMemorySpanExporter) -> None:
    """With content on, crews and tools have their inputs and outputs."""
    trip().kickoff(inputs={"city": "Paris"})
    finished = content_spans.get_finished_spans()
    called = only(finished, "execute_tool weather").attributes or {}
    assert called["gen_ai.tool.call.arguments"] == '{"city":"Paris"}'
    assert "sunny in Paris" in str(called["gen_ai.tool.call.result"])
    crew = only(finished, "invoke_workflow trip").attributes or {}
    assert "Paris" in str(crew["gen_ai.input.messages"])
    assert "sunny" in str(crew["gen_ai.output.messages"])
