"""Trace one call, offline: a loopback server replaces the vendor. Run ``python examples/first_trace.py``."""

from __future__ import annotations

import openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

import llmtrace
from _vendor import completion, vendor

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
llmtrace.instrument(tracer_provider=provider)

with vendor(completion("Blue.")) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
    response = client.chat.completions.create(
        model="gpt-4.1-mini", messages=[{"role": "user", "content": "What colour is the sky?"}]
    )
print(response.choices[0].message.content)
llmtrace.flush()
