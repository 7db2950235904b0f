"""Runs of LangChain and LangGraph are one trace each."""

from __future__ import annotations

import asyncio
import operator
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict

import pytest
from agent_server import AgentServer, check_money, only, provider_and_exporter, tree
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

pytest.importorskip("langchain_openai")
pytest.importorskip("langgraph")

from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, RunnableLambda, config
from langchain_core.tools import create_retriever_tool, tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langgraph import prebuilt
from langgraph._internal import _runnable
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Send, interrupt

pytestmark = pytest.mark.usefixtures("agent_server")
QUESTION = {"messages": [{"role": "user", "content": "weather in Paris?"}]}
AGENT_TREE = [
    "invoke_agent meteo",
    "  invoke_workflow model",
    "    chat gpt-4o-mini",
    "  invoke_workflow tools",
    "    execute_tool weather",
    "  invoke_workflow model",
    "    chat gpt-4o-mini",
]


@tool
def weather(city: str) -> str:
    """Weather of a city."""
    return f"sunny in {city}"


class Manuals(BaseRetriever):
    """A search that embeds its query."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False).embed_query(query)
        return [Document("Rain.", id="d1", metadata={"score": 0.5}), Document("Sun.", id="d2")]


def model(**more: Any) -> Any:
    return ChatOpenAI(model="gpt-4o-mini", stream_usage=True, max_retries=0, **more)


def meteo(*tools: Any, **more: Any) -> Any:
    return create_agent(model(), tools=list(tools) or [weather], name="meteo", **more)


async def _astream(agent: Any) -> None:
    async for _ in agent.astream(QUESTION, stream_mode="messages"):
        pass


RUNS = {
    "invoke": lambda agent: agent.invoke(QUESTION),
    "stream": lambda agent: list(agent.stream(QUESTION, stream_mode="messages")),
    "ainvoke": lambda agent: asyncio.run(agent.ainvoke(QUESTION)),
    "astream": lambda agent: asyncio.run(_astream(agent)),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_agent_run_is_one_trace(spans: InMemorySpanExporter, run: Any) -> None:
    """An agent's run has one tree, with the usage and cost of its calls and nothing else."""
    run(meteo())
    finished = spans.get_finished_spans()
    assert tree(finished) == AGENT_TREE
    check_money(finished, calls=2)
    assert {(span.attributes or {})["llmtrace.outcome"] for span in finished} == {"ok"}


def test_tags_session_and_call_id_are_recorded(spans: InMemorySpanExporter) -> None:
    """Tags of the application hold inside, the thread is the session, and a tool has the id of its call."""
    with llmtrace.tag(feature="trip"), llmtrace.collect() as calls:
        meteo(checkpointer=InMemorySaver()).invoke(QUESTION, {"configurable": {"thread_id": "t-1"}})
    attributes = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    assert {each["llmtrace.feature"] for each in attributes} == {"trip"}
    assert {each["session.id"] for each in attributes} == {"t-1"}
    assert [(call.feature, call.session) for call in calls] == [("trip", "t-1")] * 2
    tool_span = only(spans.get_finished_spans(), "execute_tool weather").attributes or {}
    assert tool_span["gen_ai.tool.call.id"] == "call_1"
    assert tool_span["gen_ai.agent.name"] == "meteo"


def test_session_of_the_application_is_kept(spans: InMemorySpanExporter) -> None:
    """A session that the application has set takes precedence over the thread."""
    with llmtrace.tag(session="own"):
        meteo().invoke(QUESTION, {"configurable": {"thread_id": "t-1"}})
    assert {(span.attributes or {})["session.id"] for span in spans.get_finished_spans()} == {"own"}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_documents_of_a_tool_reach_the_answer(spans: InMemorySpanExporter, asynchronous: bool) -> None:
    """The search of a tool has the documents, and the call after it names them; the call before it does not."""
    agent = meteo(create_retriever_tool(Manuals(), "search", "Search the manuals."))
    asyncio.run(agent.ainvoke(QUESTION)) if asynchronous else agent.invoke(QUESTION)
    finished = spans.get_finished_spans()
    assert tree(finished)[3:7] == [
        "  invoke_workflow tools",
        "    execute_tool search",
        "      retrieval",
        "        embeddings text-embedding-3-small",
    ]
    search = only(finished, "retrieval").attributes or {}
    assert search["llmtrace.retrieval.document_ids"] == ("d1", "d2")
    assert search["gen_ai.data_source.id"] == "Manuals"
    assert '"score":0.5' in str(search["gen_ai.retrieval.documents"]).replace(" ", "")
    chats = sorted((span for span in finished if span.name.startswith("chat")), key=lambda span: span.start_time or 0)
    ids = [(span.attributes or {}).get("llmtrace.retrieval.document_ids") for span in chats]
    assert ids == [None, ("d1", "d2")]


def test_chain_is_a_workflow_without_its_glue(spans: InMemorySpanExporter) -> None:
    """A sequence has one span above its call: templates and parsers have none."""
    chain = ChatPromptTemplate.from_template("weather in {city}?") | model()
    chain.invoke({"city": "Paris"}, {"run_name": "ask"})
    chain.batch([{"city": "Paris"}])
    assert tree(spans.get_finished_spans()) == [
        "invoke_workflow ask",
        "  chat gpt-4o-mini",
        "invoke_workflow RunnableSequence",
        "  chat gpt-4o-mini",
    ]


def test_retriever_has_the_ids_and_scores_of_its_store(spans: InMemorySpanExporter) -> None:
    """Documents without an id or a score have those of the search inside, which has no span of its own."""
    qdrant = pytest.importorskip("qdrant_client")
    store, models = qdrant.QdrantClient(":memory:"), qdrant.models
    store.create_collection("atlas", models.VectorParams(size=2, distance=models.Distance.DOT))
    store.upsert("atlas", [models.PointStruct(id=7, vector=[0.0, 0.5])])

    class Store(BaseRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
            points = store.query_points("atlas", [0.0, 1.0]).points
            return [Document("Rain.", metadata={"_id": point.id}) for point in points]

    Store().invoke("weather?")
    (search,) = (span.attributes or {} for span in spans.get_finished_spans())
    assert search["gen_ai.retrieval.documents"] == '[{"id":"7","score":0.5}]'


@pytest.mark.parametrize("asynchronous", [False, True])
def test_calls_of_a_batch_belong_to_their_chains(spans: InMemorySpanExporter, asynchronous: bool) -> None:
    """A batch runs each step for all its inputs, and the calls are below the chains all the same."""
    chain = ChatPromptTemplate.from_template("{q}") | model()
    with llmtrace.tag(feature="trip"):
        asyncio.run(chain.abatch([{"q": "a"}] * 2)) if asynchronous else chain.batch([{"q": "a"}] * 2)
    assert tree(spans.get_finished_spans()) == ["invoke_workflow RunnableSequence", "  chat gpt-4o-mini"] * 2


def test_call_without_a_chain_has_no_other_span(spans: InMemorySpanExporter) -> None:
    """A model that is called directly has the span of its call and no other."""
    model().invoke("weather?")
    assert tree(spans.get_finished_spans()) == ["chat gpt-4o-mini"]


class State(TypedDict):
    cities: list[str]
    reports: Annotated[list[str], operator.add]


def fan_out(ask: Any) -> Any:
    """Return a graph with a node that runs once for each city, in parallel."""
    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_conditional_edges(START, lambda state: [Send("ask", {"cities": [city]}) for city in state["cities"]])
    graph.add_edge("ask", END)
    return graph.compile()


def _report(state: Any, city: str) -> Any:
    with llmtrace.retrieval("atlas") as search:
        search.add([(city, 0.5)])
    return {"reports": [model().invoke(city).content]}


async def _report_async(state: Any) -> Any:
    with llmtrace.retrieval("atlas") as search:
        search.add([(state["cities"][0], 0.5)])
    return {"reports": [(await model().ainvoke("weather?")).content]}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_parallel_branches_keep_their_own_calls(spans: InMemorySpanExporter, asynchronous: bool) -> None:
    """Each branch has its own calls and names its own documents."""
    state = {"cities": ["a", "b", "c"]}
    if asynchronous:
        asyncio.run(fan_out(_report_async).ainvoke(state))
    else:
        fan_out(lambda state: _report(state, state["cities"][0])).invoke(state)
    finished = spans.get_finished_spans()
    branch = ["  invoke_workflow ask", "    retrieval", "    chat gpt-4o-mini"]
    assert tree(finished) == ["invoke_workflow LangGraph", *branch * 3]
    check_money(finished, calls=3)
    by_parent: dict[int, list[Any]] = {}
    for span in finished:
        if "llmtrace.retrieval.document_ids" in (span.attributes or {}) and span.parent is not None:
            by_parent.setdefault(span.parent.span_id, []).append(span)
    for children in by_parent.values():
        assert len({(span.attributes or {})["llmtrace.retrieval.document_ids"] for span in children}) == 1


def test_call_in_a_thread_of_the_application_belongs_to_its_node(spans: InMemorySpanExporter) -> None:
    """A thread that inherits no context has the parent that the config names, and keeps none of it."""

    def ask(state: Any, config: RunnableConfig) -> Any:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(model().invoke, "weather?", config).result()
            parts = pool.submit(model().stream, "weather?", config).result()
            pool.submit(next, parts).result()
            pool.submit(model().invoke, "weather?").result()
            pool.submit(list, parts).result()
        return {"reports": []}

    fan_out(ask).invoke({"cities": ["a"]})
    assert tree(spans.get_finished_spans()) == [
        "invoke_workflow LangGraph",
        "  invoke_workflow ask",
        "    chat gpt-4o-mini",
        "    chat gpt-4o-mini",
        "chat gpt-4o-mini",
    ]


def test_graph_inside_a_node_is_below_it(spans: InMemorySpanExporter) -> None:
    """An agent that is a node of a graph has its run below the node."""
    graph = StateGraph(dict)
    graph.add_node("expert", meteo())
    graph.add_edge(START, "expert")
    graph.compile(name="trip").invoke(QUESTION)
    nested = [f"    {line}" for line in AGENT_TREE]
    assert tree(spans.get_finished_spans()) == ["invoke_workflow trip", "  invoke_workflow expert", *nested]


def react_agent(*tools: Any, **more: Any) -> Any:
    """Return an agent of LangGraph's own constructor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        return prebuilt.create_react_agent(model(), tools=list(tools), **more)


REACT_TREE = [line.replace("workflow model", "workflow agent") for line in AGENT_TREE]


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_agent_of_langgraph_is_an_agent(spans: InMemorySpanExporter, run: Any) -> None:
    """An agent of ``create_react_agent`` has the tree of other agents."""
    run(react_agent(weather, name="meteo"))
    assert tree(spans.get_finished_spans()) == REACT_TREE
    check_money(spans.get_finished_spans(), calls=2)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_agents_are_recognised_inside_a_graph(spans: InMemorySpanExporter, asynchronous: bool) -> None:
    """Agents are those that are nodes or run in one, with or without a name, and other graphs are workflows."""
    plain = StateGraph(MessagesState)
    plain.add_node("step", lambda state: state)
    plain.add_edge(START, "step")
    nodes = {
        "first": create_agent(model(), name="meteo"),
        "second": create_agent(model()),
        "third": react_agent(),
        "fourth": plain.compile(name="plain"),
        "fifth": RunnableLambda(
            create_agent(model(), name="inner").invoke, create_agent(model(), name="inner").ainvoke
        ),
    }
    graph = StateGraph(MessagesState)
    for name, node in nodes.items():
        graph.add_node(name, node)
    for start, end in zip([START, *nodes], nodes, strict=False):
        graph.add_edge(start, end)
    outer = graph.compile(name="trip")
    asyncio.run(outer.ainvoke(QUESTION)) if asynchronous else outer.invoke(QUESTION)
    chat = "        chat gpt-4o-mini"
    assert tree(spans.get_finished_spans()) == [
        "invoke_workflow trip",
        "  invoke_workflow first",
        *("    invoke_agent meteo", "      invoke_workflow model", chat),
        "  invoke_workflow second",
        *("    invoke_agent LangGraph", "      invoke_workflow model", chat),
        "  invoke_workflow third",
        *("    invoke_agent LangGraph", "      invoke_workflow agent", chat),
        "  invoke_workflow fourth",
        *("    invoke_workflow plain", "      invoke_workflow step"),
        "  invoke_workflow fifth",
        *("    invoke_agent inner", "      invoke_workflow model", chat),
    ]


def test_agent_that_is_a_tool_is_below_the_tool(spans: InMemorySpanExporter) -> None:
    """An agent that another manages by a tool is an agent too, also one that is built before ``instrument()``."""

    @tool
    def ask(city: str) -> str:
        """Ask the expert."""
        return str(expert.invoke(QUESTION)["messages"][-1].content)

    llmtrace.uninstrument()
    expert = create_agent(model(), name="expert")
    boss = create_agent(model(), tools=[ask], name="boss")
    provider, exporter = provider_and_exporter()
    with llmtrace.instrument(tracer_provider=provider, strict=True):
        boss.invoke(QUESTION)
    assert tree(exporter.get_finished_spans())[:6] == [
        "invoke_agent boss",
        "  invoke_workflow model",
        "    chat gpt-4o-mini",
        "  invoke_workflow tools",
        "    execute_tool ask",
        "      invoke_agent expert",
    ]


def test_agent_keeps_its_name_in_a_run_with_another(spans: InMemorySpanExporter) -> None:
    """The name of a run replaces that of an agent without a name alone."""
    meteo().invoke(QUESTION, {"run_name": "trip"})
    create_agent(model()).invoke(QUESTION, {"run_name": "trip"})
    names = [span.name for span in spans.get_finished_spans() if span.name.startswith("invoke_agent")]
    assert names == ["invoke_agent meteo", "invoke_agent trip"]


def test_tasks_of_the_functional_api_have_spans(spans: InMemorySpanExporter) -> None:
    """Tasks that run in parallel are below their entry point, each with its own call."""

    @task
    def ask(city: str) -> str:
        return str(model().invoke(city).content)

    @entrypoint()
    def flow(cities: list[str]) -> list[str]:
        return [each.result() for each in [ask(city) for city in cities]]

    assert flow.invoke(["a", "b"]) == ["sunny", "sunny"]
    entry = ["invoke_workflow LangGraph", "  invoke_workflow flow"]
    assert sorted(tree(spans.get_finished_spans())) == sorted(
        [*entry, *["    invoke_workflow ask", "      chat gpt-4o-mini"] * 2]
    )


def test_errors_end_every_span(spans: InMemorySpanExporter, agent_server: AgentServer) -> None:
    """The error of a call reaches the application, and the spans above it record its class."""
    agent_server.status = 400
    with pytest.raises(Exception, match="400"):
        meteo().invoke(QUESTION)
    finished = spans.get_finished_spans()
    assert tree(finished) == AGENT_TREE[:3]
    assert {(span.attributes or {})["error.type"] for span in finished} == {"400"}
    assert {span.status.status_code.name for span in finished} == {"ERROR"}


def test_interrupt_is_not_an_error(spans: InMemorySpanExporter) -> None:
    """A node that waits for a person is cancelled, its graph is not, and resuming continues in another trace."""
    graph = StateGraph(State)
    graph.add_node("approve", lambda state: {"reports": [interrupt("go on?")]})
    graph.add_edge(START, "approve")
    graph.compile(checkpointer=InMemorySaver()).invoke({"cities": []}, {"configurable": {"thread_id": "t"}})
    outcomes = {span.name: (span.attributes or {})["llmtrace.outcome"] for span in spans.get_finished_spans()}
    assert outcomes == {"invoke_workflow LangGraph": "ok", "invoke_workflow approve": "cancelled"}
    assert {span.status.status_code.name for span in spans.get_finished_spans()} == {"UNSET"}


def test_stream_that_is_left_ends_its_spans(spans: InMemorySpanExporter) -> None:
    """A caller that leaves a stream ends the run, and its own context is unchanged between the parts."""
    stream = meteo().stream(QUESTION, stream_mode="updates")
    next(stream)
    assert llmtrace.current().agent is None
    assert "invoke_agent meteo" not in [span.name for span in spans.get_finished_spans()]
    stream.close()
    assert (only(spans.get_finished_spans(), "invoke_agent meteo").attributes or {})["llmtrace.outcome"] == "ok"


def test_cancelled_run_ends_its_spans(spans: InMemorySpanExporter) -> None:
    """A run that is cancelled ends with all the runs inside."""
    started = asyncio.Event()

    @tool
    async def wait(city: str) -> str:
        """Wait."""
        started.set()
        await asyncio.sleep(60)
        return city

    async def run() -> None:
        task = asyncio.create_task(meteo(wait).ainvoke(QUESTION))
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    outcomes = {span.name: (span.attributes or {})["llmtrace.outcome"] for span in spans.get_finished_spans()}
    assert outcomes["execute_tool wait"] == outcomes["invoke_agent meteo"] == "cancelled"


def test_budget_holds_inside(spans: InMemorySpanExporter) -> None:
    """A budget refuses the second call of an agent, and the application gets the exception."""
    with llmtrace.tag(user="ada"):
        llmtrace.budget("run", usd=1e-5, per="total", by="user", action="block")
        with pytest.raises(llmtrace.BudgetExceeded):
            meteo().invoke(QUESTION)


def test_content_is_recorded_on_request(content_spans: InMemorySpanExporter) -> None:
    """With content on, agents, tools and searches have their inputs and outputs."""
    meteo().invoke(QUESTION)
    finished = content_spans.get_finished_spans()
    agent = only(finished, "invoke_agent meteo").attributes or {}
    assert "weather in Paris?" in str(agent["gen_ai.input.messages"])
    assert "sunny" in str(agent["gen_ai.output.messages"])
    planned = next(span for span in finished if span.name == "invoke_workflow model").attributes or {}
    assert "call_1" in str(planned["gen_ai.output.messages"])  # the call of the tool: the message has no text
    called = only(finished, "execute_tool weather").attributes or {}
    assert called["gen_ai.tool.call.arguments"] == '{"city":"Paris"}'
    assert "sunny in Paris" in str(called["gen_ai.tool.call.result"])


def test_configuration_of_a_run_can_be_pickled(spans: InMemorySpanExporter) -> None:
    """A node can send its configuration to another process, and the handler in it stays the only one."""

    def send(_: Any, config: RunnableConfig) -> Any:
        received = pickle.loads(pickle.dumps(config))
        return received["callbacks"].handlers == config["callbacks"].handlers  # type: ignore[union-attr]

    assert RunnableLambda(send).invoke("x") is True
    assert tree(spans.get_finished_spans()) == ["invoke_workflow send"]


def test_bridge_that_is_left_out_leaves_flat_calls() -> None:
    """Without the bridge, calls are traced as they are: each is a trace."""
    provider, exporter = provider_and_exporter()
    with llmtrace.instrument(tracer_provider=provider, strict=True, clients="-langchain") as instrumentation:
        assert "langchain" in instrumentation.skipped
        meteo().invoke(QUESTION)
        assert tree(exporter.get_finished_spans()) == ["chat gpt-4o-mini"] * 2


def test_uninstrument_restores_the_functions() -> None:
    """The functions of LangChain and LangGraph are the very same objects afterwards, and runs have no spans."""
    hooked = [(config, "_set_config_context"), (_runnable, "_set_config_context"), (BaseRetriever, "ainvoke")]
    before = [vars(owner)[name] for owner, name in hooked]
    provider, exporter = provider_and_exporter()
    with llmtrace.instrument(tracer_provider=provider, strict=True) as instrumentation:
        assert "langchain" in instrumentation.patched
        assert not any(vars(owner)[name] is original for (owner, name), original in zip(hooked, before, strict=True))
    meteo().invoke(QUESTION)
    assert [vars(owner)[name] for owner, name in hooked] == before
    assert exporter.get_finished_spans() == ()


@pytest.mark.faulty
def test_error_of_the_bridge_is_not_seen(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of the bridge loses its spans, is logged once, and leaves the calls and the result as they are."""
    provider, exporter = provider_and_exporter()
    with llmtrace.instrument(tracer_provider=provider):
        monkeypatch.setattr("llmtrace.integrations.langchain._classify", lambda *_: 1 / 0)
        assert meteo().invoke(QUESTION)["messages"][-1].content == "sunny"
        assert [name for name in tree(exporter.get_finished_spans()) if "chat" in name] == ["chat gpt-4o-mini"] * 2
    assert [record.message.splitlines()[0] for record in caplog.records if record.name == "llmtrace"] == [
        "llmtrace could not record a run of LangChain (ZeroDivisionError); the call itself is unaffected"
    ]


def test_release_without_the_hook_is_reported() -> None:
    """A release that has moved the function is reported with one warning, and its calls stay flat."""
    from types import ModuleType

    from llmtrace.integrations import langchain

    assert langchain.install(ModuleType("langchain_core.runnables.config")).missing == [
        "langchain_core.runnables.config._set_config_context"
    ]
