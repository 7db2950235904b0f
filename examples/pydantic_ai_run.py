"""Trace an agent of Pydantic AI, offline. Run ``python examples/pydantic_ai_run.py``.

It needs Pydantic AI: ``pip install -e '.[frameworks]'``.
"""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import llmtrace
from _vendor import completion, print_tree, tool_request, vendor

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
llmtrace.instrument(tracer_provider=provider)

with vendor(tool_request("weather", {"city": "Paris"}), completion("Take a hat.")) as url:
    model = OpenAIChatModel("gpt-4.1-mini", provider=OpenAIProvider(base_url=f"{url}/v1", api_key="none"))
    agent = Agent(model, name="stylist")
    # Pydantic AI opens the spans itself; llmtrace adds cost and tags to those of the calls.
    agent.instrument = InstrumentationSettings(tracer_provider=provider)

    @agent.tool_plain
    def weather(city: str) -> str:
        return f"Sunny in {city}."

    print(agent.run_sync("What shall I wear in Paris?").output)

llmtrace.flush()
print_tree(exporter.get_finished_spans())
