"""Read streams to their end, close one and drop one, offline. Run ``python examples/streaming.py``."""

from __future__ import annotations

import gc

import openai
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

import llmtrace
from _vendor import chunks, vendor


def show(span: ReadableSpan) -> str:
    attributes = span.attributes or {}
    names = ("llmtrace.stream.end", "llmtrace.stream.chunks", "gen_ai.usage.output_tokens")
    return ", ".join(f"{name.rpartition('.')[2]} {attributes.get(name)}" for name in names) + "\n"


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=show)))
llmtrace.instrument(tracer_provider=provider)

RESPONSE = chunks("The sky is blue because air scatters blue light.")
with vendor(RESPONSE) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:

    def stream() -> openai.Stream[openai.types.chat.ChatCompletionChunk]:
        return client.chat.completions.create(
            model="gpt-4.1-mini",
            messages=[{"role": "user", "content": "Why is the sky blue?"}],
            stream=True,
            stream_options={"include_usage": True},
        )

    print("".join(chunk.choices[0].delta.content or "" for chunk in stream() if chunk.choices))

    with stream() as closed:  # the span ends when the block does
        next(iter(closed))

    for _ in stream():  # left by ``break``: the span ends when Python collects the stream
        break
    gc.collect()
    llmtrace.flush()
