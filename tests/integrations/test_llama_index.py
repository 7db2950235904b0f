"""Runs of LlamaIndex are one trace each."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from agent_server import AgentServer, check_money, only, tree
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.capture import worker

pytest.importorskip("llama_index.core")

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.tools import QueryEngineTool
from llama_index.core.workflow import Workflow, step
from llama_index.core.workflow.events import StartEvent, StopEvent
from llama_index_model import Embedding, Model

pytestmark = [
    pytest.mark.usefixtures("agent_server"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # LlamaIndex reads deprecated names of Pydantic
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # and leaves its database open
]
QUERY_TREE = [
    "invoke_workflow RetrieverQueryEngine",
    "  retrieval",
    "    embeddings text-embedding-3-small",
    "  chat gpt-4o-mini",
]
AGENT_TREE = ["invoke_agent meteo", "  chat gpt-4o-mini", "  execute_tool weather", "  chat gpt-4o-mini"]


def weather(city: str) -> str:
    """Weather of a city."""
    return f"sunny in {city}"


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect LlamaIndex's open databases here, where their warnings are ignored."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def index() -> VectorStoreIndex:
    documents = [Document(text="Rain."), Document(text="Sun.")]
    return VectorStoreIndex.from_documents(documents, embed_model=Embedding())


def meteo(**more: Any) -> FunctionAgent:
    return FunctionAgent(**{"name": "meteo", "tools": [weather], "llm": Model(), "streaming": False, **more})


def ids(spans: Any, name: str) -> list[Any]:
    named = sorted((span for span in spans if span.name.startswith(name)), key=lambda span: span.start_time)
    return [(span.attributes or {}).get("llmtrace.retrieval.document_ids") for span in named]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_query_is_one_trace(spans: InMemorySpanExporter, index: VectorStoreIndex, asynchronous: bool) -> None:
    """A query has its search with documents and scores, and the call after it names them."""
    engine = index.as_query_engine(llm=Model())
    asyncio.run(engine.aquery("weather?")) if asynchronous else engine.query("weather?")
    finished = spans.get_finished_spans()
    assert tree(finished) == QUERY_TREE
    (found,) = ids(finished, "retrieval")
    assert len(found) == 2
    assert ids(finished, "chat") == [found]
    search = only(finished, "retrieval").attributes or {}
    assert search["gen_ai.data_source.id"] == "VectorIndexRetriever"
    assert search["gen_ai.retrieval.top_k"] == 2
    assert '"score":' in str(search["gen_ai.retrieval.documents"])


def test_streamed_query_ends_with_its_stream(spans: InMemorySpanExporter, index: VectorStoreIndex) -> None:
    """A streamed query is open until its text is read, and the call that the reading makes is inside."""
    response: Any = index.as_query_engine(llm=Model(), streaming=True).query("weather?")
    assert tree(spans.get_finished_spans()) == []  # nothing has ended but what is below an open span
    assert "".join(response.response_gen) == "sunny"
    assert tree(spans.get_finished_spans()) == QUERY_TREE
    assert llmtrace.current().documents == ()


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_streamed_query_that_is_dropped_unread_ends(
    spans: InMemorySpanExporter, index: VectorStoreIndex, asynchronous: bool
) -> None:
    """A streamed query that is not read ends when its response is dropped."""
    engine = index.as_query_engine(llm=Model(), streaming=True)
    response: Any = (await engine.aquery("weather?")) if asynchronous else engine.query("weather?")
    del response
    gc.collect()
    assert llmtrace.flush()
    assert tree(spans.get_finished_spans())[:2] == QUERY_TREE[:2]


def test_reranker_decides_what_reaches_the_answer(spans: InMemorySpanExporter, index: VectorStoreIndex) -> None:
    """The call after a reranker names the documents that it kept."""

    class FirstReranker(BaseNodePostprocessor):
        def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
            return nodes[:1]

    index.as_query_engine(llm=Model(), node_postprocessors=[FirstReranker()]).query("weather?")
    finished = spans.get_finished_spans()
    assert tree(finished) == [*QUERY_TREE[:3], "  rerank FirstReranker", QUERY_TREE[3]]
    assert ids(finished, "chat") == [ids(finished, "retrieval")[0][:1]]


def test_chat_engine_is_a_workflow(spans: InMemorySpanExporter, index: VectorStoreIndex) -> None:
    """A chat engine has a span above its search and its call."""
    index.as_chat_engine(llm=Model(), chat_mode="context").chat("weather?")
    assert tree(spans.get_finished_spans()) == ["invoke_workflow ContextChatEngine", *QUERY_TREE[1:]]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("mode", ["simple", "context", "condense_question"])
async def test_streamed_chat_ends_with_its_stream(
    spans: InMemorySpanExporter, index: VectorStoreIndex, mode: Any, asynchronous: bool
) -> None:
    """A streamed chat lasts as long as the call that it streams, and nothing inside is cancelled."""
    engine = index.as_chat_engine(llm=Model(), chat_mode=mode)
    if asynchronous:
        answer = await engine.astream_chat("weather?")
        assert [part async for part in answer.async_response_gen()]
    else:
        streamed = engine.stream_chat("weather?")
        assert list(streamed.response_gen)
    finished = spans.get_finished_spans()
    root, call = tree(finished)[0], only(finished, "chat gpt-4o-mini")
    assert {(span.attributes or {})["llmtrace.outcome"] for span in finished} == {"ok"}
    assert (only(finished, root).end_time or 0) >= (call.end_time or 0)
    check_money([span for span in finished if "embeddings" not in span.name], calls=1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_streamed_chat_that_fails_has_its_error(
    spans: InMemorySpanExporter, index: VectorStoreIndex, agent_server: AgentServer
) -> None:
    """The error of a streamed call reaches the reader, and the span of the chat records it."""
    agent_server.status = 400
    with pytest.raises(Exception, match="400"):
        list(index.as_chat_engine(llm=Model(), chat_mode="simple").stream_chat("weather?").response_gen)
    assert worker.drain(30)
    chat = only(spans.get_finished_spans(), "invoke_workflow SimpleChatEngine").attributes or {}
    assert chat["error.type"] == "400"


@pytest.mark.parametrize("streaming", [False, True])
async def test_agent_run_is_one_trace(spans: InMemorySpanExporter, streaming: bool) -> None:
    """An agent's run has one tree, its tags hold inside, and the application's context is unchanged after it."""
    with llmtrace.tag(feature="trip", session="s-1"):
        handler = meteo(streaming=streaming).run("weather?")
        async for _ in handler.stream_events():
            pass
        await handler
    finished = spans.get_finished_spans()
    assert tree(finished) == AGENT_TREE
    check_money(finished, calls=2)
    assert {(span.attributes or {})["llmtrace.feature"] for span in finished} == {"trip"}
    assert {(span.attributes or {})["llmtrace.outcome"] for span in finished} == {"ok"}
    assert llmtrace.current().agent is None


async def test_agents_of_a_workflow_take_turns(spans: InMemorySpanExporter) -> None:
    """Each agent of a workflow has the calls and tools of its turn, and the next begins at the handoff."""
    # The loopback model requests the first tool, with "Paris" for each argument.
    first = meteo(tools=[], description="d", can_handoff_to=["Paris"])
    agents = [first, meteo(name="Paris", tools=[], description="d", can_handoff_to=[])]
    await AgentWorkflow(agents=agents, root_agent="meteo").run("weather?")
    finished = spans.get_finished_spans()
    assert tree(finished) == [
        "invoke_workflow AgentWorkflow",
        "  invoke_agent meteo",
        "    chat gpt-4o-mini",
        "    execute_tool handoff",
        "  invoke_agent Paris",
        "    chat gpt-4o-mini",
    ]
    assert {(span.attributes or {})["llmtrace.outcome"] for span in finished} == {"ok"}
    check_money(finished, calls=2)


async def test_documents_of_a_tool_reach_the_answer(spans: InMemorySpanExporter, index: VectorStoreIndex) -> None:
    """An agent that searches with a tool has the query below it, and its answer names the documents."""
    search = QueryEngineTool.from_defaults(index.as_query_engine(llm=Model()), name="search", description="Search.")
    await meteo(tools=[search]).run("weather?")
    finished = spans.get_finished_spans()
    assert tree(finished)[2:] == ["  execute_tool search", *(f"    {line}" for line in QUERY_TREE), AGENT_TREE[3]]
    assert ids(finished, "chat")[0] is None
    assert ids(finished, "chat")[2] == ids(finished, "retrieval")[0]


async def test_workflows_are_recorded_with_their_calls(spans: InMemorySpanExporter) -> None:
    """A workflow of agents has a span, one of the application its steps too; runs at the same time stay apart."""

    class Flow(Workflow):
        @step
        async def ask(self, ev: StartEvent) -> StopEvent:
            return StopEvent(result=str(await Model().achat([])))

    await asyncio.gather(AgentWorkflow(agents=[meteo(tools=[])]).run("weather?"), Flow().run(), Flow().run())
    finished = spans.get_finished_spans()
    trees = sorted(tree([span for span in finished if span.context.trace_id == trace]) for trace in traces(finished))
    flow = ["invoke_workflow Flow", "  invoke_workflow ask", "    chat gpt-4o-mini"]
    agents = ["invoke_workflow AgentWorkflow", "  invoke_agent meteo", "    chat gpt-4o-mini"]
    assert trees == [agents, flow, flow]


def traces(spans: Any) -> set[int]:
    return {span.context.trace_id for span in spans}


async def test_errors_end_every_span(spans: InMemorySpanExporter, agent_server: AgentServer) -> None:
    """The error of a call reaches the application, and the span above records it."""
    agent_server.status = 400
    with pytest.raises(Exception, match="400"):
        await meteo().run("weather?")
    finished = spans.get_finished_spans()
    assert tree(finished) == AGENT_TREE[:2]
    assert {(span.attributes or {})["llmtrace.outcome"] for span in finished} == {"error"}


async def test_failed_tool_is_an_error_of_its_span_alone(spans: InMemorySpanExporter) -> None:
    """LlamaIndex answers a failed tool with a text; its span records the error, and the run goes on."""

    def broken(city: str) -> str:
        """Fail."""
        raise LookupError(city)

    await meteo(tools=[broken]).run("weather?")
    outcomes = {span.name: (span.attributes or {})["llmtrace.outcome"] for span in spans.get_finished_spans()}
    assert outcomes["execute_tool broken"] == "error"
    assert outcomes["invoke_agent meteo"] == "ok"


async def test_cancelled_run_ends_its_spans(spans: InMemorySpanExporter) -> None:
    """A run that the application cancels ends with its tool."""
    started = asyncio.Event()

    async def wait(city: str) -> str:
        """Wait."""
        started.set()
        await asyncio.sleep(60)
        return city

    handler = meteo(tools=[wait]).run("weather?")
    await started.wait()
    await handler.cancel_run()
    await asyncio.gather(handler, return_exceptions=True)
    names = {span.name for span in spans.get_finished_spans()}
    assert {"invoke_agent meteo", "execute_tool wait"} <= names


async def test_content_is_recorded_on_request(content_spans: InMemorySpanExporter, index: VectorStoreIndex) -> None:
    """With content on, agents, tools and searches have their inputs and outputs."""
    index.as_query_engine(llm=Model()).query("weather?")
    await meteo().run("weather?")
    finished = content_spans.get_finished_spans()
    called = only(finished, "execute_tool weather").attributes or {}
    assert called["gen_ai.tool.call.arguments"] == '{"city":"Paris"}'
    assert "sunny in Paris" in str(called["gen_ai.tool.call.result"])
    assert "weather?" in str((only(finished, "invoke_agent meteo").attributes or {})["gen_ai.input.messages"])
    assert "Rain." in str((only(finished, "retrieval").attributes or {})["gen_ai.retrieval.documents"])
    engine = only(finished, "invoke_workflow RetrieverQueryEngine").attributes or {}
    assert "weather?" in str(engine["gen_ai.input.messages"])
    assert "sunny" in str(engine["gen_ai.output.messages"])
