"""Trace an agent of smolagents, offline. Run ``python examples/smolagents_run.py``.

It needs smolagents: ``pip install -e '.[frameworks]'``.
"""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from smolagents import OpenAIModel, ToolCallingAgent, tool

import llmtrace
from _vendor import print_tree, tool_request, vendor

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
llmtrace.instrument(tracer_provider=provider)


@tool
def weather(city: str) -> str:
    """Return the weather of a city.

    Args:
        city: The city.
    """
    return f"Sunny in {city}."


with vendor(tool_request("weather", {"city": "Paris"}), tool_request("final_answer", {"answer": "Take a hat."})) as url:
    model = OpenAIModel("gpt-4.1-mini", api_base=f"{url}/v1", api_key="none")
    agent = ToolCallingAgent(tools=[weather], model=model, name="stylist", description="advises", verbosity_level=0)
    print(agent.run("What shall I wear in Paris?"))

llmtrace.flush()
print_tree(exporter.get_finished_spans())
