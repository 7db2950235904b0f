"""Trace automatic function calling, offline. Run ``python examples/gemini_functions.py``.

It needs the Gemini SDK: ``pip install -e '.[google-genai]'``.
"""

from __future__ import annotations

from typing import Any

from google import genai
from google.genai import types
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

import llmtrace
from _vendor import vendor


def response(part: dict[str, Any], prompt: int, output: int) -> dict[str, Any]:
    content = {"role": "model", "parts": [part]}
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": output, "totalTokenCount": prompt + output}
    return {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": usage}


def show(span: ReadableSpan) -> str:
    return f"{span.name}: {(span.attributes or {}).get('gen_ai.usage.input_tokens', '-')} tokens in\n"


def weather(city: str) -> str:
    """Return the weather in a city."""
    return "sunny"


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=show)))
llmtrace.instrument(tracer_provider=provider)

TOOL_CALL = response({"functionCall": {"name": "weather", "args": {"city": "Paris"}}}, 10, 3)
TEXT = response({"text": "It is sunny in Paris."}, 20, 6)
with vendor(TOOL_CALL, TEXT) as url:
    client = genai.Client(api_key="none", http_options=types.HttpOptions(base_url=url))
    chat = client.chats.create(model="gemini-3-flash", config={"tools": [weather]})
    print(chat.send_message("What is the weather in Paris?").text)
llmtrace.flush()
