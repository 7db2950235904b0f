"""Runs of Haystack are one trace each."""

from __future__ import annotations

import os
from typing import Any

import pytest
from agent_server import AgentServer, check_money, only, tree
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")
pytest.importorskip("haystack.components")

from haystack import Document, Pipeline
from haystack.components.agents import Agent
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.dataclasses import ChatMessage
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.tools import tool

pytestmark = [
    pytest.mark.usefixtures("agent_server"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
QUESTION = [ChatMessage.from_user("weather in Paris?")]


@tool
def weather(city: str) -> str:
    """Weather of a city."""
    with llmtrace.retrieval("atlas") as search:
        search.add([("d1", 0.5)])
    return f"sunny in {city}"


def generator(**more: Any) -> Any:
    return OpenAIChatGenerator(model="gpt-4o-mini", max_retries=0, api_base_url=os.environ["OPENAI_BASE_URL"], **more)


def meteo(**more: Any) -> Any:
    return Agent(chat_generator=generator(), tools=[weather], **more)


def rag() -> Any:
    store = InMemoryDocumentStore()
    store.write_documents([Document(id="d1", content="weather: rain"), Document(id="d2", content="weather: sun")])
    pipeline = Pipeline(metadata={"name": "rag"})
    pipeline.add_component("search", InMemoryBM25Retriever(store))
    template = [ChatMessage.from_user("{{documents}} weather?")]
    pipeline.add_component("prompt", ChatPromptBuilder(template, required_variables="*"))
    pipeline.add_component("answer", generator())
    pipeline.connect("search.documents", "prompt.documents")
    pipeline.connect("prompt.prompt", "answer.messages")
    return pipeline


def ids(spans: Any, name: str) -> list[Any]:
    named = sorted((span for span in spans if span.name.startswith(name)), key=lambda span: span.start_time)
    return [(span.attributes or {}).get("llmtrace.retrieval.document_ids") for span in named]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_pipeline_is_one_trace(spans: InMemorySpanExporter, asynchronous: bool) -> None:
    """A pipeline has its search, with documents and scores, and the call after it names them."""
    data = {"search": {"query": "weather", "top_k": 2}}
    await rag().run_async(data) if asynchronous else rag().run(data)
    finished = spans.get_finished_spans()
    assert tree(finished) == ["invoke_workflow rag", "  retrieval", "  chat gpt-4o-mini"]
    check_money(finished, calls=1)
    assert sorted(ids(finished, "retrieval")[0]) == ["d1", "d2"]
    assert ids(finished, "chat") == ids(finished, "retrieval")
    search = only(finished, "retrieval").attributes or {}
    assert search["gen_ai.retrieval.top_k"] == 2
    assert '"score":' in str(search["gen_ai.retrieval.documents"])


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_agent_run_is_one_trace(spans: InMemorySpanExporter, asynchronous: bool) -> None:
    """An agent has its tool below it, whose documents reach the answer; tags hold inside."""
    with llmtrace.tag(feature="trip"):
        await meteo().run_async(messages=QUESTION) if asynchronous else meteo().run(messages=QUESTION)
    finished = spans.get_finished_spans()
    called = ["  execute_tool weather", "    retrieval"]
    assert tree(finished) == ["invoke_agent agent", "  chat gpt-4o-mini", *called, "  chat gpt-4o-mini"]
    check_money(finished, calls=2)
    assert {(span.attributes or {})["llmtrace.feature"] for span in finished} == {"trip"}
    assert ids(finished, "chat") == [None, ("d1",)]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_streamed_agent_run_is_one_trace(spans: InMemorySpanExporter, asynchronous: bool) -> None:
    """An agent whose model streams has the same tree, and each token is counted once."""
    chunks: list[Any] = []

    async def receive(chunk: Any) -> None:
        chunks.append(chunk)

    usage = {"generation_kwargs": {"stream_options": {"include_usage": True}}}
    agent = Agent(chat_generator=generator(**usage), tools=[weather])
    if asynchronous:
        await agent.run_async(QUESTION, streaming_callback=receive)
    else:
        agent.run(QUESTION, streaming_callback=chunks.append)
    assert chunks
    finished = spans.get_finished_spans()
    chat = "  chat gpt-4o-mini"
    assert tree(finished) == ["invoke_agent agent", chat, "  execute_tool weather", "    retrieval", chat]
    check_money(finished, calls=2)


def test_agent_in_a_pipeline_has_its_name(spans: InMemorySpanExporter) -> None:
    """An agent that is a component has one span, with the name of the component."""
    pipeline = Pipeline()
    pipeline.add_component("meteo", meteo())
    pipeline.run({"meteo": {"messages": QUESTION}})
    assert tree(spans.get_finished_spans())[:2] == ["invoke_workflow pipeline", "  invoke_agent meteo"]


def test_errors_end_every_span(spans: InMemorySpanExporter, agent_server: AgentServer) -> None:
    """The error of a call reaches the application, and the spans above it record it."""
    agent_server.status = 400
    with pytest.raises(Exception, match="400"):
        rag().run({"search": {"query": "weather"}})
    outcomes = {span.name: (span.attributes or {})["llmtrace.outcome"] for span in spans.get_finished_spans()}
    assert outcomes == {"invoke_workflow rag": "error", "retrieval": "ok", "chat gpt-4o-mini": "error"}


def test_failed_tool_is_an_error_of_its_span_alone(spans: InMemorySpanExporter) -> None:
    """Haystack answers a failed tool with a text; its span records the error, and the run goes on."""

    @tool
    def broken(city: str) -> str:
        """Fail."""
        raise LookupError(city)

    Agent(chat_generator=generator(), tools=[broken]).run(messages=QUESTION)
    outcomes = {span.name: (span.attributes or {})["llmtrace.outcome"] for span in spans.get_finished_spans()}
    assert outcomes["execute_tool broken"] == "error"
    assert outcomes["invoke_agent agent"] == "ok"


def test_content_is_recorded_on_request(content_spans: InMemorySpanExporter) -> None:
    """With content on, agents and tools have their inputs and outputs."""
    meteo().run(messages=QUESTION)
    finished = content_spans.get_finished_spans()
    called = only(finished, "execute_tool weather").attributes or {}
    assert called["gen_ai.tool.call.arguments"] == '{"city":"Paris"}'
    assert "sunny in Paris" in str(called["gen_ai.tool.call.result"])
    agent = only(finished, "invoke_agent agent").attributes or {}
    assert "weather in Paris?" in str(agent["gen_ai.input.messages"])
    assert "sunny" in str(agent["gen_ai.output.messages"])
