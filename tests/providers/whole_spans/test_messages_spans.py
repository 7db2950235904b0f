"""Whole spans of Anthropic's messages."""

from __future__ import annotations

import anthropic
import pytest
from inline_snapshot import snapshot
from span_vendor import MESSAGES, PORT, Span, Vendor

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*[Ii]nteractions.*"),
]


def test_anthropic_message_span(vendor: Vendor, span: Span) -> None:
    """A message adds cache reads and cache writes to its input tokens, and prices each."""
    vendor.respond(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-5",
            "content": [{"type": "text", "text": "Scattering."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 20,
                "cache_creation_input_tokens": 100,
                "cache_read_input_tokens": 1000,
                "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 50,
                "service_tier": "standard",
            },
        }
    )
    with anthropic.Anthropic(base_url=vendor.url, api_key="none", max_retries=0) as client:
        client.messages.create(model="claude-sonnet-5", max_tokens=64, messages=MESSAGES)
    assert span() == snapshot(
        (
            "chat claude-sonnet-5",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "anthropic",
                "gen_ai.request.max_tokens": 64,
                "gen_ai.request.model": "claude-sonnet-5",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "msg_1",
                "gen_ai.response.model": "claude-sonnet-5",
                "gen_ai.usage.cache_creation.input_tokens": 100,
                "gen_ai.usage.cache_read.input_tokens": 1000,
                "gen_ai.usage.cache_write.input_tokens": 100,
                "gen_ai.usage.cost": 0.000745,
                "gen_ai.usage.input_tokens": 1120,
                "gen_ai.usage.output_tokens": 50,
                "llm.cost.completion": 0.0005,
                "llm.cost.completion_details.output": 0.0005,
                "llm.cost.prompt": 0.000245,
                "llm.cost.prompt_details.cache_read": 0.0001,
                "llm.cost.prompt_details.cache_write": 0.000125,
                "llm.cost.prompt_details.input": 2e-05,
                "llm.cost.total": 0.000745,
                "llm.invocation_parameters": '{"max_tokens":64}',
                "llm.model_name": "claude-sonnet-5",
                "llmtrace.api": "anthropic.messages.create",
                "llmtrace.cost.exact": "0.000745",
                "llmtrace.cost.model": "claude-sonnet-5",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"max_tokens":64}',
                "llmtrace.response.finish_reasons_raw": ("end_turn",),
                "llmtrace.usage.cache_write_5m_tokens": 100,
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )
