"""Trace a crew of CrewAI, offline. Run ``python examples/crewai_crew.py``.

It needs CrewAI: ``pip install crewai``.
"""

from __future__ import annotations

import os

os.environ["CREWAI_DISABLE_TELEMETRY"] = "true"  # CrewAI reports its use to its maker unless this is set

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from _vendor import completion, print_tree, tool_request, vendor

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
llmtrace.instrument(tracer_provider=provider)


@tool("weather")
def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"Sunny in {city}."


with vendor(tool_request("weather", {"city": "Paris"}), completion("Take a hat.")) as url:
    model = LLM(model="gpt-4.1-mini", base_url=f"{url}/v1", api_key="none")
    stylist = Agent(role="stylist", goal="give advice", backstory="knows fashion", tools=[weather], llm=model)
    task = Task(description="What shall I wear in Paris?", expected_output="one sentence", agent=stylist, name="advise")
    print(Crew(agents=[stylist], tasks=[task], name="trip").kickoff())

llmtrace.flush()
print_tree(exporter.get_finished_spans())
