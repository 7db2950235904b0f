"""Readers of Bedrock's wire formats: whatever a body holds, they raise nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.model.wire_format import WireFormat
from llmtrace.providers.bedrock.agents import AGENT, GENERATE, GUARDRAIL, RETRIEVE
from llmtrace.providers.bedrock.converse import CONVERSE, COUNT_TOKENS
from llmtrace.providers.bedrock.invoke import INVOKE, unwrap

_KEYS = """
modelId body messages content text role system toolConfig tools toolSpec inputSchema json inferenceConfig maxTokens
additionalModelRequestFields outputConfig textFormat serviceTier type guardrailConfig toolUse toolResult image
source bytes format s3Location guardContent reasoningContent citationsContent cachePoint output message stopReason
usage inputTokens outputTokens totalTokens cacheReadInputTokens cacheWriteInputTokens cacheDetails ttl
serverToolUsage trace promptRouter performanceConfig contentBlockDelta delta contentBlockStart start
contentBlockIndex messageStart messageStop metadata anthropic_version prompt inputText textGenerationConfig stop
chat_history preamble texts outputs choices results generations completions data finishReason tokenCount embedding
embeddings meta billed_units event_type chunk amazon-bedrock-invocationMetrics inputTokenCount modelInvocationOutput
modelInvocationInput foundationModel orchestrationTrace guardrail action outputs retrievalResults location score
retrieveAndGenerateConfiguration knowledgeBaseConfiguration modelArn input converse
""".split()  # noqa: SIM905 - a list would be longer
_LEAVES = st.none() | st.booleans() | st.integers(-1, 2**70) | st.floats() | st.text(max_size=4) | st.binary(max_size=4)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6),
    max_leaves=20,
)
FORMATS = {
    "converse": CONVERSE,
    "invoke": INVOKE,
    "agent": AGENT,
    "generate": GENERATE,
    "guardrail": GUARDRAIL,
    "count": COUNT_TOKENS,
}


def _read(wire_format: WireFormat, body: Any) -> None:
    """Read a body with every reader of a format."""
    wire_format.request(body)
    wire_format.response(body)
    content = wire_format.content
    assert content is not None
    content.request(body)
    content.response(body)
    if wire_format.texts is not None:
        list(wire_format.texts(body))
    for new in (wire_format.accumulator, content.accumulator):
        if new is not None:
            accumulator: Any = new()
            for _ in range(2):
                accumulator.add(body)
            accumulator.result() if hasattr(accumulator, "result") else accumulator.messages()


@pytest.mark.parametrize("name", FORMATS)
@given(body=_JSON)
@settings(max_examples=150)
def test_readers_accept_any_body(name: str, body: Any) -> None:
    """Fields of any type, in any place, raise nothing."""
    _read(FORMATS[name], body)
    if name == "invoke":
        _read(INVOKE, {"modelId": "amazon.titan-embed-text-v2:0", "body": body})
        unwrap(body)
    list(RETRIEVE.documents(body))
    RETRIEVE.request(body)


def test_a_chunk_that_is_not_json_is_ignored() -> None:
    """A chunk whose bytes are no JSON is read as nothing."""
    assert unwrap({"chunk": {"bytes": b"{"}}) is None
    assert unwrap({"chunk": {"bytes": json.dumps([1]).encode()}}) == [1]
