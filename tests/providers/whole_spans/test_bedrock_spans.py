"""Whole spans of Bedrock's Converse and ``InvokeModel``."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from inline_snapshot import snapshot
from span_vendor import PORT, Span, Vendor

CONVERSE: dict[str, Any] = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Scattering."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 200, "outputTokens": 50, "totalTokens": 1250, "cacheReadInputTokens": 1000},
    "metrics": {"latencyMs": 5},
}
LLAMA = {"generation": "Scattering.", "prompt_token_count": 12, "generation_token_count": 5, "stop_reason": "stop"}
MESSAGES = [{"role": "user", "content": [{"text": "Why is the sky blue?"}]}]


@pytest.fixture
def bedrock(vendor: Vendor) -> Any:
    """Return a client of the loopback vendor."""
    keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
    return boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=vendor.url, **keys)


def test_converse_span(bedrock: Any, vendor: Vendor, span: Span) -> None:
    """Converse has its parameters and guardrail, and its cached tokens in the total."""
    if "cacheReadInputTokens" not in bedrock.meta.service_model.shape_for("TokenUsage").members:
        pytest.skip("this release has no cached tokens")
    vendor.respond(CONVERSE)
    bedrock.converse(
        modelId="us.amazon.nova-lite-v1:0",
        messages=MESSAGES,
        inferenceConfig={"maxTokens": 64},
        guardrailConfig={"guardrailIdentifier": "gr1", "guardrailVersion": "1"},
    )
    assert span() == snapshot(
        (
            "chat us.amazon.nova-lite-v1:0",
            {
                "aws.bedrock.guardrail.id": "gr1",
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "aws.bedrock",
                "gen_ai.request.max_tokens": 64,
                "gen_ai.request.model": "us.amazon.nova-lite-v1:0",
                "gen_ai.response.finish_reasons": ("stop",),
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
                "llm.invocation_parameters": '{"guardrailConfig":{"guardrailVersion":"1"},"maxTokens":64}',
                "llm.model_name": "us.amazon.nova-lite-v1:0",
                "llmtrace.api": "bedrock.converse",
                "llmtrace.cost.exact": "0.0008",
                "llmtrace.cost.model": "us.amazon.nova-lite-v1:0",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": True,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"guardrailConfig":{"guardrailVersion":"1"},"maxTokens":64}',
                "llmtrace.response.finish_reasons_raw": ("end_turn",),
                "llmtrace.server.time.total": 0.005,
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_invoke_model_span(bedrock: Any, vendor: Vendor, span: Span) -> None:
    """``InvokeModel`` has the operation and the usage of the vendor's body."""
    vendor.respond(LLAMA)
    body = json.dumps({"prompt": "Why is the sky blue?", "max_gen_len": 64})
    bedrock.invoke_model(modelId="meta.llama3-70b-instruct-v1:0", body=body)["body"].read()
    assert span() == snapshot(
        (
            "text_completion meta.llama3-70b-instruct-v1:0",
            {
                "gen_ai.operation.name": "text_completion",
                "gen_ai.provider.name": "aws.bedrock",
                "gen_ai.request.max_tokens": 64,
                "gen_ai.request.model": "meta.llama3-70b-instruct-v1:0",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.usage.cost": 6.2e-05,
                "gen_ai.usage.input_tokens": 12,
                "gen_ai.usage.output_tokens": 5,
                "llm.cost.completion": 5e-05,
                "llm.cost.completion_details.output": 5e-05,
                "llm.cost.prompt": 1.2e-05,
                "llm.cost.prompt_details.input": 1.2e-05,
                "llm.cost.total": 6.2e-05,
                "llm.invocation_parameters": '{"max_gen_len":64}',
                "llm.model_name": "meta.llama3-70b-instruct-v1:0",
                "llmtrace.api": "bedrock.invoke_model",
                "llmtrace.cost.exact": "0.000062",
                "llmtrace.cost.model": "meta.llama3-70b-instruct-v1:0",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": True,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"max_gen_len":64}',
                "llmtrace.response.finish_reasons_raw": ("stop",),
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )
