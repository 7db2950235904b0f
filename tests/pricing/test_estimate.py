"""Estimates of usage that was not reported: separate from reported usage, and marked."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import openai
import pytest
from google import genai
from google.genai import types

import llmtrace
from llmtrace import _api
from llmtrace.model import RequestContent
from llmtrace.pricing import tokens
from llmtrace.pricing.estimates import estimate
from vendor_proxy import CHAT, MESSAGE, PROMPT, Vendor, instrument_spans, make_anthropic, make_openai

pytestmark = pytest.mark.skipif(not tokens.available(), reason="the extra tokens is not installed")
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}


def make_stream(*words: str, **delta: Any) -> list[Any]:
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words), {**delta}]
    ends = [*(None for _ in deltas[1:]), "stop"]
    return [
        {**CHUNK, "choices": [{"index": 0, "delta": each, "finish_reason": end}]}
        for each, end in zip(deltas, ends, strict=True)
    ]


def attributes(exporter: Any) -> dict[str, Any]:
    assert llmtrace.flush(30)
    (span,) = exporter.get_finished_spans()
    return {key: value for key, value in span.attributes.items() if "usage" in key or "cost" in key}


def test_estimate_of_a_reasoning_model_is_a_floor() -> None:
    """Hidden reasoning is not counted, and the estimate is marked."""
    assert estimate("openai/gpt-5-mini", RequestContent(), "x").floor
    assert not estimate("gpt-4o", RequestContent(), "x").floor


def test_estimate_is_separate_from_usage_by_default(vendor: Vendor, caplog: pytest.LogCaptureFixture) -> None:
    """By default an estimate has its own attributes, there is no cost, and one log line names the remedy."""
    exporter = instrument_spans(estimate_usage="separate")
    vendor.response = make_stream("Hello", " there", "!")
    with caplog.at_level(logging.WARNING, "llmtrace"):
        for _ in range(2):
            list(make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True))
            found = attributes(exporter)
            exporter.clear()
    assert found.pop("llmtrace.cost.estimated_usd") == pytest.approx((8 * 2.5 + 3 * 10) / 1e6)
    assert found == {
        "llmtrace.usage.source": "estimated",
        "llmtrace.usage.estimated_input_tokens": 8,
        "llmtrace.usage.estimated_output_tokens": 3,
        "llmtrace.usage.estimate_method": "o200k_base",
        "llmtrace.usage.estimate_floor": False,
        "llmtrace.cost.unpriced_reason": "no_usage",
    }
    assert sum("LLMTRACE_STREAM_USAGE" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("by", ["program", "setting", "none"])
def test_stream_left_before_its_usage_is_estimated(vendor: Vendor, caplog: pytest.LogCaptureFixture, by: str) -> None:
    """Usage comes last: of a stream that is left before it, the text is counted. No option would report more."""
    exporter = instrument_spans(estimate_usage="separate", stream_usage="auto" if by == "setting" else "never")
    usage = {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100}
    vendor.response = [*make_stream("Hello", " there", "!"), {**CHUNK, "choices": [], "usage": usage}]
    wish: Any = {"stream_options": {"include_usage": True}} if by == "program" else {}
    with caplog.at_level(logging.WARNING, "llmtrace"):
        with make_openai(vendor).chat.completions.create(
            model="gpt-4o", messages=PROMPT, stream=True, **wish
        ) as stream:
            for _ in range(3):  # one that opens, two that speak
                next(stream)
        found = attributes(exporter)
    assert found["llmtrace.usage.estimated_output_tokens"] == 2
    assert found["llmtrace.cost.estimated_usd"] == pytest.approx((8 * 2.5 + 2 * 10) / 1e6)
    assert "llm.cost.total" not in found
    assert caplog.records == []


@pytest.mark.usefixtures("vendor")
async def test_cancelled_call_logs_nothing_about_its_server(caplog: pytest.LogCaptureFixture) -> None:
    """The input of a call that is cancelled before its response is estimated, and its server is not to blame."""
    exporter = instrument_spans(estimate_usage="separate")
    with socket.create_server(("127.0.0.1", 0)) as silent, caplog.at_level(logging.WARNING, "llmtrace"):
        client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{silent.getsockname()[1]}", api_key="k")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.chat.completions.create(model="gpt-4o", messages=PROMPT), 0.2)
        found = attributes(exporter)
    assert found["llmtrace.usage.estimated_input_tokens"] == 8
    assert caplog.records == []


@pytest.mark.parametrize("reading", ["create", "parse", "lines"])
@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ({"content": "Hello"}, 1),
        ({"refusal": "Hello"}, 1),
        ({"reasoning": "Hello", "reasoning_content": "Hello"}, 1),
        ({"reasoning": "Hello"}, 1),
        ({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "Hello", "arguments": ""}}]}, 1 + 7),
        ({"tool_calls": [{"index": 0, "id": "c", "custom": {"name": "Hello", "input": ""}}]}, 1 + 7),
        ({"function_call": {"name": "Hello", "arguments": ""}}, 1 + 7),
    ],
)
def test_all_text_of_a_stream_is_counted(vendor: Vendor, delta: dict[str, Any], expected: int, reading: str) -> None:
    """Text, reasoning and tool calls under any of their names, also when the body is not read by the SDK."""
    exporter = instrument_spans(estimate_usage="separate")
    vendor.response = make_stream(**delta)
    resource = make_openai(vendor).chat.completions
    if reading == "create":
        list(resource.create(model="gpt-4o", messages=PROMPT, stream=True))
    elif reading == "parse":
        list(resource.with_raw_response.create(model="gpt-4o", messages=PROMPT, stream=True).parse())
    else:
        with resource.with_streaming_response.create(model="gpt-4o", messages=PROMPT, stream=True) as response:
            list(response.iter_lines())
    assert attributes(exporter)["llmtrace.usage.estimated_output_tokens"] == expected


def test_estimate_replaces_usage_in_usage_mode(vendor: Vendor) -> None:
    """With ``usage`` the standard attributes are set too, and marked."""
    exporter = instrument_spans(estimate_usage="usage")
    vendor.response = make_stream("Hello")
    list(make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True))
    found = attributes(exporter)
    assert found["gen_ai.usage.input_tokens"] == 8
    assert found["llmtrace.usage.source"] == "estimated"
    assert found["llm.cost.total"] == found["llmtrace.cost.estimated_usd"]
    assert found["llmtrace.cost.approximate"] is True


def test_reported_usage_wins_over_an_estimate(vendor: Vendor) -> None:
    """Usage that the provider reported is never estimated."""
    exporter = instrument_spans(estimate_usage="separate")
    usage = {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100}
    vendor.response = [*make_stream("Hello"), {**CHUNK, "choices": [], "usage": usage}]
    list(make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True))
    found = attributes(exporter)
    assert found["llmtrace.usage.source"] == "provider"
    assert not any("estimate" in name for name in found)


def test_content_is_released_after_counting(vendor: Vendor) -> None:
    """Neither the request nor the response is kept after the count."""
    kept: list[Any] = []
    instrument_spans(estimate_usage="separate")
    made = _api._current
    assert made is not None
    made._runtime.services.observers.append(kept.append)
    vendor.response = make_stream("Hello")
    list(make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True))
    assert llmtrace.flush(30)
    state = kept[0].price.__self__  # kept until the cost is computed
    assert (state.body, state.output_text, state.content) == (None, None, None)


RESPONSE = {"id": "r", "object": "response", "status": "completed", "model": "gpt-4o"}
TEXT = {"type": "message", "id": "m", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "Hello there!", "annotations": []}]}  # fmt: skip
VECTOR = {"object": "embedding", "index": 0, "embedding": "AACAPwAAAEA="}
CALLED = {"type": "function_call", "id": "f", "call_id": "c", "name": "Hello", "arguments": "{}"}


@pytest.mark.parametrize("raw", [False, True], ids=["plain", "raw"])
@pytest.mark.parametrize(
    ("api", "body", "passed", "made"),
    [
        # "Hello there!" is three tokens, "Hello" and "{}" are one each; a call has a frame of seven
        ("chat", {**CHAT, "model": "gpt-4o"}, 8, 2),
        ("responses", {**RESPONSE, "output": [TEXT]}, 8, 3),
        ("responses", {**RESPONSE, "output": [CALLED]}, 8, 1 + 1 + 7),
        ("embeddings", {"object": "list", "model": "text-embedding-3-small", "data": [VECTOR]}, 1, 0),
    ],
)
def test_plain_response_without_usage_is_estimated(
    vendor: Vendor, api: str, body: dict[str, Any], passed: int, made: int, raw: bool
) -> None:
    """An answer that came whole and reports no tokens is estimated, apart from what is known."""
    exporter = instrument_spans(estimate_usage="separate")
    vendor.response = body
    connected = make_openai(vendor)
    resource = connected.chat.completions if api == "chat" else getattr(connected, api)
    prompt = {"messages": PROMPT} if api == "chat" else {"input": "Hello"}
    requested: dict[str, Any] = {"model": body["model"], **prompt}
    if raw:
        resource.with_raw_response.create(**requested).parse()
    else:
        resource.create(**requested)
    found = attributes(exporter)
    assert found["llmtrace.usage.source"] == "estimated"
    assert found["llmtrace.usage.estimated_input_tokens"] == passed
    assert found["llmtrace.usage.estimated_output_tokens"] == made
    rates = (0.02, 0) if api == "embeddings" else (2.5, 10)
    assert found["llmtrace.cost.estimated_usd"] == pytest.approx((passed * rates[0] + made * rates[1]) / 1e6)
    assert found["llmtrace.cost.unpriced_reason"] == "no_usage"
    assert "llm.cost.total" not in found


def test_messages_response_without_usage_is_estimated(vendor: Vendor) -> None:
    """Servers of Anthropic's API may report no usage either; a tool call counts with its arguments."""
    exporter = instrument_spans(estimate_usage="separate")
    blocks = [{"type": "text", "text": "Hello"}, {"type": "tool_use", "id": "t", "name": "Hello", "input": {}}]
    vendor.response = {**MESSAGE, "model": "claude-opus-5", "content": blocks, "usage": None}
    make_anthropic(vendor).messages.create(model="claude-opus-5", max_tokens=9, messages=PROMPT)
    found = attributes(exporter)
    assert found["llmtrace.usage.estimated_output_tokens"] == 1 + 1 + 37
    assert found["llmtrace.cost.estimated_usd"] == pytest.approx((8 * 5 + 39 * 25) / 1e6)


def test_background_response_is_not_estimated(vendor: Vendor) -> None:
    """A response under way reports its usage when it is fetched."""
    exporter = instrument_spans(estimate_usage="separate")
    vendor.response = {**RESPONSE, "status": "queued", "output": []}
    make_openai(vendor).responses.create(model="gpt-4o", input="Hello", background=True)
    assert not any("estimate" in name for name in attributes(exporter))


def test_call_with_a_stated_cost_is_not_estimated(vendor: Vendor) -> None:
    """If a gateway states the cost, nothing is estimated and nothing is approximate."""
    exporter = instrument_spans(estimate_usage="separate")
    vendor.response, vendor.headers = {**CHAT, "model": "gpt-4o"}, {"x-litellm-response-cost": "0.5"}
    make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT)
    found = attributes(exporter)
    assert (found["llm.cost.total"], found["llmtrace.cost.source"]) == (0.5, "provider")
    assert "llmtrace.cost.approximate" not in found


def events(*texts: str) -> list[dict[str, Any]]:
    usage = {"input_tokens": 100, "output_tokens": 1}
    return [
        {"type": "message_start", "message": {**MESSAGE, "model": "claude-opus-5", "content": [], "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts),
    ]


@pytest.mark.parametrize("how", ["truncated", "closed"])
def test_cut_stream_has_the_larger_of_reported_and_estimated(vendor: Vendor, how: str) -> None:
    """The reported usage is unchanged; the estimate adds the words that arrived after the report."""
    exporter = instrument_spans(estimate_usage="separate")
    vendor.response = events(*["Hello"] * 200)
    stream = make_anthropic(vendor).messages.create(model="claude-opus-5", max_tokens=9, messages=PROMPT, stream=True)
    if how == "closed":
        for _ in range(2 + 200):
            next(stream)
        stream.close()
    else:
        list(stream)
    found = attributes(exporter)
    text = tokens.count("Hello" * 200, "o200k_base")
    assert text > 100
    assert found["llmtrace.usage.source"] == "partial"
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (100, 1)
    assert found["llmtrace.usage.estimated_output_tokens"] == text
    assert found["llmtrace.cost.estimated_usd"] == pytest.approx((100 * 5 + text * 25) / 1e6)
    assert found["llmtrace.cost.unpriced_reason"] == "partial_usage"
    assert "llm.cost.total" not in found


def gemini(vendor: Vendor) -> Any:
    return genai.Client(api_key="k", http_options=types.HttpOptions(base_url=vendor.url))


def make_candidate(text: str, *, end: bool = True) -> dict[str, Any]:
    reason = {"finishReason": "STOP"} if end else {}
    parts = [{"text": text}, {"functionCall": {"name": "Hello", "args": {}}}]
    content = {"role": "model", "parts": parts if end else parts[:1]}
    return {"candidates": [{"content": content, **reason}], "modelVersion": "gemini-2.5-flash"}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_gemini_response_without_usage_is_estimated(vendor: Vendor, stream: bool) -> None:
    """Contents, instruction and functions of a request are counted, and the parts of the response."""
    exporter = instrument_spans(estimate_usage="separate")
    full = make_candidate("Hello there!")
    vendor.response = [make_candidate("Hello", end=False), make_candidate(" there!")] if stream else full
    connected = gemini(vendor)
    models = connected.models
    requested = models.generate_content_stream if stream else models.generate_content
    made = requested(model="gemini-2.5-flash", contents="Hello", config={"system_instruction": "Hello"})
    if stream:
        list(made)
    found = attributes(exporter)
    # "Hello" in a frame of three with its role, the instruction in one of four, and the answer's beginning of three
    assert found["llmtrace.usage.estimated_input_tokens"] == (3 + 1 + 1) + (4 + 1) + 3
    assert found["llmtrace.usage.estimated_output_tokens"] == 3 + 1 + 7
    assert found["llmtrace.cost.estimated_usd"] == pytest.approx((13 * 0.3 + 11 * 2.5) / 1e6)
    assert found["llmtrace.usage.source"] == "estimated"


def test_continued_conversation_is_not_counted_twice(vendor: Vendor) -> None:
    """The caller adds the response to its messages before the tokens of the call are counted."""
    exporter = instrument_spans(estimate_usage="separate")
    vendor.response = {**CHAT, "model": "gpt-4o"}
    messages = list(PROMPT)
    make_openai(vendor).chat.completions.create(model="gpt-4o", messages=messages)
    messages += [{"role": "user", "content": "Hello " * 50}] * 9
    assert attributes(exporter)["llmtrace.usage.estimated_input_tokens"] == 8
