"""Whole spans of OpenAI's chat completions and legacy completions."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from dirty_equals import IsFloat
from inline_snapshot import snapshot
from span_vendor import MESSAGES, PORT, SECONDS, Span, Vendor

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*[Ii]nteractions.*"),
]
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 0,
    "model": "gpt-4.1-mini-2025-04-14",
    "service_tier": "default",
    "system_fingerprint": "fp_1",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Scattering."}}],
    "usage": {
        "prompt_tokens": 1200,
        "completion_tokens": 50,
        "total_tokens": 1250,
        "prompt_tokens_details": {"cached_tokens": 1000},
        "completion_tokens_details": {"reasoning_tokens": 20},
    },
}


def test_openai_chat_completion_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """A chat completion has its parameters, token counts with cached and reasoning tokens, and its cost in parts."""
    vendor.respond(CHAT)
    openai_client.chat.completions.create(model="gpt-4.1-mini", messages=MESSAGES, temperature=0.2, max_tokens=64)
    assert span() == snapshot(
        (
            "chat gpt-4.1-mini",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.max_tokens": 64,
                "gen_ai.request.model": "gpt-4.1-mini",
                "gen_ai.request.temperature": 0.2,
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "chatcmpl-1",
                "gen_ai.response.model": "gpt-4.1-mini-2025-04-14",
                "gen_ai.usage.cache_read.input_tokens": 1000,
                "gen_ai.usage.cost": 0.0008,
                "gen_ai.usage.input_tokens": 1200,
                "gen_ai.usage.output_tokens": 50,
                "gen_ai.usage.reasoning.output_tokens": 20,
                "llm.cost.completion": 0.0005,
                "llm.cost.completion_details.output": 0.0005,
                "llm.cost.prompt": 0.0003,
                "llm.cost.prompt_details.cache_read": 0.0001,
                "llm.cost.prompt_details.input": 0.0002,
                "llm.cost.total": 0.0008,
                "llm.invocation_parameters": '{"max_tokens":64,"temperature":0.2}',
                "llm.model_name": "gpt-4.1-mini-2025-04-14",
                "llm.token_count.completion_details.reasoning": 20,
                "llmtrace.api": "openai.chat.completions.create",
                "llmtrace.cost.exact": "0.0008",
                "llmtrace.cost.model": "gpt-4.1-mini-2025-04-14",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"max_tokens":64,"temperature":0.2}',
                "llmtrace.response.finish_reasons_raw": ("stop",),
                "llmtrace.usage.source": "provider",
                "openai.api.type": "chat_completions",
                "openai.response.service_tier": "default",
                "openai.response.system_fingerprint": "fp_1",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_openai_chat_stream_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """A chat stream also has its timing and how it ended."""
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": "gpt-4.1-mini-2025-04-14"}
    choice = {"index": 0, "delta": {"content": "Scattering."}, "finish_reason": None}
    vendor.stream(
        {**chunk, "choices": [choice]},
        {**chunk, "choices": [{**choice, "delta": {}, "finish_reason": "stop"}]},
        {**chunk, "choices": [], "usage": CHAT["usage"]},
        done=b"data: [DONE]\n\n",
    )
    options: Any = {"include_usage": True}
    list(
        openai_client.chat.completions.create(
            model="gpt-4.1-mini", messages=MESSAGES, stream=True, stream_options=options
        )
    )
    assert span() == snapshot(
        (
            "chat gpt-4.1-mini",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4.1-mini",
                "gen_ai.request.stream": True,
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "chatcmpl-1",
                "gen_ai.response.model": "gpt-4.1-mini-2025-04-14",
                "gen_ai.response.time_to_first_chunk": SECONDS,
                "gen_ai.usage.cache_read.input_tokens": 1000,
                "gen_ai.usage.cost": 0.0008,
                "gen_ai.usage.input_tokens": 1200,
                "gen_ai.usage.output_tokens": 50,
                "gen_ai.usage.reasoning.output_tokens": 20,
                "llm.cost.completion": 0.0005,
                "llm.cost.completion_details.output": 0.0005,
                "llm.cost.prompt": 0.0003,
                "llm.cost.prompt_details.cache_read": 0.0001,
                "llm.cost.prompt_details.input": 0.0002,
                "llm.cost.total": 0.0008,
                "llm.invocation_parameters": '{"stream":true,"stream_options":{"include_usage":true}}',
                "llm.model_name": "gpt-4.1-mini-2025-04-14",
                "llm.token_count.completion_details.reasoning": 20,
                "llmtrace.api": "openai.chat.completions.create",
                "llmtrace.cost.exact": "0.0008",
                "llmtrace.cost.model": "gpt-4.1-mini-2025-04-14",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"stream":true,"stream_options":{"include_usage":true}}',
                "llmtrace.response.finish_reasons_raw": ("stop",),
                "llmtrace.stream.chunks": 3,
                "llmtrace.stream.completed": True,
                "llmtrace.stream.end": "exhausted",
                "llmtrace.stream.stalls": 0,
                "llmtrace.stream.time_per_output_chunk.max": SECONDS,
                "llmtrace.stream.time_per_output_chunk.mean": SECONDS,
                "llmtrace.stream.time_per_output_chunk.p95": SECONDS,
                "llmtrace.stream.time_to_first_token": SECONDS,
                "llmtrace.stream.tokens_per_second": IsFloat(gt=0),
                "llmtrace.usage.source": "provider",
                "openai.api.type": "chat_completions",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_openai_legacy_completion_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """A legacy completion is a text completion, with its own finish reason."""
    vendor.respond(
        {
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 0,
            "model": "gpt-3.5-turbo-instruct",
            "choices": [{"index": 0, "text": "Scattering", "finish_reason": "length", "logprobs": None}],
            "usage": {"prompt_tokens": 6, "completion_tokens": 1, "total_tokens": 7},
        }
    )
    openai_client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Why is the sky blue?", max_tokens=1)
    assert span() == snapshot(
        (
            "text_completion gpt-3.5-turbo-instruct",
            {
                "gen_ai.operation.name": "text_completion",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.max_tokens": 1,
                "gen_ai.request.model": "gpt-3.5-turbo-instruct",
                "gen_ai.response.finish_reasons": ("length",),
                "gen_ai.response.id": "cmpl-1",
                "gen_ai.response.model": "gpt-3.5-turbo-instruct",
                "gen_ai.usage.cost": 1.6e-05,
                "gen_ai.usage.input_tokens": 6,
                "gen_ai.usage.output_tokens": 1,
                "llm.cost.completion": 1e-05,
                "llm.cost.completion_details.output": 1e-05,
                "llm.cost.prompt": 6e-06,
                "llm.cost.prompt_details.input": 6e-06,
                "llm.cost.total": 1.6e-05,
                "llm.invocation_parameters": '{"max_tokens":1}',
                "llm.model_name": "gpt-3.5-turbo-instruct",
                "llmtrace.api": "openai.completions.create",
                "llmtrace.cost.exact": "0.000016",
                "llmtrace.cost.model": "gpt-3.5-turbo-instruct",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"max_tokens":1}',
                "llmtrace.response.finish_reasons_raw": ("length",),
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )
