"""Whole spans of Mistral's chat, agents, fill-in-the-middle and embeddings."""

from __future__ import annotations

from typing import Any

from dirty_equals import IsFloat
from inline_snapshot import snapshot
from mistralai.client import Mistral
from span_vendor import MESSAGES, PORT, SECONDS, Span, Vendor

CHAT: dict[str, Any] = {
    "id": "cmpl-1",
    "object": "chat.completion",
    "created": 0,
    "model": "mistral-small-2603",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Scattering."}}],
    "usage": {
        "prompt_tokens": 1200,
        "completion_tokens": 50,
        "total_tokens": 1250,
        "prompt_tokens_details": {"cached_tokens": 1000},
        "service_tier": "standard",
    },
}


def test_mistral_chat_span(mistral: Mistral, vendor: Vendor, span: Span) -> None:
    """A chat completion has its parameters, its cached tokens, and nothing of OpenAI's."""
    vendor.respond(CHAT)
    mistral.chat.complete(model="mistral-small-latest", messages=MESSAGES, max_tokens=64, random_seed=7, stop=["END"])
    assert span() == snapshot(
        (
            "chat mistral-small-latest",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "mistral_ai",
                "gen_ai.request.max_tokens": 64,
                "gen_ai.request.model": "mistral-small-latest",
                "gen_ai.request.seed": 7,
                "gen_ai.request.stop_sequences": ("END",),
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "cmpl-1",
                "gen_ai.response.model": "mistral-small-2603",
                "gen_ai.usage.cache_read.input_tokens": 1000,
                "gen_ai.usage.cost": 0.0008,
                "gen_ai.usage.input_tokens": 1200,
                "gen_ai.usage.output_tokens": 50,
                "llm.cost.completion": 0.0005,
                "llm.cost.completion_details.output": 0.0005,
                "llm.cost.prompt": 0.0003,
                "llm.cost.prompt_details.cache_read": 0.0001,
                "llm.cost.prompt_details.input": 0.0002,
                "llm.cost.total": 0.0008,
                "llm.invocation_parameters": '{"max_tokens":64,"stream":false,"stop":["END"],"random_seed":7}',
                "llm.model_name": "mistral-small-2603",
                "llmtrace.api": "mistral.chat.complete",
                "llmtrace.cost.exact": "0.0008",
                "llmtrace.cost.model": "mistral-small-2603",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"max_tokens":64,"stream":false,"stop":["END"],"random_seed":7}',
                "llmtrace.response.finish_reasons_raw": ("stop",),
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_mistral_chat_stream_span(mistral: Mistral, vendor: Vendor, span: Span) -> None:
    """A stream reports its usage with the finish reason, unasked."""
    head = {"id": "cmpl-1", "object": "chat.completion.chunk", "created": 0, "model": "mistral-small-2603"}
    choice = {"index": 0, "delta": {"role": "assistant", "content": "Scattering."}, "finish_reason": None}
    last = {**choice, "delta": {"content": ""}, "finish_reason": "stop"}
    vendor.stream(
        {**head, "choices": [choice]}, {**head, "choices": [last], "usage": CHAT["usage"]}, done=b"data: [DONE]\n\n"
    )
    with mistral.chat.stream(model="mistral-small-latest", messages=MESSAGES) as stream:
        assert len(list(stream)) == 2
    assert span() == snapshot(
        (
            "chat mistral-small-latest",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "mistral_ai",
                "gen_ai.request.model": "mistral-small-latest",
                "gen_ai.request.stream": True,
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "cmpl-1",
                "gen_ai.response.model": "mistral-small-2603",
                "gen_ai.response.time_to_first_chunk": SECONDS,
                "gen_ai.usage.cache_read.input_tokens": 1000,
                "gen_ai.usage.cost": 0.0008,
                "gen_ai.usage.input_tokens": 1200,
                "gen_ai.usage.output_tokens": 50,
                "llm.cost.completion": 0.0005,
                "llm.cost.completion_details.output": 0.0005,
                "llm.cost.prompt": 0.0003,
                "llm.cost.prompt_details.cache_read": 0.0001,
                "llm.cost.prompt_details.input": 0.0002,
                "llm.cost.total": 0.0008,
                "llm.invocation_parameters": '{"stream":true}',
                "llm.model_name": "mistral-small-2603",
                "llmtrace.api": "mistral.chat.complete",
                "llmtrace.cost.exact": "0.0008",
                "llmtrace.cost.model": "mistral-small-2603",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"stream":true}',
                "llmtrace.response.finish_reasons_raw": ("stop",),
                "llmtrace.stream.chunks": 2,
                "llmtrace.stream.completed": True,
                "llmtrace.stream.end": "exhausted",
                "llmtrace.stream.stalls": 0,
                "llmtrace.stream.time_per_output_chunk.max": SECONDS,
                "llmtrace.stream.time_per_output_chunk.mean": SECONDS,
                "llmtrace.stream.time_per_output_chunk.p95": SECONDS,
                "llmtrace.stream.time_to_first_token": SECONDS,
                "llmtrace.stream.tokens_per_second": IsFloat(gt=0),
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_mistral_agent_span(mistral: Mistral, vendor: Vendor, span: Span) -> None:
    """A completion of an agent has the agent's id; the model is in the response only."""
    vendor.respond(CHAT)
    mistral.agents.complete(agent_id="ag_1", messages=MESSAGES)
    assert span() == snapshot(
        (
            "invoke_agent",
            {
                "gen_ai.agent.id": "ag_1",
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.provider.name": "mistral_ai",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "cmpl-1",
                "gen_ai.response.model": "mistral-small-2603",
                "gen_ai.usage.cache_read.input_tokens": 1000,
                "gen_ai.usage.cost": 0.0008,
                "gen_ai.usage.input_tokens": 1200,
                "gen_ai.usage.output_tokens": 50,
                "llm.cost.completion": 0.0005,
                "llm.cost.completion_details.output": 0.0005,
                "llm.cost.prompt": 0.0003,
                "llm.cost.prompt_details.cache_read": 0.0001,
                "llm.cost.prompt_details.input": 0.0002,
                "llm.cost.total": 0.0008,
                "llmtrace.api": "mistral.agents.complete",
                "llmtrace.cost.exact": "0.0008",
                "llmtrace.cost.model": "mistral-small-2603",
                "llmtrace.cost.source": "override",
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"agent_id":"ag_1","stream":false}',
                "llmtrace.response.finish_reasons_raw": ("stop",),
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "AGENT",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_mistral_fim_span(mistral: Mistral, vendor: Vendor, span: Span) -> None:
    """A completion between a prompt and a suffix is a text completion."""
    vendor.respond({**CHAT, "model": "codestral-2508"})
    mistral.fim.complete(model="codestral-latest", prompt="def add(a, b):", suffix="return c", min_tokens=1)
    assert span() == snapshot(
        (
            "text_completion codestral-latest",
            {
                "gen_ai.operation.name": "text_completion",
                "gen_ai.provider.name": "mistral_ai",
                "gen_ai.request.model": "codestral-latest",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "cmpl-1",
                "gen_ai.response.model": "codestral-2508",
                "gen_ai.usage.cache_read.input_tokens": 1000,
                "gen_ai.usage.cost": 0.0008,
                "gen_ai.usage.input_tokens": 1200,
                "gen_ai.usage.output_tokens": 50,
                "llm.cost.completion": 0.0005,
                "llm.cost.completion_details.output": 0.0005,
                "llm.cost.prompt": 0.0003,
                "llm.cost.prompt_details.cache_read": 0.0001,
                "llm.cost.prompt_details.input": 0.0002,
                "llm.cost.total": 0.0008,
                "llm.invocation_parameters": '{"stream":false,"min_tokens":1}',
                "llm.model_name": "codestral-2508",
                "llmtrace.api": "mistral.fim.complete",
                "llmtrace.cost.exact": "0.0008",
                "llmtrace.cost.model": "codestral-2508",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"stream":false,"min_tokens":1}',
                "llmtrace.response.finish_reasons_raw": ("stop",),
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_mistral_embedding_span(mistral: Mistral, vendor: Vendor, span: Span) -> None:
    """An embedding has input tokens only, and the length of its vectors."""
    vendor.respond(
        {
            "id": "emb-1",
            "object": "list",
            "model": "mistral-embed",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2, 0.3]}],
            "usage": {"prompt_tokens": 8, "total_tokens": 8, "completion_tokens": 0},
        }
    )
    mistral.embeddings.create(model="mistral-embed", inputs=["Why is the sky blue?"], output_dimension=3)
    assert span() == snapshot(
        (
            "embeddings mistral-embed",
            {
                "embedding.invocation_parameters": '{"output_dimension":3}',
                "embedding.model_name": "mistral-embed",
                "gen_ai.embeddings.dimension.count": 3,
                "gen_ai.operation.name": "embeddings",
                "gen_ai.provider.name": "mistral_ai",
                "gen_ai.request.model": "mistral-embed",
                "gen_ai.response.id": "emb-1",
                "gen_ai.response.model": "mistral-embed",
                "gen_ai.usage.cost": 8e-06,
                "gen_ai.usage.input_tokens": 8,
                "llm.cost.prompt": 8e-06,
                "llm.cost.prompt_details.input": 8e-06,
                "llm.cost.total": 8e-06,
                "llmtrace.api": "mistral.embeddings.create",
                "llmtrace.cost.exact": "0.000008",
                "llmtrace.cost.model": "mistral-embed",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"output_dimension":3}',
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "EMBEDDING",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )
