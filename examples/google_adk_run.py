"""Trace an agent of Google's ADK, offline. Run ``python examples/google_adk_run.py``.

It needs ADK: ``pip install google-adk``.
"""

from __future__ import annotations

import asyncio
import os

from google.adk.agents import LlmAgent
from google.adk.runners import InMemoryRunner
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from _vendor import print_tree, vendor

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
# ADK opens its spans itself, through the global provider; llmtrace adds cost and tags to those of the calls.
trace.set_tracer_provider(provider)
llmtrace.instrument()


def response(part: dict[str, object]) -> dict[str, object]:
    """Return a response of Gemini with this part."""
    candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}
    usage = {"promptTokenCount": 12, "candidatesTokenCount": 64, "totalTokenCount": 76}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}


def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"Sunny in {city}."


async def main() -> None:
    runner = InMemoryRunner(LlmAgent(name="stylist", model="gemini-2.5-flash", tools=[weather]), app_name="demo")
    with llmtrace.tag(feature="trip"):
        for event in await runner.run_debug("What shall I wear in Paris?", quiet=True):
            print(*(part.text for part in event.content.parts if part.text))


request = {"functionCall": {"name": "weather", "args": {"city": "Paris"}}}
with vendor(response(request), response({"text": "Take a hat."})) as url:
    os.environ |= {"GOOGLE_API_KEY": "none", "GOOGLE_GEMINI_BASE_URL": url}
    asyncio.run(main())
llmtrace.flush()
print_tree(exporter.get_finished_spans())
