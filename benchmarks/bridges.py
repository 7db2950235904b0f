"""Cost of the bridges to frameworks: CPU time that each adds to one event of the framework.

Run it with ``python benchmarks/bridges.py [NAME ...]``. A span has two events, its start and its end. Each framework
runs without a model: with a handler of its own kind that does nothing, with one that writes a span by hand, with the
bridge and content off, and with content on. The processor of the spans does nothing; with "read" it reads the
attributes as an exporter does. A span written by hand in a loop is measured for comparison.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import partial
from importlib.metadata import version
from statistics import median
from typing import Any, NamedTuple

from by_hand import cpu
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import Span, set_span_in_context

import llmtrace

ROUNDS, RUNS, WARM = 12, 25, 5
TEXT = "sunny in Paris, with a light wind from the west " * 4


class Counting(SpanProcessor):
    """Counts spans, and reads their attributes if ``reads`` is set."""

    spans = 0
    reads = False

    def on_end(self, span: ReadableSpan) -> None:
        Counting.spans += 1
        if self.reads:
            dict(span.attributes or {})


processor = Counting()
provider = TracerProvider()
provider.add_span_processor(processor)


class Framework(NamedTuple):
    """A framework, and one run of it."""

    distribution: str
    run: Callable[[], Any]
    handle: Callable[[Event, Event], AbstractContextManager[None]]
    """Installs a handler that calls the first function when a span starts, and the second when it ends."""


Event = Callable[[], None]
NAMED = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather", "gen_ai.tool.type": "function"}


def ignore() -> None:
    """Do nothing with an event."""


def write_by_hand() -> tuple[Event, Event]:
    """Return functions that start and end a span with the attributes of a tool, below the one that is open."""
    tracer = provider.get_tracer("by hand")
    open_spans: list[Span] = []

    def start() -> None:
        parent = set_span_in_context(open_spans[-1]) if open_spans else None
        open_spans.append(tracer.start_span("execute_tool weather", parent, attributes=NAMED))

    def end() -> None:
        span = open_spans.pop()
        span.set_attribute("openinference.span.kind", "TOOL")
        span.set_attribute("llmtrace.outcome", "ok")
        span.end()

    return start, end


def langchain() -> Framework:
    """Return a graph of two nodes, which call a tool and a retriever."""
    os.environ["LANGSMITH_TRACING"] = "false"
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.tools import tool
    from langchain_core.tracers import context
    from langgraph.graph import END, START, StateGraph

    @tool
    def weather(city: str) -> str:
        """Weather of a city."""
        return TEXT

    class Manuals(BaseRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
            return [Document(TEXT, id="d1", metadata={"score": 0.5}), Document(TEXT, id="d2")]

    manuals = Manuals()
    graph: Any = StateGraph(dict)
    graph.add_node("act", lambda state: {**state, "weather": weather.invoke({"city": "Paris"})})
    graph.add_node("search", lambda state: {**state, "found": len(manuals.invoke("rain"))})
    graph.add_edge(START, "act")
    graph.add_edge("act", "search")
    graph.add_edge("search", END)
    compiled = graph.compile()

    @contextmanager
    def handle(start: Event, end: Event) -> Iterator[None]:
        steps = {"start": lambda *_, **__: start(), "end": lambda *_, **__: end()}
        kinds = "chain", "tool", "retriever"
        methods = {f"on_{kind}_{step}": method for kind in kinds for step, method in steps.items()}
        handler = type("Handler", (BaseCallbackHandler,), {"run_inline": True, **methods})()
        hooks = list(context._configure_hooks)
        variable: ContextVar[Any] = ContextVar("handler", default=handler)
        context._configure_hooks[:] = []  # without the handler of llmtrace, which LangChain never forgets
        context.register_configure_hook(variable, inheritable=True)
        yield
        context._configure_hooks[:] = hooks

    return Framework("langchain-core", lambda: compiled.invoke({"question": TEXT}), handle)


def openai_agents() -> Framework:
    """Return a trace with an agent and two tools."""
    from agents import TracingProcessor, agent_span, function_span, set_trace_processors, trace

    set_trace_processors([])

    def run() -> None:
        with trace("trip", group_id="c-1"), agent_span("meteo"):
            for _ in range(2):
                with function_span("weather", input='{"city": "Paris"}', output=TEXT):
                    pass

    @contextmanager
    def handle(start: Event, end: Event) -> Iterator[None]:
        methods: dict[str, Any] = {"shutdown": ignore, "force_flush": ignore}
        methods |= dict.fromkeys(("on_trace_start", "on_span_start"), lambda *_: start())
        methods |= dict.fromkeys(("on_trace_end", "on_span_end"), lambda *_: end())
        set_trace_processors([type("Handler", (TracingProcessor,), methods)()])
        yield
        set_trace_processors([])

    return Framework("openai-agents", run, handle)


def llama_index() -> Framework:
    """Return a tool that searches with a retriever."""
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.schema import NodeWithScore, TextNode
    from llama_index.core.tools import FunctionTool
    from llama_index_instrumentation import root_dispatcher
    from llama_index_instrumentation.span_handlers import NullSpanHandler

    class Manuals(BaseRetriever):
        def _retrieve(self, query_bundle: Any) -> list[NodeWithScore]:
            return [NodeWithScore(node=TextNode(id_=f"d{number}", text=TEXT), score=0.5) for number in range(2)]

    manuals = Manuals()
    search = FunctionTool.from_defaults(lambda query: str(len(manuals.retrieve(query))), name="search")

    @contextmanager
    def handle(start: Event, end: Event) -> Iterator[None]:
        handlers = list(root_dispatcher.span_handlers)
        methods = {"span_enter": lambda *_, **__: start(), "span_exit": lambda *_, **__: end()}
        root_dispatcher.add_span_handler(type("Handler", (NullSpanHandler,), {"__module__": __name__, **methods})())
        yield
        root_dispatcher.span_handlers = handlers

    return Framework("llama-index-core", lambda: search.call(query="rain"), handle)


def haystack() -> Framework:
    """Return the spans of a pipeline with a retriever and two other components."""
    os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")
    from haystack import Document, tracing
    from haystack.tracing.tracer import NullTracer

    found = [Document(id="d1", content=TEXT, score=0.5), Document(id="d2", content=TEXT, score=0.4)]

    def run() -> None:
        with tracing.tracer.trace("haystack.pipeline.run", {"haystack.pipeline.metadata": {"name": "rag"}}) as pipeline:
            pipeline.set_content_tag("haystack.pipeline.input_data", {"question": TEXT})
            for name, kind in (("prompt", "PromptBuilder"), ("search", "BM25Retriever"), ("join", "DocumentJoiner")):
                tags = {"haystack.component.name": name, "haystack.component.type": kind}
                with tracing.tracer.trace("haystack.component.run", tags, parent_span=pipeline) as span:
                    span.set_content_tag("haystack.component.input", {"query": "rain", "top_k": 2})
                    span.set_content_tag("haystack.component.output", {"documents": found})
            pipeline.set_content_tag("haystack.pipeline.output_data", {"answer": TEXT})

    @contextmanager
    def handle(start: Event, end: Event) -> Iterator[None]:
        class Handler(NullTracer):
            @contextmanager
            def trace(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
                start()
                with super().trace(*args, **kwargs) as span:
                    yield span
                end()

        tracing.enable_tracing(Handler())
        yield
        tracing.disable_tracing()

    return Framework("haystack-ai", run, handle)


def smolagents() -> Framework:
    """Return two calls of a tool. The library has no handlers: a wrapper that does nothing takes their place."""
    from smolagents import Tool, tool

    @tool
    def weather(city: str) -> str:
        """Weather of a city.

        Args:
            city: The city.
        """
        return TEXT

    def run() -> None:
        for _ in range(2):
            weather(city="Paris")

    return Framework("smolagents", run, partial(wrapped, Tool, "__call__"))


def qdrant() -> Framework:
    """Return a search of a collection in memory."""
    from qdrant_client import QdrantClient, models

    store = QdrantClient(":memory:")
    store.create_collection("atlas", models.VectorParams(size=2, distance=models.Distance.COSINE))
    points = [models.PointStruct(id=number, vector=[0.1, 0.9], payload={"text": TEXT}) for number in (1, 2)]
    store.upsert("atlas", points)
    run = lambda: store.query_points("atlas", [0.2, 0.8], limit=2)  # noqa: E731
    return Framework("qdrant-client", run, partial(wrapped, QdrantClient, "query_points"))


def crewai() -> Framework:
    """Return two calls of a tool."""
    os.environ.setdefault("CREWAI_DISABLE_TELEMETRY", "true")
    import crewai  # noqa: F401 - the bridge is installed with it
    from crewai.tools import BaseTool, tool
    from crewai.tools.base_tool import Tool

    @tool("weather")
    def weather(city: str) -> str:
        """Weather of a city."""
        return TEXT

    def run() -> None:
        for _ in range(2):
            weather.run(city="Paris")

    return Framework("crewai", run, partial(wrapped, Tool if "run" in vars(Tool) else BaseTool, "run"))


def dspy() -> Framework:
    """Return a program that calls a tool twice."""
    from dspy import Module, Tool

    def weather(city: str) -> str:
        """Weather of a city."""
        return TEXT

    tool = Tool(weather)

    class Trip(Module):  # type: ignore[misc]  # no types
        def forward(self, question: str) -> str:
            return "".join(tool(city="Paris") for _ in range(2))

    @contextmanager
    def handle(start: Event, end: Event) -> Iterator[None]:
        with wrapped(Module, "__call__", start, end), wrapped(Tool, "__call__", start, end):
            yield

    trip = Trip()
    return Framework("dspy", lambda: trip(question="weather?"), handle)


def instructor() -> Framework:
    """Return a response model that is valid at the first attempt."""
    from instructor import Mode, patch
    from instructor.v2.core import patch as module
    from openai.types.chat import ChatCompletion
    from pydantic import BaseModel

    class Weather(BaseModel):
        text: str

    message = {"role": "assistant", "content": Weather(text=TEXT).model_dump_json()}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    about = {"id": "c", "created": 0, "model": "m", "object": "chat.completion"}
    answer = ChatCompletion.model_validate({**about, "choices": [choice]})
    create: Any = patch(create=lambda **_: answer, mode=Mode.JSON)

    def run() -> None:
        create(model="m", messages=[{"role": "user", "content": "weather?"}], response_model=Weather)

    return Framework("instructor", run, partial(wrapped, module, "retry_sync_v2"))


@contextmanager
def wrapped(owner: Any, name: str, start: Event, end: Event) -> Iterator[None]:
    """Wrap a method or function in one that calls ``start`` before it and ``end`` after it."""
    import wrapt

    def call(method: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        start()
        result = method(*args, **kwargs)
        end()
        return result

    original = vars(owner)[name]
    setattr(owner, name, wrapt.FunctionWrapper(original, call))
    yield
    setattr(owner, name, original)


FRAMEWORKS = (langchain, openai_agents, llama_index, haystack, smolagents, crewai, dspy, instructor, qdrant)


def measure(framework: Framework) -> tuple[int, int, list[float]]:
    """Return events and spans of a run, and nanoseconds: no-op, by hand, content off, off and read, on, on and read."""
    events = 0

    def count() -> None:
        nonlocal events
        events += 1

    def run(times: int) -> None:
        for _ in range(times):
            framework.run()

    with framework.handle(count, count):
        framework.run()
    with llmtrace.instrument(tracer_provider=provider, strict=True):
        before = Counting.spans
        framework.run()
        spans = Counting.spans - before
    rounds: list[list[float]] = []
    for number in range(ROUNDS + 1):
        found = [0.0] * 6
        for turn in range(6):  # who goes first changes
            which = (number + turn) % 6
            processor.reads = which in (3, 5)
            if which < 2:
                with framework.handle(*(write_by_hand() if which else (ignore, ignore))):
                    found[which] = cpu(run, RUNS, WARM)
            else:
                content = "no_content" if which < 4 else "span_only"
                with llmtrace.instrument(tracer_provider=provider, capture_content=content):
                    found[which] = cpu(run, RUNS, WARM)
        rounds.append(found)
    return events, spans, [median(column) for column in zip(*rounds[1:], strict=True)]


def by_hand() -> tuple[float, float]:
    """Return the microseconds of a span without attributes, and of one with the attributes of a tool."""
    tracer = provider.get_tracer("by hand")

    def bare(times: int) -> None:
        for _ in range(times):
            with tracer.start_as_current_span("execute_tool weather"):
                pass

    def described(times: int) -> None:
        for _ in range(times):
            with tracer.start_as_current_span("execute_tool weather", attributes=NAMED) as span:
                span.set_attribute("openinference.span.kind", "TOOL")
                span.set_attribute("llmtrace.outcome", "ok")

    rounds = [[cpu(way, 500, 20) / 1e3 for way in (bare, described)] for _ in range(ROUNDS)]
    bare_time, described_time = (median(column) for column in zip(*rounds, strict=True))
    return bare_time, described_time


def main() -> None:
    """Print one row for each framework that is installed."""
    chosen = sys.argv[1:]
    bare, described = (each / 2 for each in by_hand())
    print(f"Python {sys.version.split()[0]}, opentelemetry-sdk {version('opentelemetry-sdk')}, CPU time\n")
    print(f"span by hand: {bare:.1f} us an event without attributes, {described:.1f} us with five of a tool\n")
    titles = ("no-op", "by hand", "off", "read", "on", "read")
    print(f"{'microseconds an event':28}{'events':>7}{'spans':>6}" + "".join(f"{title:>8}" for title in titles))
    for make in FRAMEWORKS:
        if chosen and make.__name__ not in chosen:
            continue
        try:
            framework = make()
        except ImportError as error:
            print(f"{make.__name__:28}not installed: {error}")
            continue
        events, spans, (base, *times) = measure(framework)
        added = [base / 1e3 / events, *((each - base) / 1e3 / events for each in times)]
        name = f"{framework.distribution} {version(framework.distribution)}"
        print(f"{name:28}{events:7}{spans:6}" + "".join(f"{each:8.1f}" for each in added))
    print("\nno-op: the whole run with a handler that does nothing; the others: what is added to that")


if __name__ == "__main__":
    main()
