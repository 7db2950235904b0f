"""Whole spans of OpenAI's responses and of runs of its assistants."""

from __future__ import annotations

import openai
import pytest
from inline_snapshot import snapshot
from span_vendor import PORT, Span, Vendor, needs_responses

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*[Ii]nteractions.*"),
]


@needs_responses
def test_openai_response_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """A response counts its web search, and keeps the conversation and the status of the vendor."""
    vendor.respond(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 0,
            "status": "completed",
            "model": "gpt-4.1-mini-2025-04-14",
            "previous_response_id": "resp_0",
            "service_tier": "default",
            "tools": [],
            "output": [
                {
                    "type": "web_search_call",
                    "id": "ws_1",
                    "status": "completed",
                    "action": {"type": "search"},
                },
                {
                    "type": "message",
                    "id": "msg_1",
                    "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": "Scattering.", "annotations": []}],
                },
            ],
            "usage": {
                "input_tokens": 300,
                "output_tokens": 40,
                "total_tokens": 340,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            },
        }
    )
    openai_client.responses.create(
        model="gpt-4.1-mini",
        input="Why is the sky blue?",
        previous_response_id="resp_0",
        tools=[{"type": "web_search"}],
    )
    assert span() == snapshot(
        (
            "chat gpt-4.1-mini",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4.1-mini",
                "gen_ai.request.previous_response.id": "resp_0",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "resp_1",
                "gen_ai.response.model": "gpt-4.1-mini-2025-04-14",
                "gen_ai.usage.cost": 0.0107,
                "gen_ai.usage.input_tokens": 300,
                "gen_ai.usage.output_tokens": 40,
                "llm.cost.completion": 0.0004,
                "llm.cost.completion_details.output": 0.0004,
                "llm.cost.prompt": 0.0003,
                "llm.cost.prompt_details.input": 0.0003,
                "llm.cost.total": 0.0107,
                "llm.invocation_parameters": '{"previous_response_id":"resp_0"}',
                "llm.model_name": "gpt-4.1-mini-2025-04-14",
                "llmtrace.api": "openai.responses.create",
                "llmtrace.cost.exact": "0.0107",
                "llmtrace.cost.model": "gpt-4.1-mini-2025-04-14",
                "llmtrace.cost.source": "override",
                "llmtrace.cost.web_search": 0.01,
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"previous_response_id":"resp_0"}',
                "llmtrace.response.finish_reasons_raw": ("completed",),
                "llmtrace.usage.source": "provider",
                "llmtrace.usage.web_searches": 1,
                "openai.api.type": "responses",
                "openai.response.service_tier": "default",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_openai_assistant_run_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """A run of an assistant is the invocation of an agent, in the conversation of its thread."""
    vendor.respond(
        {
            "id": "run_1",
            "object": "thread.run",
            "created_at": 0,
            "thread_id": "thread_1",
            "assistant_id": "asst_1",
            "status": "completed",
            "model": "gpt-4.1-mini",
            "instructions": "",
            "tools": [],
            "metadata": {},
            "usage": {"prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 50},
        }
    )
    openai_client.beta.threads.runs.create(thread_id="thread_1", assistant_id="asst_1")
    assert span() == snapshot(
        (
            "invoke_agent",
            {
                "gen_ai.agent.id": "asst_1",
                "gen_ai.conversation.id": "thread_1",
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.provider.name": "openai",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "run_1",
                "gen_ai.response.model": "gpt-4.1-mini",
                "gen_ai.usage.cost": 0.00014,
                "gen_ai.usage.input_tokens": 40,
                "gen_ai.usage.output_tokens": 10,
                "llm.cost.completion": 0.0001,
                "llm.cost.completion_details.output": 0.0001,
                "llm.cost.prompt": 4e-05,
                "llm.cost.prompt_details.input": 4e-05,
                "llm.cost.total": 0.00014,
                "llmtrace.api": "openai.beta.threads.runs.create",
                "llmtrace.cost.exact": "0.00014",
                "llmtrace.cost.model": "gpt-4.1-mini",
                "llmtrace.cost.source": "override",
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"assistant_id":"asst_1"}',
                "llmtrace.response.finish_reasons_raw": ("completed",),
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "AGENT",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )
