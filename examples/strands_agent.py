"""Trace an agent of Strands Agents, offline. Run ``python examples/strands_agent.py``.

It needs Strands Agents: ``pip install "strands-agents[openai]"``.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from strands import Agent, tool
from strands.models.openai import OpenAIModel

import llmtrace
from _vendor import chunks, print_tree, tool_chunks, vendor

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
# Strands opens its spans itself, through the global provider; llmtrace adds cost and tags to those of the calls.
trace.set_tracer_provider(provider)
llmtrace.instrument()


@tool
def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"Sunny in {city}."


with vendor(tool_chunks("weather", {"city": "Paris"}), chunks("Take a hat.")) as url:
    model = OpenAIModel(client_args={"base_url": f"{url}/v1", "api_key": "none"}, model_id="gpt-4.1-mini")
    agent = Agent(model, name="stylist", tools=[weather], callback_handler=None)
    with llmtrace.tag(feature="trip"):
        print(agent("What shall I wear in Paris?"))

llmtrace.flush()
print_tree(exporter.get_finished_spans())
