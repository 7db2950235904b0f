"""Costs that the answer states: on every API, in the body or in a header, whichever way it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

import llmtrace
from vendor_proxy import CHAT, MESSAGE, PROMPT, Vendor, instrument_spans, make_anthropic, make_openai

GATEWAY = "http://gateway.test/v1"
HEADER = {"X-LiteLLM-Response-Cost": "0.000123"}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
EMBEDDED = {"object": "list", "model": "text-embedding-3-small", "data": [{"embedding": [0.1], "index": 0}]}
IMAGE = {"created": 1, "data": [{"b64_json": "aGk="}]}
RESPONSE = {"id": "r", "object": "response", "status": "completed", "model": "gpt-4o", "output": []}

CALLS: dict[str, tuple[Any, Callable[[Any], Any], dict[str, Any]]] = {
    # the answer, the resource of a client, what is asked
    "chat": (
        {**CHAT, "model": "gpt-4o"},
        lambda it: it.chat.completions,
        {"method": "create", "model": "gpt-4o", "messages": PROMPT},
    ),
    "completions": (
        {**CHAT, "choices": []}, lambda it: it.completions, {"method": "create", "model": "gpt-4o", "prompt": "hi"},
    ),
    "embeddings": (
        EMBEDDED,
        lambda it: it.embeddings,
        {"method": "create", "model": "text-embedding-3-small", "input": "hi", "encoding_format": "float"},
    ),
    "images": (IMAGE, lambda it: it.images, {"method": "generate", "model": "gpt-image-1", "prompt": "cat"}),
    "responses": (RESPONSE, lambda it: it.responses, {"method": "create", "model": "gpt-4o", "input": "hi"}),
}  # fmt: skip


def make_request(connected: Any, name: str, *, raw: bool = False) -> None:
    resource, options = CALLS[name][1](connected), dict(CALLS[name][2])
    method = options.pop("method")
    if raw:
        getattr(resource.with_raw_response, method)(**options).parse()
    else:
        getattr(resource, method)(**options)


def costs(exporter: Any) -> tuple[Any, Any, Any]:
    assert llmtrace.flush(30)
    (span,) = exporter.get_finished_spans()
    names = ("llm.cost.total", "llmtrace.cost.source", "llmtrace.cost.approximate")
    return tuple(span.attributes.get(name) for name in names)  # type: ignore[return-value]


@pytest.mark.parametrize("name", list(CALLS))
@pytest.mark.parametrize("raw", [False, True], ids=["plain", "raw"])
def test_cost_in_the_body_wins_on_every_api(vendor: Vendor, name: str, raw: bool) -> None:
    """The cost in the body is used exactly, before that in a header."""
    vendor.response, vendor.headers = {**CALLS[name][0], "usage": {**USAGE, "cost": 0.0000001}}, HEADER
    exporter = instrument_spans()
    make_request(make_openai(vendor, GATEWAY), name, raw=raw)
    assert costs(exporter) == (1e-7, "provider", None)


@pytest.mark.parametrize("name", list(CALLS))
@pytest.mark.parametrize("usage", [USAGE, None], ids=["usage", "none"])
def test_cost_in_a_header_is_taken_where_the_body_has_none(vendor: Vendor, name: str, usage: Any) -> None:
    """A gateway's header states the cost, with or without token counts."""
    vendor.response, vendor.headers = {**CALLS[name][0], "usage": usage}, HEADER
    exporter = instrument_spans()
    make_request(make_openai(vendor, GATEWAY), name)
    assert costs(exporter) == (0.000123, "provider", None)


async def test_cost_in_a_header_of_an_asynchronous_call_is_taken(vendor: Vendor) -> None:
    """Responses of the asynchronous client are read in the same way."""
    vendor.response, vendor.headers = {**CHAT, "model": "gpt-4o", "usage": USAGE}, HEADER
    exporter = instrument_spans()
    http = openai.DefaultAsyncHttpxClient(proxy=vendor.url)
    async with openai.AsyncOpenAI(api_key="k", base_url=GATEWAY, max_retries=0, http_client=http) as connected:
        await connected.chat.completions.create(model="gpt-4o", messages=PROMPT)
    assert costs(exporter) == (0.000123, "provider", None)


@pytest.mark.parametrize("stream", [False, True])
def test_cost_in_a_header_of_the_messages_api_is_taken(vendor: Vendor, stream: bool) -> None:
    """Gateways state the cost on Anthropic's API too."""
    usage = {"input_tokens": 5, "output_tokens": 2}
    full = {**MESSAGE, "model": "claude-opus-5", "usage": usage}
    events = [{"type": "message_start", "message": full}, {"type": "message_stop"}]
    vendor.response, vendor.headers = events if stream else full, HEADER
    exporter = instrument_spans()
    made = make_anthropic(vendor, anthropic.Anthropic).messages.create(
        model="claude-opus-5", max_tokens=9, messages=PROMPT, stream=stream
    )
    if stream:
        list(made)
    assert costs(exporter) == (0.000123, "provider", None)


def test_cost_in_a_header_of_a_stream_is_taken(vendor: Vendor) -> None:
    """The headers of a stream are those of its response."""
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    end = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}
    vendor.response = [{**chunk, "choices": [end]}, {**chunk, "choices": [], "usage": USAGE}]
    vendor.headers = HEADER
    exporter = instrument_spans()
    list(make_openai(vendor, GATEWAY).chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True))
    assert costs(exporter) == (0.000123, "provider", None)


@pytest.mark.parametrize("value", ["0", "0.0", "None", "", "-1", "nan", "inf", "1e400", "a lot"])
def test_header_without_a_valid_amount_is_ignored(vendor: Vendor, value: str) -> None:
    """A header of 0 counts as not stated, as does an invalid amount: the price list applies."""
    vendor.response = {**CHAT, "model": "gpt-4o", "usage": USAGE}
    vendor.headers = {"x-litellm-response-cost": value}
    exporter = instrument_spans()
    make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT)
    assert costs(exporter) == (pytest.approx((5 * 2.5 + 2 * 10) / 1e6), "catalog", None)


def test_zero_cost_in_the_body_is_accepted(vendor: Vendor) -> None:
    """A cost of 0 in the body is that of a free model."""
    vendor.response, vendor.headers = {**CHAT, "model": "gpt-4o", "usage": {**USAGE, "cost": 0}}, HEADER
    exporter = instrument_spans()
    make_openai(vendor, GATEWAY).chat.completions.create(model="gpt-4o", messages=PROMPT)
    assert costs(exporter) == (0.0, "provider", None)


def test_transcription_states_its_cost(vendor: Vendor) -> None:
    """OpenRouter states the cost of a transcription next to its seconds."""
    vendor.response = {"text": "hi", "usage": {"seconds": 9.2, "cost": 0.0000005}}
    exporter = instrument_spans()
    audio = ("a.wav", b"RIFF" + b"0" * 64, "audio/wav")
    make_openai(vendor, GATEWAY).audio.transcriptions.create(model="whisper-1", file=audio)
    assert costs(exporter) == (5e-7, "provider", None)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_cost_in_a_header_of_gemini_is_taken(vendor: Vendor, stream: bool) -> None:
    """Gateways state the cost on Gemini's own API too."""
    answer = {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "x"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 2, "candidatesTokenCount": 1, "totalTokenCount": 3},
        "modelVersion": "gemini-2.5-flash",
    }
    vendor.response, vendor.headers = [answer] if stream else answer, HEADER
    exporter = instrument_spans()
    connected = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=vendor.url))
    if stream:
        list(connected.models.generate_content_stream(model="gemini-2.5-flash", contents="hi"))
    else:
        connected.models.generate_content(model="gemini-2.5-flash", contents="hi")
    assert costs(exporter) == (0.000123, "provider", None)
