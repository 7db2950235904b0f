"""``LLMTRACE_STREAM_USAGE``: streams tell their usage, and the caller cannot tell."""

from __future__ import annotations

import gc
from typing import Any

import openai
import pytest

import llmtrace
from vendor_proxy import ASK, Vendor, client, cost_of, spans_with

CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
WORDS = [
    {**CHUNK, "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]},
    {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
]
USAGE = {**CHUNK, "choices": [], "usage": {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100}}


def as_asked(body: Any) -> Any:
    return [*WORDS, USAGE] if (body.get("stream_options") or {}).get("include_usage") else WORDS


def seen(chunks: Any) -> list[Any]:
    return [chunk.to_dict() for chunk in chunks]


def test_the_extra_chunk_never_reaches_the_caller(vendor: Vendor) -> None:
    """With ``auto`` OpenAI's own host is asked, the span has a cost, and the caller sees what he saw before."""
    vendor.answer = as_asked
    ask: dict[str, Any] = {"model": "gpt-4o", "messages": ASK, "stream": True, "stream_options": {"x": 1}}
    before = seen(client(vendor).chat.completions.create(**ask))
    exporter = spans_with(stream_usage="auto")
    assert seen(client(vendor).chat.completions.create(**ask)) == before
    assert ask["stream_options"] == {"x": 1}
    assert vendor.asked[-1][1]["stream_options"] == {"x": 1, "include_usage": True}
    assert cost_of(exporter)["llmtrace.cost.exact"] == "0.0035"


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_a_stream_left_after_its_last_word_is_whole(vendor: Vendor, how: str) -> None:
    """A program that stops at the chunk with the usage, as many do, has been told all there is to tell."""
    vendor.answer = as_asked
    exporter = spans_with()
    ask: dict[str, Any] = {"model": "gpt-4o", "messages": ASK, "stream": True}
    stream = client(vendor).chat.completions.create(**ask, stream_options={"include_usage": True})
    next(chunk for chunk in stream if chunk.usage)
    if how == "closed":
        stream.close()
    else:
        stream.response.close()
    del stream
    gc.collect()
    assert llmtrace.flush()
    assert cost_of(exporter)["llmtrace.cost.exact"] == "0.0035"


async def test_the_same_for_an_asynchronous_client(vendor: Vendor) -> None:
    """An asynchronous stream hides the chunk as well."""
    vendor.answer = as_asked
    exporter = spans_with(stream_usage="always")
    http = openai.DefaultAsyncHttpxClient(proxy=vendor.url)
    async with openai.AsyncOpenAI(api_key="k", base_url="http://far.example/v1", http_client=http) as asking:
        stream = await asking.chat.completions.create(model="gpt-4o", messages=ASK, stream=True)
        assert len([chunk async for chunk in stream]) == 2
    assert cost_of(exporter)["llmtrace.cost.exact"] == "0.0035"


@pytest.mark.parametrize(
    ("host", "settings", "asked"),
    [
        ("api.openai.com", {}, False),
        ("far.example", {"stream_usage": "auto"}, False),
        ("far.example", {"stream_usage": "auto", "stream_usage_hosts": "far.example"}, True),
        ("far.example", {"stream_usage": "always"}, True),
    ],
)
def test_which_hosts_are_asked(vendor: Vendor, host: str, settings: Any, asked: bool) -> None:
    """By default no request is changed; ``auto`` keeps to OpenAI's own host and to those that are listed."""
    vendor.answer = as_asked
    spans_with(**settings)
    list(client(vendor, f"http://{host}/v1").chat.completions.create(model="gpt-4o", messages=ASK, stream=True))
    assert ("stream_options" in vendor.asked[-1][1]) is asked


@pytest.mark.parametrize("wish", [True, False])
def test_a_wish_of_the_callers_own_is_left_alone(vendor: Vendor, wish: bool) -> None:
    """Who asks himself, or asks not to, gets exactly that."""
    vendor.answer = as_asked
    spans_with(stream_usage="always")
    stream = client(vendor).chat.completions.create(
        model="gpt-4o", messages=ASK, stream=True, stream_options={"include_usage": wish}
    )
    assert len(list(stream)) == (3 if wish else 2)


def test_raw_readers_are_left_alone(vendor: Vendor) -> None:
    """Nothing can be hidden from who reads the wire himself, so nothing is asked."""
    vendor.answer = as_asked
    spans_with(stream_usage="always")
    raw = client(vendor).chat.completions.with_raw_response.create(model="gpt-4o", messages=ASK, stream=True)
    assert len(list(raw.parse())) == 2
    assert "stream_options" not in vendor.asked[-1][1]


def test_a_host_that_refuses_is_remembered(vendor: Vendor) -> None:
    """The refusal is the caller's to see, the call is not repeated, and the host is not asked again."""
    vendor.answer = lambda body: (
        (400, {"error": {"message": "stream_options is unknown"}}) if "stream_options" in body else WORDS
    )
    spans_with(stream_usage="always")
    asking = client(vendor, "http://old.example/v1")
    with pytest.raises(openai.BadRequestError):
        asking.chat.completions.create(model="gpt-4o", messages=ASK, stream=True)
    assert len(vendor.asked) == 1
    assert len(list(asking.chat.completions.create(model="gpt-4o", messages=ASK, stream=True))) == 2


@pytest.mark.parametrize("how", ["stream", "helper"])
def test_nulls_that_the_wish_adds_are_hidden(vendor: Vendor, how: str) -> None:
    """The server then writes ``usage: null`` on all other chunks, which no set of fields and no helper shows."""

    def with_nulls(body: Any) -> Any:
        asked = (body.get("stream_options") or {}).get("include_usage")
        return [*({**word, "usage": None} for word in WORDS), USAGE] if asked else WORDS

    def shown() -> list[Any]:
        completions = client(vendor).chat.completions
        if how == "stream":
            chunks = completions.create(model="gpt-4o", messages=ASK, stream=True)  # type: ignore[call-overload]
            return [(sorted(chunk.model_fields_set), chunk.model_dump_json(exclude_unset=True)) for chunk in chunks]
        helper = getattr(completions, "stream", None) or client(vendor).beta.chat.completions.stream
        with helper(model="gpt-4o", messages=ASK) as stream:
            return [event.model_dump_json(exclude_unset=True) for event in stream]

    vendor.answer = with_nulls
    before = shown()
    exporter = spans_with(stream_usage="always")
    assert shown() == before
    assert cost_of(exporter)["llmtrace.cost.exact"] == "0.0035"
