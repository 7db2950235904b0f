"""``LLMTRACE_STREAM_USAGE``: streams tell their usage, and the caller cannot tell."""

from __future__ import annotations

import gc
from typing import Any

import openai
import pytest

import llmtrace
from vendor_proxy import PROMPT, Vendor, cost_attributes, instrument_spans, make_openai

CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
WORDS = [
    {**CHUNK, "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]},
    {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
]
USAGE = {**CHUNK, "choices": [], "usage": {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100}}


def unchanged(body: Any) -> Any:
    return [*WORDS, USAGE] if (body.get("stream_options") or {}).get("include_usage") else WORDS


def seen(chunks: Any) -> list[Any]:
    return [chunk.to_dict() for chunk in chunks]


def test_injected_usage_chunk_is_hidden_from_the_caller(vendor: Vendor) -> None:
    """With ``auto`` usage is requested of OpenAI's host, the span has a cost, and the caller sees no extra chunk."""
    vendor.response = unchanged
    ask: dict[str, Any] = {"model": "gpt-4o", "messages": PROMPT, "stream": True, "stream_options": {"x": 1}}
    before = seen(make_openai(vendor).chat.completions.create(**ask))
    exporter = instrument_spans(stream_usage="auto")
    assert seen(make_openai(vendor).chat.completions.create(**ask)) == before
    assert ask["stream_options"] == {"x": 1}
    assert vendor.requests[-1][1]["stream_options"] == {"x": 1, "include_usage": True}
    assert cost_attributes(exporter)["llmtrace.cost.exact"] == "0.0035"


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_stream_left_at_the_usage_chunk_is_complete(vendor: Vendor, how: str) -> None:
    """A program that stops at the chunk with the usage, as many do, has received all of it."""
    vendor.response = unchanged
    exporter = instrument_spans()
    ask: dict[str, Any] = {"model": "gpt-4o", "messages": PROMPT, "stream": True}
    stream = make_openai(vendor).chat.completions.create(**ask, stream_options={"include_usage": True})
    next(chunk for chunk in stream if chunk.usage)
    if how == "closed":
        stream.close()
    else:
        stream.response.close()
    del stream
    gc.collect()
    assert llmtrace.flush()
    assert cost_attributes(exporter)["llmtrace.cost.exact"] == "0.0035"


async def test_injected_usage_chunk_is_hidden_from_asynchronous_callers(vendor: Vendor) -> None:
    """An asynchronous stream hides the chunk as well."""
    vendor.response = unchanged
    exporter = instrument_spans(stream_usage="always")
    http = openai.DefaultAsyncHttpxClient(proxy=vendor.url)
    async with openai.AsyncOpenAI(api_key="k", base_url="http://far.example/v1", http_client=http) as asking:
        stream = await asking.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True)
        assert len([chunk async for chunk in stream]) == 2
    assert cost_attributes(exporter)["llmtrace.cost.exact"] == "0.0035"


@pytest.mark.parametrize(
    ("host", "settings", "requested"),
    [
        ("api.openai.com", {}, False),
        ("far.example", {"stream_usage": "auto"}, False),
        ("far.example", {"stream_usage": "auto", "stream_usage_hosts": "far.example"}, True),
        ("far.example", {"stream_usage": "always"}, True),
    ],
)
def test_usage_is_requested_only_of_chosen_hosts(vendor: Vendor, host: str, settings: Any, requested: bool) -> None:
    """By default no request is changed; ``auto`` covers OpenAI's own host and the listed ones."""
    vendor.response = unchanged
    instrument_spans(**settings)
    list(make_openai(vendor, f"http://{host}/v1").chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True))
    assert ("stream_options" in vendor.requests[-1][1]) is requested


@pytest.mark.parametrize("wish", [True, False])
def test_stream_options_of_the_caller_are_unchanged(vendor: Vendor, wish: bool) -> None:
    """A caller who sets ``include_usage``, to true or false, gets exactly that."""
    vendor.response = unchanged
    instrument_spans(stream_usage="always")
    stream = make_openai(vendor).chat.completions.create(
        model="gpt-4o", messages=PROMPT, stream=True, stream_options={"include_usage": wish}
    )
    assert len(list(stream)) == (3 if wish else 2)


def test_raw_responses_are_unchanged(vendor: Vendor) -> None:
    """The extra chunk cannot be hidden from readers of the raw body, so no usage is requested."""
    vendor.response = unchanged
    instrument_spans(stream_usage="always")
    raw = make_openai(vendor).chat.completions.with_raw_response.create(model="gpt-4o", messages=PROMPT, stream=True)
    assert len(list(raw.parse())) == 2
    assert "stream_options" not in vendor.requests[-1][1]


def test_host_that_rejects_stream_options_is_remembered(vendor: Vendor) -> None:
    """The caller sees the error, the call is not repeated, and later requests to the host are unchanged."""
    vendor.response = lambda body: (
        (400, {"error": {"message": "stream_options is unknown"}}) if "stream_options" in body else WORDS
    )
    instrument_spans(stream_usage="always")
    asking = make_openai(vendor, "http://old.example/v1")
    with pytest.raises(openai.BadRequestError):
        asking.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True)
    assert len(vendor.requests) == 1
    assert len(list(asking.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True))) == 2


@pytest.mark.parametrize("how", ["stream", "helper"])
def test_null_usage_of_other_chunks_is_hidden(vendor: Vendor, how: str) -> None:
    """The server then adds ``usage: null`` to all other chunks, which no set of fields and no helper shows."""

    def with_nulls(body: Any) -> Any:
        requested = (body.get("stream_options") or {}).get("include_usage")
        return [*({**word, "usage": None} for word in WORDS), USAGE] if requested else WORDS

    def shown() -> list[Any]:
        completions = make_openai(vendor).chat.completions
        if how == "stream":
            chunks = completions.create(model="gpt-4o", messages=PROMPT, stream=True)  # type: ignore[call-overload]
            return [(sorted(chunk.model_fields_set), chunk.model_dump_json(exclude_unset=True)) for chunk in chunks]
        helper = getattr(completions, "stream", None) or make_openai(vendor).beta.chat.completions.stream
        with helper(model="gpt-4o", messages=PROMPT) as stream:
            return [event.model_dump_json(exclude_unset=True) for event in stream]

    vendor.response = with_nulls
    before = shown()
    exporter = instrument_spans(stream_usage="always")
    assert shown() == before
    assert cost_attributes(exporter)["llmtrace.cost.exact"] == "0.0035"
