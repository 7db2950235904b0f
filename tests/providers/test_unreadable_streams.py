"""Streams that the SDK cannot parse end as errors; exceptions of the caller's own code do not."""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import anthropic
import openai
import pytest
from answers import CHAT_CHUNKS, MESSAGE_EVENTS, QUESTION, RESPONSE_EVENTS, sse
from google import genai
from google.genai import types
from google_recordings import close_async
from loopback import Loopback, stream_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from pydantic import BaseModel

import llmtrace

GOOD = {"candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "index": 0}]}
LAST = {"candidates": [{"content": {"role": "model", "parts": [{"text": "x"}]}, "finishReason": "STOP", "index": 0}]}
NEEDS_RESPONSES = pytest.mark.skipif(not hasattr(openai.OpenAI, "responses"), reason="this release has none")
UNREADABLE = {"number": 5, "candidates": {"candidates": 5}, "parts": {"candidates": [{"content": {"parts": 7}}]}}


@pytest.fixture
async def gemini(loopback: Loopback) -> AsyncIterator[genai.Client]:
    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=loopback.url))
    yield client
    await close_async(client)


def data(*chunks: Any) -> list[bytes]:
    return [b"data: %s\n\n" % (chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()) for chunk in chunks]


def ended(spans: InMemorySpanExporter) -> tuple[Any, Any, Any, Any]:
    gc.collect()
    llmtrace.flush()
    (span,) = spans.get_finished_spans()
    ends = dict(span.attributes or {})
    return span.status.status_code, ends["llmtrace.outcome"], ends["llmtrace.stream.end"], ends.get("error.type")


def failed(error: BaseException) -> tuple[Any, Any, Any, Any]:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return StatusCode.ERROR, "error", "failed", name


CLOSED = (StatusCode.UNSET, "ok", "closed", None)


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("before", [[], [GOOD], [GOOD, LAST]])
@pytest.mark.parametrize("bad", UNREADABLE)
async def test_invalid_gemini_chunk_fails_the_stream(
    loopback: Loopback,
    gemini: genai.Client,
    spans: InMemorySpanExporter,
    bad: str,
    before: list[Any],
    colour: str,
    chat: bool,
) -> None:
    """The caller gets the SDK's exception, which is on the span too, at any position of the chunk."""
    loopback.will(stream_answer(data(*before, UNREADABLE[bad])))
    with pytest.raises((TypeError, ValueError, AttributeError)) as raised:
        if colour == "sync":
            sync = gemini.chats.create(model="m").send_message_stream("hi") if chat else None
            for _ in sync or gemini.models.generate_content_stream(model="m", contents="hi"):
                pass
        else:
            stream = await (
                gemini.aio.chats.create(model="m").send_message_stream("hi")
                if chat
                else gemini.aio.models.generate_content_stream(model="m", contents="hi")
            )
            async for _ in stream:
                pass
    assert ended(spans) == failed(raised.value)


@pytest.mark.parametrize("damage", [b"{nope", b'{"candidates": [', b"\xff\xfe{"])
def test_gemini_chunk_that_is_not_json_fails_the_stream(
    loopback: Loopback, gemini: genai.Client, spans: InMemorySpanExporter, damage: bytes
) -> None:
    """Invalid JSON in the middle of a stream fails it."""
    loopback.will(stream_answer(data(GOOD, damage, LAST)))
    with pytest.raises(Exception) as raised:
        list(gemini.models.generate_content_stream(model="m", contents="hi"))
    assert ended(spans)[:3] == failed(raised.value)[:3]


async def test_invalid_chunk_of_another_call_does_not_fail_an_open_stream(
    loopback: Loopback, gemini: genai.Client, spans: InMemorySpanExporter
) -> None:
    """Only the stream with the invalid chunk fails, not another one that the same code reads."""
    loopback.will(stream_answer(data(GOOD, LAST)), stream_answer(data(GOOD, 5)))
    for _ in gemini.models.generate_content_stream(model="m", contents="hi"):
        try:
            list(gemini.models.generate_content_stream(model="m", contents="hi"))
        except TypeError as error:
            del error
    outcomes = [dict(span.attributes or {})["llmtrace.stream.end"] for span in spans.get_finished_spans()]
    assert (outcomes.count("failed"), outcomes.count("exhausted")) == (2, 1)


Streamed = Callable[[Loopback], Any]


def chat(loopback: Loopback) -> Any:
    client = openai.OpenAI(base_url=loopback.url, api_key="x", max_retries=0)
    return client.chat.completions.create(model="m", messages=QUESTION, stream=True)  # type: ignore[call-overload]


def responses(loopback: Loopback) -> Any:
    client = openai.OpenAI(base_url=loopback.url, api_key="x", max_retries=0)
    return client.responses.create(model="m", input="hi", stream=True)


def messages(loopback: Loopback) -> Any:
    client = anthropic.Anthropic(base_url=loopback.url, api_key="x", max_retries=0)
    return client.messages.create(model="m", max_tokens=5, messages=QUESTION, stream=True)  # type: ignore[call-overload]


@pytest.mark.parametrize("damage", [b"{nope", b"\xff\xfe{"])
@pytest.mark.parametrize(
    ("ask", "first"),
    [
        (chat, CHAT_CHUNKS[0]),
        pytest.param(responses, RESPONSE_EVENTS[0], marks=NEEDS_RESPONSES),
        (messages, MESSAGE_EVENTS[0]),
    ],
)
def test_damaged_json_in_the_middle_fails_the_stream(
    loopback: Loopback, spans: InMemorySpanExporter, ask: Streamed, first: Any, damage: bytes
) -> None:
    """The SDK's decoder raises while the caller iterates."""
    event = b"event: message_delta\n" if ask is messages else b""
    loopback.will(stream_answer([*sse([first]), event + b"data: " + damage + b"\n\n"]))
    with pytest.raises(Exception) as raised, ask(loopback) as stream:
        for _ in stream:
            pass
    assert ended(spans) == failed(raised.value)


def test_damaged_compression_fails_the_stream(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A body that cannot be decompressed fails the stream."""
    loopback.will(stream_answer([b"this is not gzip"], headers={"content-encoding": "gzip"}))
    with pytest.raises(Exception) as raised, chat(loopback) as stream:
        for _ in stream:
            pass
    assert ended(spans) == failed(raised.value)


class Form(BaseModel):
    number: int


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_helper_that_cannot_join_the_chunks_fails_the_stream(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str
) -> None:
    """``chat.completions.stream`` raises for a response cut by the limit, although its raw stream is valid."""
    cut = {**CHAT_CHUNKS[2], "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
    loopback.will(stream_answer(sse([CHAT_CHUNKS[0], cut, CHAT_CHUNKS[3]], done=True)))
    requested: dict[str, Any] = {"model": "m", "messages": QUESTION, "response_format": Form}
    with pytest.raises(openai.LengthFinishReasonError) as raised:
        if colour == "sync":
            with openai.OpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client:
                completions = getattr(client.chat.completions, "stream", None) or client.beta.chat.completions.stream
                with completions(**requested) as stream:
                    for _ in stream:
                        pass
        else:
            async with openai.AsyncOpenAI(base_url=loopback.url, api_key="x", max_retries=0) as other:
                completions = getattr(other.chat.completions, "stream", None) or other.beta.chat.completions.stream
                async with completions(**requested) as stream:
                    async for _ in stream:
                        pass
    assert ended(spans) == failed(raised.value)


def test_anthropic_helper_that_cannot_join_the_events_fails_the_stream(
    loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """``messages.stream`` raises for tool arguments that are not JSON, although its raw stream is valid."""
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    delta = {"type": "input_json_delta", "partial_json": '{"a": nope'}
    start = {"type": "content_block_start", "index": 0, "content_block": tool}
    loopback.will(
        stream_answer(sse([MESSAGE_EVENTS[0], start, {"type": "content_block_delta", "index": 0, "delta": delta}]))
    )
    client = anthropic.Anthropic(base_url=loopback.url, api_key="x", max_retries=0)
    opened = client.messages.stream(model="m", max_tokens=5, messages=QUESTION)  # type: ignore[arg-type]
    with pytest.raises(Exception) as raised, opened as stream:
        for _ in stream:
            pass
    assert ended(spans) == failed(raised.value)


@pytest.mark.parametrize("ask", [chat, messages, "helper"])
def test_exception_in_the_callers_loop_is_not_an_error_of_the_stream(
    loopback: Loopback, spans: InMemorySpanExporter, ask: Any
) -> None:
    """The caller closed the stream, for whatever reason."""
    loopback.will(stream_answer(sse(MESSAGE_EVENTS if ask in (messages, "helper") else CHAT_CHUNKS)))
    if ask == "helper":
        client = anthropic.Anthropic(base_url=loopback.url, api_key="x", max_retries=0)
        opened: Any = client.messages.stream(model="m", max_tokens=5, messages=QUESTION)  # type: ignore[arg-type]
    else:
        opened = ask(loopback)
    with pytest.raises(KeyError), opened as stream:
        for _ in stream:
            raise KeyError("mine")
    assert ended(spans) == CLOSED


def test_exception_in_the_callers_loop_over_gemini_is_not_an_error_of_the_stream(
    loopback: Loopback, gemini: genai.Client, spans: InMemorySpanExporter
) -> None:
    """The caller leaves the generator, which is then collected or closed."""
    loopback.will(stream_answer(data(GOOD, GOOD, LAST)))
    stream = gemini.models.generate_content_stream(model="m", contents="hi")
    with pytest.raises(TypeError):
        for _ in stream:
            raise TypeError("mine")
    stream.close()  # type: ignore[attr-defined]
    assert ended(spans) == CLOSED
