"""Trace the attempts of Instructor, offline. Run ``python examples/instructor_retries.py``.

It needs Instructor: ``pip install instructor``.
"""

from __future__ import annotations

import instructor
import openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

import llmtrace
from _vendor import print_tree, tool_request, vendor

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
llmtrace.instrument(tracer_provider=provider)


class Weather(BaseModel):
    degrees: int


with vendor(tool_request("Weather", {"degrees": "warm"}), tool_request("Weather", {"degrees": 24})) as url:
    client = instructor.from_openai(openai.OpenAI(base_url=f"{url}/v1", api_key="none"))
    weather = client.chat.completions.create(
        model="gpt-4.1-mini",
        response_model=Weather,
        max_retries=2,
        messages=[{"role": "user", "content": "How warm is it in Paris?"}],
    )
    print(weather.degrees)

llmtrace.flush()
print_tree(exporter.get_finished_spans())
