"""Groq, Together, Cerebras and Fireworks: costs, ends of streams, and what only one of them has."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from answers import CHAT, CHAT_CHUNKS, MESSAGE, QUESTION, sse
from helpers import attributes, collect, listed_model, listed_rates, resolve
from loopback import Loopback, json_answer, stream_answer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace import BudgetExceeded
from stainless_clients import COMPATIBLE, make_client

COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])
VENDORS = pytest.mark.parametrize("vendor", COMPATIBLE)
MODELS = {vendor: listed_model(vendor) for vendor in COMPATIBLE}
USAGE = {"prompt_tokens": 1234, "completion_tokens": 567, "total_tokens": 1801}
CACHED = {"prompt_tokens_details": {"cached_tokens": 1000}}


@pytest.fixture
async def client(vendor: str, colour: str, loopback: Loopback) -> AsyncIterator[Any]:
    """The client under test, closed afterwards."""
    made = make_client(vendor, colour, loopback.url)
    yield made
    await resolve(made.close())


def chunks(vendor: str, model: str, usage: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the chunks of a stream, whose last one has the usage: Groq's under a name of its own."""
    named = [{**chunk, "model": model} for chunk in CHAT_CHUNKS[:3]]
    named[-1] |= {"x_groq": {"id": "req_1", "usage": usage}} if vendor == "groq" else {"usage": usage}
    return named


async def ask(client: Any, **more: Any) -> Any:
    """Make a chat call. A stream is returned unread."""
    return await resolve(client.chat.completions.create(**{"model": "m", "messages": QUESTION, **more}))


async def only(spans: InMemorySpanExporter) -> dict[str, Any]:
    """Return the attributes of the only span, after dropped streams have ended."""
    for _ in range(3):
        gc.collect()
        await asyncio.sleep(0.002)
    assert llmtrace.flush()
    return attributes(spans)


@COLOURS
@VENDORS
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("more", [{}, CACHED], ids=["fresh", "cached"])
async def test_chat_costs_its_tokens(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, vendor: str, stream: bool, more: dict[str, Any]
) -> None:
    """Fresh, cached and output tokens cost what the price list says, to the last digit, and nothing is OpenAI's."""
    model, usage = MODELS[vendor], {**USAGE, **more}
    events = sse(chunks(vendor, model, usage), done=True)
    loopback.will(stream_answer(events) if stream else json_answer({**CHAT, "model": model, "usage": usage}))
    result = await ask(client, model=model, stream=stream)
    if stream:
        assert len(await collect(result)) == 3
    found, rate = await only(spans), listed_rates(vendor, model)
    cached = 1000 if more else 0
    cached_rate = rate.get("cache_read_mtok", rate["input_mtok"])
    expected = (1234 - cached) * rate["input_mtok"] + cached * cached_rate + 567 * rate["output_mtok"]
    assert Decimal(found["llmtrace.cost.exact"]) == expected
    assert found.get("llmtrace.cost.approximate") == (True if more and "cache_read_mtok" not in rate else None)
    assert not [name for name in found if name.startswith("openai.")]


@COLOURS
@pytest.mark.parametrize("vendor", ["groq", "cerebras"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_times_of_the_server_are_recorded(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, vendor: str, stream: bool
) -> None:
    """The server times that Groq reports in its usage, and Cerebras in ``time_info``, are on the span."""
    times = {"queue_time": 0.25, "prompt_time": 0.5, "completion_time": 1.5, "total_time": 2}
    usage = USAGE | times if vendor == "groq" else USAGE
    more = {"time_info": times} if vendor == "cerebras" else {}
    named = chunks(vendor, "m-1", usage)
    named[-1] |= more
    body = {**CHAT, "usage": usage, **more}
    loopback.will(stream_answer(sse(named, done=True)) if stream else json_answer(body))
    result = await ask(client, stream=stream)
    if stream:
        await collect(result)
    found = await only(spans)
    stages = {name.rpartition(".")[2]: found[name] for name in found if name.startswith("llmtrace.server.time.")}
    assert stages == {"queue": 0.25, "prompt": 0.5, "completion": 1.5, "total": 2}


@COLOURS
@VENDORS
@pytest.mark.parametrize("end", ["closed", "dropped"])
async def test_stream_left_early_is_ended_once(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, vendor: str, colour: str, end: str
) -> None:
    """A stream that is closed or dropped keeps what is known by then, and is no error."""
    loopback.will(stream_answer(sse(chunks(vendor, "m-1", USAGE), done=True)))
    stream = await ask(client, stream=True)
    await (anext(stream) if colour == "async" else resolve(next(stream)))
    if end == "closed":
        await resolve(stream.close())
    del stream
    found = await only(spans)
    assert (found["llmtrace.stream.end"], found["llmtrace.outcome"]) == (end, "ok")
    assert found["gen_ai.response.id"] == "chatcmpl-1"
    assert "gen_ai.usage.output_tokens" not in found


@COLOURS
@VENDORS
async def test_retries_are_counted(loopback: Loopback, spans: InMemorySpanExporter, client: Any) -> None:
    """One span counts the SDK's own retries."""
    overloaded = json_answer({"error": {"message": "x"}}, status=503, headers={"retry-after-ms": "1"})
    loopback.will(overloaded, overloaded, json_answer(CHAT))
    client.max_retries = 2
    await ask(client)
    found = await only(spans)
    assert (found["llmtrace.retry.count"], found["llmtrace.outcome"]) == (2, "ok")


@COLOURS
@VENDORS
async def test_budget_refuses_before_the_request_is_sent(
    request: pytest.FixtureRequest, loopback: Loopback, spans: InMemorySpanExporter, client: Any
) -> None:
    """A spent budget raises its own exception through the SDK."""
    loopback.will(json_answer(CHAT))
    name = request.node.name
    llmtrace.budget(name, tokens=1, per="total", action="block", match={"tag": name})
    with llmtrace.tag(tags=(name,)):
        await ask(client)
        assert await only(spans)
        with pytest.raises(BudgetExceeded):
            await ask(client)
    assert len(loopback.received) == 1


@VENDORS
def test_hooks_are_undone(vendor: str) -> None:
    """uninstrument() puts back the identical functions."""
    module: Any = COMPATIBLE[vendor]
    owners = (module._base_client.SyncAPIClient, module._base_client.AsyncAPIClient)
    before = [vars(owner)["request"] for owner in owners]
    done = llmtrace.instrument(tracer_provider=TracerProvider(), clients=[vendor])
    assert done.patched.keys() == {vendor}
    assert all(vars(owner)["request"] is not old for owner, old in zip(owners, before, strict=True))
    llmtrace.uninstrument()
    assert all(vars(owner)["request"] is old for owner, old in zip(owners, before, strict=True))


# --------------------------------------------------------------------------
# Groq
# --------------------------------------------------------------------------
@COLOURS
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("vendor", ["groq"])
async def test_tools_of_groq_make_the_cost_approximate(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, stream: bool
) -> None:
    """Groq bills its built-in tools apart from the tokens, and the price list has no prices for them."""
    model = MODELS["groq"]
    used = {"executed_tools": [{"index": 0, "type": "browser_search", "arguments": "{}"}]}
    if stream:
        first, *others = chunks("groq", model, USAGE)
        tool = {**first, "choices": [{"index": 0, "delta": used, "finish_reason": None}]}
        loopback.will(stream_answer(sse([first, tool, *others], done=True)))
    else:
        message = {"role": "assistant", "content": "hi", **used}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        loopback.will(json_answer({**CHAT, "model": model, "choices": choices, "usage": USAGE}))
    result = await ask(client, model=model, stream=stream)
    if stream:
        await collect(result)
    found = await only(spans)
    assert found["llmtrace.cost.approximate"] is True
    assert found["llmtrace.cost.unpriced_units"] == ("executed_tools",)


@pytest.mark.parametrize(("tier", "approximate"), [("on_demand", None), ("performance", True)])
@pytest.mark.parametrize("vendor", ["groq"])
@pytest.mark.parametrize("colour", ["sync"])
async def test_tier_of_groq_without_a_price_is_approximate(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, tier: str, approximate: bool | None
) -> None:
    """The tier that Groq calls ``on_demand`` has the list price."""
    loopback.will(json_answer({**CHAT, "model": MODELS["groq"], "service_tier": tier}))
    await ask(client, model=MODELS["groq"], extra_body={"service_tier": tier})
    assert (await only(spans)).get("llmtrace.cost.approximate") is approximate


@pytest.mark.parametrize(("seconds", "billed"), [(90.5, Decimal("90.5")), (3.0, Decimal(10))])
@pytest.mark.parametrize("vendor", ["groq"])
@pytest.mark.parametrize("colour", ["sync"])
async def test_transcription_of_groq_costs_its_seconds(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, seconds: float, billed: Decimal
) -> None:
    """A verbose transcript states the length of the audio, of which Groq bills ten seconds at least."""
    loopback.will(json_answer({"text": "hi", "duration": seconds}))
    client.audio.transcriptions.create(
        model="whisper-large-v3", file=("a.wav", b"RIFF"), response_format="verbose_json"
    )
    found = await only(spans)
    assert Decimal(found["llmtrace.cost.exact"]) == billed * Decimal("0.111") / 3600
    assert found["llmtrace.usage.audio_seconds"] == seconds


# --------------------------------------------------------------------------
# Together
# --------------------------------------------------------------------------
@COLOURS
@pytest.mark.parametrize("vendor", ["together"])
async def test_rerank_of_together_is_one_span_with_its_content(
    loopback: Loopback, content_spans: InMemorySpanExporter, client: Any
) -> None:
    """A reranking has its tokens, and the query and the documents with content on."""
    results = [{"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}]
    loopback.will(
        json_answer({"object": "rerank", "id": "r-1", "model": "m-1", "results": results, "usage": {"total_tokens": 7}})
    )
    await resolve(client.rerank.create(model="m", query="which?", documents=["a", {"text": "b"}], top_n=1))
    (span,) = content_spans.get_finished_spans()
    found = attributes(content_spans)
    assert span.name == "rerank m"
    assert found["llmtrace.operation.name"] == "rerank"
    assert (found["reranker.model_name"], found["reranker.top_k"]) == ("m", 1)
    assert found["gen_ai.usage.input_tokens"] == 7
    assert found["reranker.query"] == "which?"
    assert [found[f"reranker.input_documents.{index}.document.content"] for index in (0, 1)] == ["a", "b"]


@pytest.mark.parametrize("vendor", ["together"])
@pytest.mark.parametrize("colour", ["sync"])
async def test_rerank_records_no_text_with_content_off(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any
) -> None:
    """Neither the query nor a document is recorded unless content is on."""
    loopback.will(json_answer({"object": "rerank", "model": "m-1", "results": []}))
    client.rerank.create(model="m", query="secret", documents=["secret"], rank_fields=["title"])
    found = await only(spans)
    assert "secret" not in str(found)
    assert found["llmtrace.usage.source"] == "missing"


# --------------------------------------------------------------------------
# Fireworks
# --------------------------------------------------------------------------
@COLOURS
@pytest.mark.parametrize("vendor", ["fireworks"])
async def test_messages_of_fireworks_cost_their_tokens(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any
) -> None:
    """The dialect of Anthropic counts cached tokens apart from the input."""
    model = MODELS["fireworks"]
    usage = {"input_tokens": 234, "cache_read_input_tokens": 1000, "output_tokens": 567}
    loopback.will(json_answer({**MESSAGE, "model": model, "usage": usage}))
    await resolve(client.messages.create(model=model, messages=QUESTION, max_tokens=9))
    found, rate = await only(spans), listed_rates("fireworks", model)
    assert found["gen_ai.usage.input_tokens"] == 1234
    expected = 234 * rate["input_mtok"] + 1000 * rate["cache_read_mtok"] + 567 * rate["output_mtok"]
    assert Decimal(found["llmtrace.cost.exact"]) == expected
