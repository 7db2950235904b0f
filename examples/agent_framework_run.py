"""Trace an agent of Microsoft's Agent Framework, offline. Run ``python examples/agent_framework_run.py``.

It needs the Agent Framework: ``pip install agent-framework-core agent-framework-openai``.
"""

from __future__ import annotations

import asyncio

from agent_framework import Agent
from agent_framework.openai import OpenAIChatCompletionClient
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from _vendor import completion, print_tree, tool_request, vendor

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
# The framework opens its spans itself, through the global provider; llmtrace adds cost and tags to those of the calls.
trace.set_tracer_provider(provider)
llmtrace.instrument()


def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"Sunny in {city}."


async def main() -> None:
    with vendor(tool_request("weather", {"city": "Paris"}), completion("Take a hat.")) as url:
        client = OpenAIChatCompletionClient("gpt-4.1-mini", base_url=f"{url}/v1", api_key="none")
        agent = Agent(client, name="stylist", tools=[weather])
        with llmtrace.tag(feature="trip"):
            print((await agent.run("What shall I wear in Paris?")).text)


asyncio.run(main())
llmtrace.flush()
print_tree(exporter.get_finished_spans())
