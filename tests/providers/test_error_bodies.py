"""Responses of status 200 that report an error end their span as an error, with the vendor's code."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from answers import CHAT_CHUNKS, QUESTION, sse
from google import genai
from google.genai import types
from loopback import Loopback, json_answer, stream_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

BODY = {"error": {"message": "no credits", "code": 402}}
IN_BASE = {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}, "choices": None, "data": None}
Call = Callable[[openai.OpenAI], Any]
SOUND = ("a.wav", io.BytesIO(b"x"))

CALLS: dict[str, Call] = {
    "chat": lambda client: client.chat.completions.create(model="m", messages=QUESTION),  # type: ignore[arg-type]
    "chat-raw": lambda client: client.chat.completions.with_raw_response.create(model="m", messages=QUESTION),  # type: ignore[arg-type]
    "completions": lambda client: client.completions.create(model="m", prompt="x"),
    "responses": lambda client: client.responses.create(model="m", input="hi"),
    "responses-raw": lambda client: client.responses.with_raw_response.create(model="m", input="hi"),
    "embeddings": lambda client: client.embeddings.create(model="m", input="hi"),
    "images": lambda client: client.images.generate(model="m", prompt="x"),
    "speech": lambda client: client.audio.speech.create(model="m", voice="alloy", input="x"),
    "transcriptions": lambda client: client.audio.transcriptions.create(model="m", file=SOUND),
    "moderations": lambda client: client.moderations.create(input="x"),
}


NEEDS_RESPONSES = pytest.mark.skipif(not hasattr(openai.OpenAI, "responses"), reason="this release has none")
NAMES = [pytest.param(name, marks=NEEDS_RESPONSES) if name.startswith("responses") else name for name in CALLS]


def error_of(spans: InMemorySpanExporter) -> tuple[Any, Any, Any]:
    (span,) = spans.get_finished_spans()
    reported = dict(span.attributes or {})
    return span.status.status_code, reported.get("llmtrace.outcome"), reported.get("llmtrace.error.code")


@pytest.mark.parametrize(("body", "code"), [(BODY, "402"), (IN_BASE, "1008")])
@pytest.mark.parametrize("call", NAMES)
def test_openai_error_body_is_an_error(
    loopback: Loopback, spans: InMemorySpanExporter, call: str, body: Any, code: str
) -> None:
    """Every API of the dialect, parsed or raw, ends as an error."""
    loopback.will(json_answer(body))
    with openai.OpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client:
        try:
            CALLS[call](client)
        except (ValueError, TypeError, openai.OpenAIError) as error:  # some releases read the answer at once
            del error
    assert error_of(spans) == (StatusCode.ERROR, "error", code)


@NEEDS_RESPONSES
async def test_error_body_is_an_error_for_the_async_clients(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """The asynchronous client has the same outcome."""
    loopback.will(json_answer(BODY))
    async with openai.AsyncOpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client:
        await client.responses.create(model="m", input="hi")
    assert error_of(spans) == (StatusCode.ERROR, "error", "402")


COUNTS = pytest.mark.skipif(
    not hasattr(anthropic.resources.messages.Messages, "count_tokens"), reason="this release has none"
)


@pytest.mark.parametrize("path", ["messages", pytest.param("count_tokens", marks=COUNTS)])
def test_anthropic_error_body_is_an_error(loopback: Loopback, spans: InMemorySpanExporter, path: str) -> None:
    """Anthropic's error body ends the span as an error."""
    loopback.will(json_answer({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}))
    with anthropic.Anthropic(base_url=loopback.url, api_key="x", max_retries=0) as client:
        if path == "messages":
            client.messages.create(model="claude-x", max_tokens=5, messages=QUESTION)  # type: ignore[arg-type]
        else:
            client.messages.count_tokens(model="claude-x", messages=QUESTION)  # type: ignore[arg-type]
    assert error_of(spans) == (StatusCode.ERROR, "error", "overloaded_error")


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("body", [IN_BASE, {"code": "1008", "message": "x"}])
def test_error_in_a_stream_is_an_error(
    loopback: Loopback, spans: InMemorySpanExporter, raw: bool, as_json: bool, body: Any
) -> None:
    """An error among the chunks, or in a JSON body in place of the stream, is an error."""
    loopback.will(json_answer(body) if as_json else stream_answer(sse([CHAT_CHUNKS[0], body])))
    with openai.OpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client:
        requested: dict[str, Any] = {"model": "m", "messages": QUESTION, "stream": True}
        if raw:
            with client.chat.completions.with_streaming_response.create(**requested) as answer:
                list(answer.iter_lines())
        else:
            list(client.chat.completions.create(**requested))
    assert error_of(spans) == (StatusCode.ERROR, "error", "1008")


async def test_json_body_in_place_of_an_async_stream_is_an_error(
    loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """The asynchronous stream is empty for the caller, and the span has the reason."""
    loopback.will(json_answer(IN_BASE))
    async with openai.AsyncOpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client:
        stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)  # type: ignore[arg-type]
        assert [chunk async for chunk in stream] == []
    assert error_of(spans) == (StatusCode.ERROR, "error", "1008")


def test_events_with_json_content_type_are_read_as_events(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A server that sends events with the wrong content type loses no data."""
    loopback.will(stream_answer(sse(CHAT_CHUNKS, done=True), kind="application/json"))
    with openai.OpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client:
        assert len(list(client.chat.completions.create(model="m", messages=QUESTION, stream=True))) == 4  # type: ignore[call-overload]
    (span,) = spans.get_finished_spans()
    reported = dict(span.attributes or {})
    assert (reported["llmtrace.outcome"], reported["llmtrace.stream.chunks"]) == ("ok", 4)
    assert reported["gen_ai.usage.output_tokens"] == 3


def test_numeric_code_of_an_exception_is_recorded(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """The SDK raises for an error event, whose code may be a number."""
    loopback.will(stream_answer(sse([CHAT_CHUNKS[0], BODY])))
    with openai.OpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client, pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="m", messages=QUESTION, stream=True))  # type: ignore[call-overload]
    assert error_of(spans) == (StatusCode.ERROR, "error", "402")


@pytest.mark.parametrize("call", ["generate", "stream", "embed", "count"])
def test_gemini_error_body_is_an_error(loopback: Loopback, spans: InMemorySpanExporter, call: str) -> None:
    """Gemini's error body under 200 is an error, whether or not the SDK raises for it."""
    body = {"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}
    loopback.will(stream_answer([f"data: {json.dumps(body)}\n\n".encode()]) if call == "stream" else json_answer(body))
    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=loopback.url))
    try:
        match call:
            case "generate":
                client.models.generate_content(model="m", contents="hi")
            case "stream":
                list(client.models.generate_content_stream(model="m", contents="hi"))
            case "embed":
                client.models.embed_content(model="m", contents="hi")
            case _:
                client.models.count_tokens(model="m", contents="hi")
    except genai.errors.APIError as error:
        del error
    assert error_of(spans) == (StatusCode.ERROR, "error", "UNAVAILABLE")
