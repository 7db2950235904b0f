"""LiteLLM: one span for each request to a vendor, with the vendor's own counts, and the same result for the caller."""

from __future__ import annotations

import inspect
from decimal import Decimal
from typing import Any

import pytest
from answers import QUESTION, RESPONSE
from helpers import flushed_attributes, output_messages
from litellm_calls import (
    COLOURS,
    EACH_VENDOR,
    OLDEST,
    STREAMED,
    VENDORS,
    Vendor,
    arguments,
    ask,
    call,
    good,
    litellm,
)
from loopback import Loopback, ServerResponse, json_answer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.providers.litellm.provider import LITELLM
from llmtrace.providers.litellm.requests import parse_path

pytestmark = pytest.mark.filterwarnings("ignore")  # LiteLLM's own


@COLOURS
@STREAMED
@EACH_VENDOR
async def test_request_has_one_span_and_the_caller_the_same_result(
    loopback: Loopback, spans: InMemorySpanExporter, vendor: Vendor, stream: bool, colour: str
) -> None:
    """Each vendor's call is one span with all counts, whether LiteLLM sends it itself or through a vendor's library."""
    loopback.will(good(vendor, stream=stream))
    options = arguments(vendor, loopback.url, **({"stream_options": {"include_usage": True}} if stream else {}))
    traced = await ask(colour, stream=stream, **options)
    found = flushed_attributes(spans)
    assert found["gen_ai.provider.name"] == vendor.provider
    assert found["gen_ai.request.model"] == vendor.name
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (100, 20)
    assert found.get("gen_ai.usage.cache_read.input_tokens") == (
        30 if vendor.dialect in ("messages", "invoke") else None
    )
    assert found.get("gen_ai.usage.reasoning.output_tokens") == (5 if vendor.dialect == "gemini" else None)
    assert vendor.dialect == "ollama" or found["llm.cost.total"] > 0
    assert found.get("llmtrace.stream.end") == ("exhausted" if stream else None)
    assert len(loopback.received) == 1
    llmtrace.uninstrument()
    assert await ask(colour, stream=stream, **options) == traced


VECTORS = {"data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 7}}
# The first releases reject a response that leaves out a field.
_FIELDS = ("error", "incomplete_details", "instructions", "metadata", "temperature", "top_p", "max_output_tokens")
_FIELDS += ("previous_response_id", "reasoning", "text", "truncation", "user")
FULL_RESPONSE = dict.fromkeys(_FIELDS) | RESPONSE
METHODS: dict[str, tuple[str, str, dict[str, Any], Any, str]] = {
    "responses": ("responses", "openai", {"input": "hi"}, FULL_RESPONSE, "chat"),
    "responses over messages": ("responses", "anthropic", {"input": "hi"}, None, "chat"),
    "text": ("text_completion", "mistral", {"prompt": "hi"}, None, "chat"),
    "embedding": ("embedding", "mistral", {"input": ["hi"]}, VECTORS, ""),
    "own embedding": (
        "embedding",
        "openai",
        {"input": ["hi"]},
        VECTORS,
        "",
    ),
}


@COLOURS
@pytest.mark.parametrize("name", METHODS)
async def test_other_functions_have_one_span(
    loopback: Loopback, spans: InMemorySpanExporter, name: str, colour: str
) -> None:
    """Responses, legacy completions and embeddings are traced, also where LiteLLM translates them."""
    function, vendor, options, body, operation = METHODS[name]
    loopback.will(good(VENDORS[vendor]) if body is None else json_answer({"object": "list", "model": "m", **body}))
    base = {name: value for name, value in arguments(VENDORS[vendor], loopback.url).items() if name != "messages"}
    await call(function, colour, **{**base, **options})
    found = flushed_attributes(spans)
    assert found["gen_ai.operation.name"] == (operation or "embeddings")
    assert found["gen_ai.usage.input_tokens"] == (7 if body else 100)


async def test_messages_api_has_one_span(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """Anthropic's interface is traced, with the counts of cached tokens."""
    vendor = VENDORS["anthropic"]
    loopback.will(good(vendor))
    await litellm.anthropic.messages.acreate(**arguments(vendor, loopback.url), max_tokens=9)
    found = flushed_attributes(spans)
    assert found["gen_ai.usage.input_tokens"] == 100
    assert found["gen_ai.usage.cache_write.input_tokens"] == 10


@COLOURS
async def test_rerank_counts_search_units(loopback: Loopback, spans: InMemorySpanExporter, colour: str) -> None:
    """A reranker that is billed by search units has no tokens, and is not priced as if it had none to pay."""
    results = [{"index": 0, "relevance_score": 0.5}]
    loopback.will(json_answer({"id": "r", "results": results, "meta": {"billed_units": {"search_units": 2}}}))
    options = {"query": "q", "documents": ["d"], "api_key": "k", "api_base": loopback.url}
    with llmtrace.collect() as calls:
        await call("rerank", colour, model="cohere/rerank-v3.5", **options)
    found = flushed_attributes(spans)
    assert (calls[0].operation, found["gen_ai.provider.name"]) == ("rerank", "cohere")
    assert calls[0].usage.search_units == 2
    assert "gen_ai.usage.input_tokens" not in found


async def test_cost_is_the_vendors_statement_or_our_price(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A stated cost wins. What LiteLLM computes from a price list of its own is not a statement."""
    vendor = VENDORS["openrouter"]
    loopback.will(good(vendor, cost=0.5), good(vendor))
    with llmtrace.collect() as calls:
        for _ in range(2):
            litellm.completion(**arguments(vendor, loopback.url), input_cost_per_token=1, output_cost_per_token=1)
    assert [call.cost.source for call in calls] == ["provider", "catalog"]
    assert calls[0].cost.total == Decimal("0.5")
    assert calls[1].cost.total < 1


@pytest.mark.parametrize("vendor", ["anthropic", "gemini"])
async def test_counts_are_priced_by_class(loopback: Loopback, spans: InMemorySpanExporter, vendor: str) -> None:
    """Cached tokens and cache writes have their own rates, and reasoning is output."""
    loopback.will(good(VENDORS[vendor]))
    litellm.completion(**arguments(VENDORS[vendor], loopback.url))
    found = flushed_attributes(spans)
    per_token = Decimal("0.000001")
    expected = {
        "anthropic": 60 * 3 * per_token + 30 * per_token * 3 / 10 + 10 * per_token * 15 / 4 + 20 * 15 * per_token,
        "gemini": 100 * per_token * 3 / 10 + 20 * per_token * 5 / 2,
    }
    assert Decimal(found["llmtrace.cost.exact"]) == expected[vendor]


async def test_stream_without_usage_has_no_tokens(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """Tokens that LiteLLM counts itself, because a stream reports none, are not recorded as reported."""
    vendor = VENDORS["mistral"]
    answer = good(vendor, stream=True)
    loopback.will(ServerResponse([*answer.parts[:3], answer.parts[-2], b""], kind=answer.kind))
    chunks = await ask("sync", stream=True, **arguments(vendor, loopback.url))
    found = flushed_attributes(spans)
    assert chunks
    assert "gen_ai.usage.input_tokens" not in found
    assert "llm.cost.total" not in found


@COLOURS
@pytest.mark.parametrize("vendor", ["openai", "openrouter", "mistral"])
async def test_stream_usage_is_requested_and_hidden(loopback: Loopback, vendor: str, colour: str) -> None:
    """With ``LLMTRACE_STREAM_USAGE=always`` streams report their usage, and the caller gets the same chunks."""
    if vendor == "openrouter" and OLDEST:
        pytest.skip("this release reads no further than the finish reason")
    options = arguments(VENDORS[vendor], loopback.url)
    loopback.will(good(VENDORS[vendor], stream=True))
    expected = await ask(colour, stream=True, **options)
    with llmtrace.instrument(tracer_provider=TracerProvider(), stream_usage="always"), llmtrace.collect() as calls:
        loopback.will(good(VENDORS[vendor], stream=True))
        assert await ask(colour, stream=True, **options) == expected
    requested = loopback.received[-1].body.get("stream_options")
    assert requested == (None if vendor == "mistral" else {"include_usage": True})  # Mistral rejects the option
    assert (calls[0].usage.input, calls[0].usage.output) == (100, 20)


async def test_calls_without_a_request_have_no_span(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A mocked response is no request to a vendor, and is neither counted nor billed."""
    with llmtrace.collect() as calls:
        litellm.completion(model="openai/gpt-4o-mini", messages=QUESTION, mock_response="hi")
        await litellm.acompletion(model="anthropic/claude-sonnet-4-5", messages=QUESTION, mock_response="hi")
    assert len(calls) == 0
    assert spans.get_finished_spans() == ()
    assert loopback.received == []


async def test_hit_of_the_cache_has_no_span(
    loopback: Loopback, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiteLLM's cache answers the second call: one request, one span."""
    pytest.importorskip("soundfile", reason="newer releases need their proxy's packages for the cache")
    monkeypatch.setattr(litellm, "cache", litellm.Cache())
    loopback.will(good(VENDORS["mistral"]))
    options = arguments(VENDORS["mistral"], loopback.url, caching=True)
    for _ in range(2):
        await ask("sync", **options)
    assert len(loopback.received) == 1
    flushed_attributes(spans)


async def test_vendor_of_another_library_is_named(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """Requests to another vendor that LiteLLM sends through OpenAI's library have that vendor's name."""
    vendor = Vendor("nebius/meta-llama/Llama-3.3-70B-Instruct", "/v1", "chat", "nebius")
    loopback.will(good(vendor))
    litellm.completion(**arguments(vendor, loopback.url))
    found = flushed_attributes(spans)
    assert found["gen_ai.provider.name"] == "nebius"


@pytest.mark.parametrize(
    ("path", "route", "model"),
    [
        ("/v1/chat/completions", "/chat/completions", None),
        ("/v1/completions/", "/completions", None),
        ("/v1beta/models/gemini-x:generateContent", ":generateContent", "gemini-x"),
        ("/v1/projects/p/locations/l/publishers/anthropic/models/claude-x:streamRawPredict", "/messages", "claude-x"),
        ("/v1/projects/p/locations/l/publishers/mistralai/models/m:rawPredict", ":rawPredict", "m"),
        ("/model/us.amazon.nova-lite-v1%3A0/converse-stream", "/converse-stream", "us.amazon.nova-lite-v1:0"),
        ("/model/arn%3Aaws%3Abedrock%3Ainference-profile%2Fp/invoke", "/invoke", "arn:aws:bedrock:inference-profile/p"),
        ("/api/chat", "/api/chat", None),
        (":generateContent", ":generateContent", None),
        ("", "/", None),
    ],
)
def test_path_has_the_route_and_perhaps_the_model(path: str, route: str, model: str | None) -> None:
    """The end of a path names the API, also below a base URL of the program's own and on Vertex AI."""
    assert parse_path(LITELLM, path) == (route, model)


@COLOURS
@pytest.mark.parametrize("vendor", ["anthropic", "gemini", "openai"])
async def test_content_is_recorded_if_it_is_turned_on(
    loopback: Loopback, content_spans: InMemorySpanExporter, vendor: str, colour: str
) -> None:
    """With content on, the span has the question and the text of the stream."""
    loopback.will(good(VENDORS[vendor], stream=True))
    await ask(colour, stream=True, **arguments(VENDORS[vendor], loopback.url))
    found = flushed_attributes(content_spans)
    assert "hi" in found["gen_ai.input.messages"]
    assert [message["text"][:2] for message in output_messages(found)] == ["hé"]


async def test_functions_are_restored() -> None:
    """After ``uninstrument()`` every function is the very same object as before."""
    before = litellm.completion, litellm.acompletion, vars(litellm.CustomStreamWrapper)["__next__"]
    llmtrace.instrument()
    assert litellm.completion is not before[0]
    assert inspect.signature(litellm.completion) == inspect.signature(before[0])
    assert inspect.iscoroutinefunction(litellm.acompletion)
    llmtrace.uninstrument()
    assert (litellm.completion, litellm.acompletion, vars(litellm.CustomStreamWrapper)["__next__"]) == before
