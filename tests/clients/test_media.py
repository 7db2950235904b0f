"""Images and audio through the real client."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from openai import AsyncOpenAI, OpenAI
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


def test_transcription_counts_its_tokens(replay: Any, spans: InMemorySpanExporter) -> None:
    """A transcription is one span with the tokens the vendor told, audio apart."""
    with OpenAI(base_url=f"{replay.url}/v1", api_key="x", max_retries=0) as client:
        client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", BytesIO(b"RIFF")))
    (span,) = spans.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert span.name == "generate_content gpt-4o-transcribe"
    assert attributes["gen_ai.output.type"] == "text"
    assert attributes["gen_ai.usage.input_tokens"] == 1
    assert attributes["gen_ai.usage.output_tokens"] == 5
    assert attributes["gen_ai.usage.audio.input_tokens"] == 1


async def test_image_without_usage_says_so(replay: Any, spans: InMemorySpanExporter) -> None:
    """An image whose vendor tells no usage is one span that says the usage is missing."""
    async with AsyncOpenAI(base_url=f"{replay.url}/v1", api_key="x", max_retries=0) as client:
        await client.images.generate(model="dall-e-2", prompt="a white siamese cat", size="256x256")
    (span,) = spans.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert attributes["gen_ai.output.type"] == "image"
    assert attributes["llmtrace.usage.source"] == "missing"
    assert "gen_ai.usage.input_tokens" not in attributes
