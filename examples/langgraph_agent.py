"""Trace an agent of LangChain and the graph that it runs in, offline. Run ``python examples/langgraph_agent.py``.

It needs LangChain: ``pip install -e '.[frameworks]'``.
"""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from _vendor import completion, print_tree, tool_request, vendor

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
llmtrace.instrument(tracer_provider=provider)


@tool
def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"Sunny in {city}."


with vendor(tool_request("weather", {"city": "Paris"}), completion("Take a hat.")) as url:
    model = ChatOpenAI(model="gpt-4.1-mini", base_url=f"{url}/v1", api_key="none")  # type: ignore[arg-type] # no secret
    graph = StateGraph(MessagesState)
    graph.add_node("advise", create_agent(model, tools=[weather], name="stylist"))
    graph.add_edge(START, "advise")
    question: Any = {"messages": [{"role": "user", "content": "What shall I wear in Paris?"}]}
    # The id of the thread is the session of everything inside.
    answer = graph.compile(name="trip").invoke(question, {"configurable": {"thread_id": "conversation-1"}})
    print(answer["messages"][-1].content)

llmtrace.flush()
print_tree(exporter.get_finished_spans())
