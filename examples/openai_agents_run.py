"""Trace a run of the OpenAI Agents SDK, offline. Run ``python examples/openai_agents_run.py``.

It needs the SDK: ``pip install -e '.[frameworks]'``.
"""

from __future__ import annotations

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_trace_processors, trace
from openai import AsyncOpenAI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from _vendor import completion, print_tree, tool_request, vendor

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
llmtrace.instrument(tracer_provider=provider)
set_trace_processors([])  # send nothing to OpenAI's own tracing; llmtrace does not need it


@function_tool
def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"Sunny in {city}."


with vendor(tool_request("weather", {"city": "Paris"}), completion("Take a hat.")) as url:
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
    agent = Agent(name="stylist", tools=[weather], model=OpenAIChatCompletionsModel("gpt-4.1-mini", client))
    with trace("trip", group_id="conversation-1"):  # the group is the session of everything inside
        print(Runner.run_sync(agent, "What shall I wear in Paris?").final_output)

llmtrace.flush()
print_tree(exporter.get_finished_spans())
