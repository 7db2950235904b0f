"""Whole spans of Gemini's generateContent, interactions and embeddings."""

from __future__ import annotations

import pytest
from google import genai
from inline_snapshot import snapshot
from span_vendor import PORT, Span, Vendor, needs_interactions

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*[Ii]nteractions.*"),
]
GENERATED = {
    "responseId": "r-1",
    "modelVersion": "gemini-2.5-flash",
    "candidates": [
        {"index": 0, "content": {"role": "model", "parts": [{"text": "Scattering."}]}, "finishReason": "STOP"}
    ],
    "usageMetadata": {
        "promptTokenCount": 8,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 20,
        "totalTokenCount": 33,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}],
    },
}


def test_gemini_generate_content_span(gemini: genai.Client, vendor: Vendor, span: Span) -> None:
    """Generated content adds thoughts to its output tokens."""
    vendor.respond(GENERATED)
    gemini.models.generate_content(
        model="gemini-2.5-flash", contents="Why is the sky blue?", config={"temperature": 0.2, "max_output_tokens": 64}
    )
    assert span() == snapshot(
        (
            "generate_content gemini-2.5-flash",
            {
                "gen_ai.operation.name": "generate_content",
                "gen_ai.provider.name": "gcp.gemini",
                "gen_ai.request.max_tokens": 64,
                "gen_ai.request.model": "gemini-2.5-flash",
                "gen_ai.request.temperature": 0.2,
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "r-1",
                "gen_ai.response.model": "gemini-2.5-flash",
                "gen_ai.usage.cost": 0.000258,
                "gen_ai.usage.input_tokens": 8,
                "gen_ai.usage.output_tokens": 25,
                "gen_ai.usage.reasoning.output_tokens": 20,
                "gen_ai.usage.text.input_tokens": 8,
                "llm.cost.completion": 0.00025,
                "llm.cost.completion_details.output": 0.00025,
                "llm.cost.prompt": 8e-06,
                "llm.cost.prompt_details.input": 8e-06,
                "llm.cost.total": 0.000258,
                "llm.invocation_parameters": '{"temperature":0.2,"maxOutputTokens":64}',
                "llm.model_name": "gemini-2.5-flash",
                "llm.token_count.completion_details.reasoning": 20,
                "llmtrace.api": "google_genai.models.generate_content",
                "llmtrace.cost.exact": "0.000258",
                "llmtrace.cost.model": "gemini-2.5-flash",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"temperature":0.2,"maxOutputTokens":64}',
                "llmtrace.response.finish_reasons_raw": ("STOP",),
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


@needs_interactions
def test_gemini_interaction_span(gemini: genai.Client, vendor: Vendor, span: Span) -> None:
    """An interaction has the counts of its own usage and the id of the interaction."""
    vendor.respond(
        {
            "id": "interaction-1",
            "object": "interaction",
            "created": "2026-01-01T00:00:00Z",
            "updated": "2026-01-01T00:00:00Z",
            "status": "completed",
            "model": "gemini-2.5-flash",
            "outputs": [{"type": "text", "text": "Scattering."}],
            "usage": {
                "total_input_tokens": 8,
                "total_output_tokens": 5,
                "total_thought_tokens": 20,
                "total_tokens": 33,
            },
        }
    )
    gemini.interactions.create(model="gemini-2.5-flash", input="Why is the sky blue?")
    assert span() == snapshot(
        (
            "generate_content gemini-2.5-flash",
            {
                "gen_ai.operation.name": "generate_content",
                "gen_ai.provider.name": "gcp.gemini",
                "gen_ai.request.model": "gemini-2.5-flash",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "interaction-1",
                "gen_ai.response.model": "gemini-2.5-flash",
                "gen_ai.usage.cost": 0.000258,
                "gen_ai.usage.input_tokens": 8,
                "gen_ai.usage.output_tokens": 25,
                "gen_ai.usage.reasoning.output_tokens": 20,
                "llm.cost.completion": 0.00025,
                "llm.cost.completion_details.output": 0.00025,
                "llm.cost.prompt": 8e-06,
                "llm.cost.prompt_details.input": 8e-06,
                "llm.cost.total": 0.000258,
                "llm.model_name": "gemini-2.5-flash",
                "llm.token_count.completion_details.reasoning": 20,
                "llmtrace.api": "google_genai.interactions.create",
                "llmtrace.cost.exact": "0.000258",
                "llmtrace.cost.model": "gemini-2.5-flash",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.response.finish_reasons_raw": ("completed",),
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_gemini_embedding_span(gemini: genai.Client, vendor: Vendor, span: Span) -> None:
    """An embedding of the Gemini API reports no usage, and the span gives the reason for the missing cost."""
    vendor.respond({"embeddings": [{"values": [0.1, 0.2, 0.3]}]})
    gemini.models.embed_content(model="gemini-embedding-001", contents="Why is the sky blue?")
    assert span() == snapshot(
        (
            "embeddings gemini-embedding-001",
            {
                "embedding.model_name": "gemini-embedding-001",
                "gen_ai.embeddings.dimension.count": 3,
                "gen_ai.operation.name": "embeddings",
                "gen_ai.provider.name": "gcp.gemini",
                "gen_ai.request.model": "gemini-embedding-001",
                "llmtrace.api": "google_genai.models.embed_content",
                "llmtrace.cost.unpriced_reason": "no_usage",
                "llmtrace.model.pinned": True,
                "llmtrace.outcome": "ok",
                "llmtrace.usage.source": "missing",
                "openinference.span.kind": "EMBEDDING",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )
