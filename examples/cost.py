"""Show the cost of calls, and block them with a budget, offline. Run ``python examples/cost.py``."""

from __future__ import annotations

import openai
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

import llmtrace
from _vendor import completion, vendor


def show(span: ReadableSpan) -> str:
    attributes = {name: value for name, value in (span.attributes or {}).items() if "cost" in name or "budget" in name}
    return f"{attributes}\n"


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=show)))
llmtrace.instrument(tracer_provider=provider)
llmtrace.budget("demo", usd="0.00025", per="total", by=None, action="block")

RESPONSE = completion("Rayleigh scattering.", model="gpt-4o-mini", prompt=1200, cached=1024)
with vendor(RESPONSE) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
    for _ in range(3):
        try:
            client.chat.completions.create(
                model="gpt-4o-mini", max_tokens=64, messages=[{"role": "user", "content": "Why is the sky blue?"}]
            )
        except llmtrace.BudgetExceeded as error:
            print("blocked:", error)
llmtrace.flush()
