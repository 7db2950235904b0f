"""``InvokeModel``: the bodies of each vendor, and the ways to read them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from answers import CHAT, CHAT_CHUNKS, MESSAGE, MESSAGE_EVENTS
from anthropic import AnthropicBedrock
from bedrock_calls import COLOURS, CONVERSE, EVENTS, SONNET, Side, only, read, vendor_answer
from botocore.response import StreamingBody
from helpers import check_shapes, resolve
from loopback import CUT, Loopback, ServerResponse, json_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 7, "outputTokenCount": 3, "invocationLatency": 5}}
HEADERS = {"x-amzn-bedrock-input-token-count": "7", "x-amzn-bedrock-output-token-count": "3"}
PROMPT = {"prompt": "hi", "max_tokens": 9}
CHAT_REQUEST = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}


@dataclass(frozen=True)
class Vendor:
    """Bodies of one vendor: what is sent, and what a server responds."""

    model: str
    request: dict[str, Any]
    response: dict[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)
    reason: str | None = "stop"
    operation: str = "text_completion"
    text: str | None = "hé"


VENDORS = {
    "anthropic": Vendor(
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        {"anthropic_version": "bedrock-2023-05-31", **CHAT_REQUEST},
        MESSAGE,
        MESSAGE_EVENTS,
        "stop",
        "chat",
    ),
    "nova": Vendor(
        "amazon.nova-lite-v1:0",
        {"inferenceConfig": {"maxTokens": 9}, "messages": [{"role": "user", "content": [{"text": "hi"}]}]},
        CONVERSE,
        EVENTS,
        "stop",
        "chat",
    ),
    "openai-form": Vendor("mistral.mistral-large-2407-v1:0", CHAT_REQUEST, CHAT, CHAT_CHUNKS[:3], "stop", "chat"),
    "llama": Vendor(
        "meta.llama3-70b-instruct-v1:0",
        {"prompt": "hi", "max_gen_len": 9},
        {"generation": "hé", "prompt_token_count": 7, "generation_token_count": 3, "stop_reason": "stop"},
        [
            {"generation": "h", "prompt_token_count": 7, "generation_token_count": 1, "stop_reason": None},
            {"generation": "é", "prompt_token_count": None, "generation_token_count": 3, "stop_reason": "stop"},
        ],
    ),
    "mistral": Vendor(
        "mistral.mistral-7b-instruct-v0:2",
        PROMPT,
        {"outputs": [{"text": "hé", "stop_reason": "stop"}]},
        [{"outputs": [{"text": "hé", "stop_reason": None}]}, {"outputs": [{"text": "", "stop_reason": "stop"}]}],
    ),
    "deepseek": Vendor("us.deepseek.r1-v1:0", PROMPT, {"choices": [{"text": "hé", "stop_reason": "stop"}]}),
    "titan": Vendor(
        "amazon.titan-text-lite-v1",
        {"inputText": "hi", "textGenerationConfig": {"maxTokenCount": 9}},
        {"inputTextTokenCount": 7, "results": [{"tokenCount": 3, "outputText": "hé", "completionReason": "FINISH"}]},
        [{"outputText": "hé", "totalOutputTextTokenCount": 3, "completionReason": "FINISH", "inputTextTokenCount": 7}],
    ),
    "cohere-command": Vendor(
        "cohere.command-text-v14",
        PROMPT,
        {"id": "c1", "generations": [{"text": "hé", "finish_reason": "COMPLETE"}]},
        [{"text": "hé", "is_finished": False}, {"is_finished": True, "finish_reason": "COMPLETE"}],
    ),
    "cohere-chat": Vendor(
        "cohere.command-r-v1:0",
        {"message": "hi", "chat_history": [{"role": "USER", "message": "a"}], "max_tokens": 9},
        {"response_id": "r1", "text": "hé", "finish_reason": "COMPLETE"},
        [{"event_type": "text-generation", "text": "hé"}, {"event_type": "stream-end", "finish_reason": "COMPLETE"}],
        "stop",
        "chat",
    ),
    "ai21": Vendor(
        "ai21.j2-ultra-v1",
        PROMPT,
        {"id": 1, "completions": [{"data": {"text": "hé"}, "finishReason": {"reason": "endoftext"}}]},
    ),
    "titan-embed": Vendor(
        "amazon.titan-embed-text-v2:0",
        {"inputText": "hi"},
        {"embedding": [0.5, 0.25], "inputTextTokenCount": 7},
        [],
        None,
        "embeddings",
        None,
    ),
    "cohere-embed": Vendor(
        "cohere.embed-english-v3",
        {"texts": ["hi"], "input_type": "search_query"},
        {"id": "e1", "embeddings": [[0.5, 0.25]], "response_type": "embeddings_floats"},
        [],
        None,
        "embeddings",
        None,
    ),
}


@COLOURS
@pytest.mark.parametrize(
    ("vendor", "stream"),
    [(name, stream) for name in VENDORS for stream in (False, True) if VENDORS[name].events or not stream],
)
async def test_each_vendors_body_is_read(
    loopback: Loopback, content_spans: InMemorySpanExporter, side: Side, vendor: str, stream: bool
) -> None:
    """Operation, usage, finish reason and content come from the vendor's own body, or from Bedrock's counts."""
    case = VENDORS[vendor]
    plain = ServerResponse([json.dumps(case.response).encode()], headers=HEADERS)
    events = [*case.events[:-1], {**case.events[-1], **METRICS}] if stream else []
    loopback.will(vendor_answer(events, stream=True) if stream else plain)
    got = await read(await side.invoke(case.request, stream=stream, model=case.model))
    assert got if stream else got == case.response
    found = await only(content_spans)
    check_shapes(found)
    assert found["gen_ai.operation.name"] == case.operation
    assert found["gen_ai.request.model"] == case.model
    outputs = None if case.operation == "embeddings" and vendor == "titan-embed" else 3
    assert (found["gen_ai.usage.input_tokens"], found.get("gen_ai.usage.output_tokens")) == (7, outputs)
    assert found.get("gen_ai.response.finish_reasons") == (None if case.reason is None else (case.reason,))
    assert found.get("gen_ai.embeddings.dimension.count") == (2 if case.operation == "embeddings" else None)
    assert found.get("llmtrace.stream.end") == ("exhausted" if stream else None)
    if case.text is not None:
        assert found["gen_ai.request.max_tokens"] == 9
        assert 9 in json.loads(found["llmtrace.request.parameters"]).values()
        assert "hi" in found["gen_ai.input.messages"]
        (message,) = json.loads(found["gen_ai.output.messages"])
        assert [part["content"].split(" ")[0] for part in message["parts"]] == [case.text]
        assert message["finish_reason"] == case.reason


async def _with_block(body: Any) -> bytes:
    if hasattr(body, "__aenter__"):
        async with body as opened:
            return bytes(await opened.read())
    with body as opened:
        return bytes(opened.read())


async def _in_pieces(body: Any) -> bytes:
    pieces = []
    while piece := await resolve(body.read(7)):
        pieces.append(piece)
    return b"".join(pieces)


async def _of_known_length(body: Any) -> bytes:
    return bytes(await resolve(body.read(len(DATA))))


async def _lines(body: Any) -> bytes:
    lines = body.iter_lines()
    return b"\n".join([line async for line in lines] if hasattr(lines, "__anext__") else list(lines))


async def _chunks(body: Any) -> bytes:
    chunks = body.iter_chunks(5)
    return b"".join([chunk async for chunk in chunks] if hasattr(chunks, "__anext__") else list(chunks))


async def _iterated(body: Any) -> bytes:
    return b"".join([chunk async for chunk in body] if hasattr(body, "__aiter__") else list(body))


async def _all(body: Any) -> bytes:
    return bytes(await resolve(body.read()))


DATA = json.dumps(MESSAGE, indent=1).encode()
READINGS: dict[str, Callable[[Any], Any]] = {
    name.removeprefix("_"): function
    for name, function in list(globals().items())
    if name in ("_with_block", "_in_pieces", "_of_known_length", "_lines", "_chunks", "_iterated", "_all")
}


@COLOURS
@pytest.mark.parametrize("reading", READINGS)
async def test_body_is_read_as_without_llmtrace(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, reading: str
) -> None:
    """However the caller reads the body, it gets the same bytes, and the span has the usage once."""
    loopback.will(ServerResponse([DATA]))
    result = await side.invoke({"anthropic_version": "v", **CHAT_REQUEST})
    assert spans.get_finished_spans() == ()
    if side.colour == "sync":
        assert type(result["body"]) is StreamingBody
    assert await READINGS[reading](result["body"]) == DATA
    found = await only(spans)
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (7, 3)
    assert found["llmtrace.outcome"] == "ok"


@pytest.mark.parametrize("colour", ["sync"])
@pytest.mark.parametrize("reading", ["readinto", "readlines", "readline", "raw lines", "raw stream", "text"])
async def test_body_is_read_like_a_file(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, reading: str
) -> None:
    """Methods that only files have return the same bytes too."""
    if reading == "readinto" and "readinto" not in vars(StreamingBody):
        pytest.skip("this release has no such method")
    loopback.will(ServerResponse([DATA]))
    body = (await side.invoke({"anthropic_version": "v", **CHAT_REQUEST}))["body"]
    if reading == "readinto":
        buffer = bytearray(len(DATA))
        assert body.readinto(buffer) == len(DATA)
        got = bytes(buffer)
    elif reading == "readlines":
        got = b"".join(body.readlines())
    elif reading == "raw stream":
        got = b"".join(body._raw_stream.stream(16))
    elif reading == "text":
        got = io.TextIOWrapper(body._raw_stream, encoding="utf-8").read().encode()
    else:
        raw = body._raw_stream
        got = b"".join(iter(raw.readline, b"") if reading == "readline" else raw)
    assert got == DATA
    assert (await only(spans))["gen_ai.usage.output_tokens"] == 3


@COLOURS
@pytest.mark.parametrize("end", ["closed", "dropped", "part"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_unread_body_has_the_usage_of_the_headers(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, end: str
) -> None:
    """A body that is not read to its end has its span, with the counts that Bedrock puts in the headers."""
    loopback.will(ServerResponse([DATA], headers=HEADERS))
    result = await side.invoke({"anthropic_version": "v", **CHAT_REQUEST})
    if end == "part":
        await resolve(result["body"].read(9))
    elif end == "closed":
        await resolve(result["body"].close())
    del result
    found = await only(spans)
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (7, 3)
    assert found["llmtrace.outcome"] == "ok"


@COLOURS
async def test_cut_body_is_an_error(loopback: Loopback, spans: InMemorySpanExporter, side: Side) -> None:
    """The exception of the SDK reaches the reader, and the span is an error."""
    loopback.will(ServerResponse([DATA[:40], CUT]))
    result = await side.invoke({"anthropic_version": "v", **CHAT_REQUEST})
    with pytest.raises(Exception, match=r"."):
        await resolve(result["body"].read())
    found = await only(spans)
    assert found["llmtrace.outcome"] == "error"
    assert found["error.type"]


@COLOURS
@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", b'{"usage": "x"}'], ids=str)
async def test_odd_body_reaches_the_caller(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, body: bytes
) -> None:
    """A body that is not the expected JSON reaches the caller, and has a span without usage."""
    loopback.will(ServerResponse([body]))
    result = await side.invoke({"anthropic_version": "v", **CHAT_REQUEST})
    assert await resolve(result["body"].read()) == body
    assert "gen_ai.usage.input_tokens" not in await only(spans)


@COLOURS
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_intervention_of_a_guardrail_is_a_refusal(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, stream: bool
) -> None:
    """Bedrock reports in the body that a guardrail has replaced the text."""
    action = {"amazon-bedrock-guardrailAction": "INTERVENED"}
    body = [{**VENDORS["llama"].events[-1], **METRICS, **action}] if stream else VENDORS["llama"].response | action
    loopback.will(vendor_answer(body, stream=stream))
    await read(await side.invoke(PROMPT, stream=stream, guardrailIdentifier="gr1", guardrailVersion="1"))
    found = await only(spans)
    assert (found["llmtrace.refusal"], found["aws.bedrock.guardrail.id"]) == (True, "gr1")


def test_client_of_anthropic_is_one_span(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """``AnthropicBedrock`` signs with botocore and sends by itself: the hook of its own library traces it."""
    loopback.will(json_answer(MESSAGE))
    client = AnthropicBedrock(base_url=loopback.url, aws_access_key="a", aws_secret_key="b", aws_region="us-east-1")
    client.messages.create(model=SONNET, max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    client.close()
    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})["llmtrace.api"] == "anthropic.messages.create"


@pytest.mark.parametrize("colour", ["sync"])
async def test_body_from_a_file_is_left_to_botocore(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side
) -> None:
    """A request body that is a file is sent, and not read by llmtrace."""
    loopback.will(json_answer(MESSAGE))
    data = json.dumps({"anthropic_version": "v", **CHAT_REQUEST}).encode()
    await read(await side.call("invoke_model", modelId="m", body=io.BytesIO(data)))
    assert loopback.received[0].body == json.loads(data)
    assert (await only(spans))["gen_ai.usage.input_tokens"] == 7


@pytest.mark.parametrize("colour", ["sync"])
async def test_unknown_fields_of_a_body_are_not_recorded(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side
) -> None:
    """Text in fields of a body that no table knows may be content: it is on no span."""
    loopback.will(json_answer({"answer": "secret"}))
    await read(await side.invoke({"question": "secret", "depth": 2, "more": {"a": "secret"}}, model="my.model"))
    found = await only(spans)
    assert json.loads(found["llmtrace.request.parameters"]) == {"depth": 2}
    assert "secret" not in str(found)
