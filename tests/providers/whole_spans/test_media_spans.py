"""Whole spans of OpenAI's embeddings, images and transcriptions."""

from __future__ import annotations

import openai
import pytest
from inline_snapshot import snapshot
from span_vendor import PORT, Span, Vendor

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*[Ii]nteractions.*"),
]


def test_openai_embedding_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """An embedding has input tokens only, and the length of its vectors."""
    vendor.respond(
        {
            "object": "list",
            "model": "text-embedding-3-small",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2, 0.3]}],
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        }
    )
    openai_client.embeddings.create(
        model="text-embedding-3-small", input=["Why is the sky blue?"], dimensions=3, encoding_format="float"
    )
    assert span() == snapshot(
        (
            "embeddings text-embedding-3-small",
            {
                "embedding.invocation_parameters": '{"dimensions":3,"encoding_format":"float"}',
                "embedding.model_name": "text-embedding-3-small",
                "gen_ai.embeddings.dimension.count": 3,
                "gen_ai.operation.name": "embeddings",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.encoding_formats": ("float",),
                "gen_ai.request.model": "text-embedding-3-small",
                "gen_ai.response.model": "text-embedding-3-small",
                "gen_ai.usage.cost": 8e-06,
                "gen_ai.usage.input_tokens": 8,
                "llm.cost.prompt": 8e-06,
                "llm.cost.prompt_details.input": 8e-06,
                "llm.cost.total": 8e-06,
                "llmtrace.api": "openai.embeddings.create",
                "llmtrace.cost.exact": "0.000008",
                "llmtrace.cost.model": "text-embedding-3-small",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"dimensions":3,"encoding_format":"float"}',
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "EMBEDDING",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_openai_image_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """An image counts the tokens of text and image separately."""
    vendor.respond(
        {
            "created": 0,
            "data": [{"b64_json": "aaaa"}],
            "usage": {
                "input_tokens": 50,
                "output_tokens": 4160,
                "total_tokens": 4210,
                "input_tokens_details": {"text_tokens": 50, "image_tokens": 0},
            },
        }
    )
    openai_client.images.generate(model="gpt-image-1.5", prompt="a blue sky", size="1024x1024")
    assert span() == snapshot(
        (
            "generate_content gpt-image-1.5",
            {
                "gen_ai.operation.name": "generate_content",
                "gen_ai.output.type": "image",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-image-1.5",
                "gen_ai.usage.cost": 0.04165,
                "gen_ai.usage.image.output_tokens": 4160,
                "gen_ai.usage.input_tokens": 50,
                "gen_ai.usage.output_tokens": 4160,
                "gen_ai.usage.text.input_tokens": 50,
                "llm.cost.completion": 0.0416,
                "llm.cost.completion_details.output": 0.0416,
                "llm.cost.prompt": 5e-05,
                "llm.cost.prompt_details.input": 5e-05,
                "llm.cost.total": 0.04165,
                "llm.invocation_parameters": '{"size":"1024x1024"}',
                "llm.model_name": "gpt-image-1.5",
                "llmtrace.api": "openai.images.generate",
                "llmtrace.cost.exact": "0.04165",
                "llmtrace.cost.model": "gpt-image-1.5",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"size":"1024x1024"}',
                "llmtrace.usage.images": 1,
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_openai_transcription_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """A transcription counts audio tokens as part of its input."""
    vendor.respond(
        {
            "text": "Why is the sky blue?",
            "usage": {
                "type": "tokens",
                "input_tokens": 30,
                "input_token_details": {"audio_tokens": 28, "text_tokens": 2},
                "output_tokens": 6,
                "total_tokens": 36,
            },
        }
    )
    openai_client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("question.wav", b"RIFF"))
    assert span() == snapshot(
        (
            "generate_content gpt-4o-transcribe",
            {
                "gen_ai.operation.name": "generate_content",
                "gen_ai.output.type": "text",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o-transcribe",
                "gen_ai.usage.audio.input_tokens": 28,
                "gen_ai.usage.cost": 9e-05,
                "gen_ai.usage.input_tokens": 30,
                "gen_ai.usage.output_tokens": 6,
                "gen_ai.usage.text.input_tokens": 2,
                "llm.cost.completion": 6e-05,
                "llm.cost.completion_details.output": 6e-05,
                "llm.cost.prompt": 3e-05,
                "llm.cost.prompt_details.input": 3e-05,
                "llm.cost.total": 9e-05,
                "llm.model_name": "gpt-4o-transcribe",
                "llm.token_count.prompt_details.audio": 28,
                "llmtrace.api": "openai.audio.transcriptions.create",
                "llmtrace.cost.exact": "0.00009",
                "llmtrace.cost.model": "gpt-4o-transcribe",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )
