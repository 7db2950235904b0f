"""Bedrock Converse through boto3 and aiobotocore: what the caller gets, and what the span has."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from bedrock_calls import COLOURS, EVENTS, MESSAGES, NOVA, USAGE, Side, converse_answer, events_answer, only, read
from botocore.eventstream import EventStream
from helpers import check_shapes
from loopback import Loopback, json_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


@COLOURS
@STREAMED
async def test_caller_gets_the_same_as_without_llmtrace(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, stream: bool
) -> None:
    """The result, the stream and its iterator have the same types and values, and the request is the same."""
    seen = []
    loopback.will(converse_answer(stream=stream))
    for _ in range(2):
        result = await side.converse(stream=stream)
        iterator = result["stream"].__aiter__() if side.colour == "async" and stream else None
        if stream and side.colour == "sync":
            iterator = iter(result["stream"])
        types = [type(result), type(result.get("stream")), type(iterator)]
        seen.append((types, await read(result)))
        llmtrace.uninstrument()
    assert seen[0] == seen[1]
    assert seen[0][0][1] is type(None) or issubclass(seen[0][0][1], EventStream)
    assert loopback.received[0].body == loopback.received[1].body
    assert (await only(spans))["llmtrace.outcome"] == "ok"


@COLOURS
@STREAMED
async def test_span_has_the_request_and_the_usage(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, stream: bool
) -> None:
    """Parameters, guardrail, tier and usage are on the span; content is not."""
    loopback.will(converse_answer(stream=stream))
    await read(
        await side.converse(
            stream=stream,
            system=[{"text": "Be brief."}],
            inferenceConfig={"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
            additionalModelRequestFields={"top_k": 40, "reasoning_effort": "low"},
            guardrailConfig={"guardrailIdentifier": "gr1", "guardrailVersion": "1"},
        )
    )
    found = await only(spans)
    assert found["gen_ai.operation.name"] == "chat"
    assert (found["gen_ai.request.model"], found["gen_ai.provider.name"]) == (NOVA, "aws.bedrock")
    wanted = {"max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "stop_sequences": ("END",), "top_k": 40}
    assert {name: found[f"gen_ai.request.{name}"] for name in wanted} == wanted
    assert found["gen_ai.request.reasoning.level"] == "low"
    assert found["aws.bedrock.guardrail.id"] == "gr1"
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (7, 3)
    assert found["gen_ai.response.finish_reasons"] == ("stop",)
    assert (found["server.address"], found["server.port"]) == ("127.0.0.1", loopback.server_port)
    assert found.get("llmtrace.stream.end") == ("exhausted" if stream else None)
    assert found.get("llmtrace.stream.chunks") == (len(EVENTS) if stream else None)
    assert "Be brief" not in json.dumps(found)


MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CACHES = {"cacheReadInputTokens": 100, "cacheWriteInputTokens": 20}


@pytest.mark.parametrize(
    ("usage", "inputs", "doubtful"),
    [
        pytest.param({"inputTokens": 7, "totalTokens": 130}, 127, False, id="apart"),
        pytest.param({"inputTokens": 127, "totalTokens": 130}, 127, False, id="included"),
        pytest.param({"inputTokens": 7, "totalTokens": 99}, 127, True, id="unclear"),
        pytest.param({"inputTokens": 7, "totalTokens": 10}, 127, True, id="impossible"),
    ],
)
@STREAMED
@pytest.mark.parametrize("colour", ["sync"])
async def test_total_decides_whether_cached_tokens_are_included(
    loopback: Loopback,
    spans: InMemorySpanExporter,
    side: Side,
    usage: dict[str, Any],
    inputs: int,
    doubtful: bool,
    stream: bool,
) -> None:
    """``inputTokens`` includes cached tokens if the total says so; the cost is approximate if it is unclear."""
    side.needs("TokenUsage", *CACHES)
    loopback.will(converse_answer(stream=stream, usage={**usage, **CACHES, "outputTokens": 3}))
    await read(await side.converse(stream=stream, modelId=MODEL))
    found = await only(spans)
    assert found["gen_ai.usage.input_tokens"] == inputs
    assert found["gen_ai.usage.cache_read.input_tokens"] == 100
    assert found["gen_ai.usage.cache_write.input_tokens"] == 20
    assert found.get("llmtrace.cost.approximate") == (True if doubtful else None)


@pytest.mark.parametrize("colour", ["sync"])
async def test_unexplained_total_makes_the_cost_approximate(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side
) -> None:
    """Older releases of botocore drop the counts of caches, which the total includes."""
    loopback.will(converse_answer(stream=False, usage={"inputTokens": 7, "outputTokens": 3, "totalTokens": 130}))
    await side.converse()
    found = await only(spans)
    assert (found["gen_ai.usage.input_tokens"], found["llmtrace.cost.approximate"]) == (7, True)


TOOLS = {"tools": [{"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}}}}]}
CONTENT: list[Any] = [
    {"text": "look"},
    {"image": {"format": "png", "source": {"bytes": b"PNG"}}},
    {"document": {"format": "txt", "name": "a", "source": {"bytes": b"text"}}},
    {"toolResult": {"toolUseId": "t0", "content": [{"json": {"a": 1}}]}},
    {"guardContent": {"text": {"text": "guarded"}}},
]
REPLY: list[Any] = [
    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
    {"text": "hé"},
    {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"b": [2]}}},
]
REPLY_EVENTS: list[Any] = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "h"}}}},
    {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "m"}}}},
    {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "s"}}}},
    {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": "h"}}},
    {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": "é"}}},
    {"contentBlockStart": {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t1", "name": "f"}}}},
    {"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '{"b":'}}}},
    {"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"toolUse": {"input": " [2]}"}}}},
    {"messageStop": {"stopReason": "tool_use"}},
    {"metadata": {"usage": USAGE, "metrics": {"latencyMs": 5}}},
]


@COLOURS
@STREAMED
async def test_content_is_recorded_when_it_is_on(
    loopback: Loopback, content_spans: InMemorySpanExporter, side: Side, stream: bool
) -> None:
    """Texts, media, tools and reasoning of request and response are in the form of the conventions."""
    side.needs("ContentBlock", "reasoningContent")
    plain = json_answer({"output": {"message": {"role": "assistant", "content": REPLY}}, "stopReason": "tool_use"})
    loopback.will(events_answer(REPLY_EVENTS) if stream else plain)
    messages = [{"role": "user", "content": CONTENT}]
    await read(await side.converse(stream=stream, messages=messages, system=[{"text": "sys"}], toolConfig=TOOLS))
    found = await only(content_spans)
    check_shapes(found)
    result, user = json.loads(found["gen_ai.input.messages"])
    assert result == {"role": "tool", "parts": [{"type": "tool_call_response", "id": "t0", "response": {"a": 1}}]}
    assert [part["type"] for part in user["parts"]] == ["text", "blob", "blob", "text"]
    assert [part.get("mime_type") for part in user["parts"]] == [None, "image/png", "text/plain", None]
    assert json.loads(found["gen_ai.system_instructions"]) == [{"type": "text", "content": "sys"}]
    assert json.loads(found["gen_ai.tool.definitions"])[0]["parameters"] == {"type": "object"}
    (message,) = json.loads(found["gen_ai.output.messages"])
    assert message["parts"] == [
        {"type": "reasoning", "content": "hm"},
        {"type": "text", "content": "hé"},
        {"type": "tool_call", "id": "t1", "name": "f", "arguments": {"b": [2]}},
    ]


@COLOURS
async def test_count_tokens_is_a_span_without_usage(
    loopback: Loopback, content_spans: InMemorySpanExporter, side: Side
) -> None:
    """The count is in an attribute of its own, and costs nothing."""
    if not hasattr(side.client, "count_tokens"):
        pytest.skip("this release has no such operation")
    loopback.will(json_answer({"inputTokens": 12}))
    await side.call("count_tokens", modelId=NOVA, input={"converse": {"messages": MESSAGES}})
    found = await only(content_spans)
    assert found["llmtrace.usage.counted_tokens"] == 12
    assert "hi" in found["gen_ai.input.messages"]
    assert not [name for name in found if name.startswith(("gen_ai.usage.", "llm.cost", "llmtrace.cost"))]


@pytest.mark.parametrize("colour", ["sync"])
async def test_other_services_pass_through(loopback: Loopback, spans: InMemorySpanExporter, colour: str) -> None:
    """Calls of other AWS services have no span, and their signature is that of botocore."""
    async with Side(colour, loopback.url, "sts") as other:
        with pytest.raises(Exception, match=r"could not be found|Unable to parse|invalid"):
            await other.call("get_caller_identity")
        assert list(inspect.signature(other.client._make_api_call).parameters) == ["operation_name", "api_params"]
    assert spans.get_finished_spans() == ()
