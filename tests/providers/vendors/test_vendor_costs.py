"""Costs of calls through the libraries of Cohere, Ollama and Voyage AI, and what is recorded with content off."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from helpers import listed_rates
from loopback import Loopback, json_answer, stream_answer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from vendor_calls import COHERE_CHAT, COHERE_EVENTS, COLOURS, METHODS, Method, only, read, resolve, sse

import llmtrace

BILLED = {"input_tokens": 1234, "output_tokens": 567}
CHAT = pytest.mark.parametrize("name", ["cohere-chat"])


@COLOURS
@CHAT
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("kind", [int, float])
async def test_chat_of_cohere_costs_its_billed_units(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, stream: bool, kind: Callable[[int], float]
) -> None:
    """Cohere bills fewer tokens than the model read, since its own prompt is free; counts may be floats."""
    billed = {name: kind(count) for name, count in BILLED.items()}
    usage = {"billed_units": billed, "tokens": {"input_tokens": 2345, "output_tokens": 567}, "cached_tokens": 2000}
    end = {"type": "message-end", "delta": {"finish_reason": "MAX_TOKENS", "usage": usage}}
    events = sse([*COHERE_EVENTS[:-1], end], done=True)
    loopback.will(stream_answer(events) if stream else json_answer({**COHERE_CHAT, "usage": usage}))
    ask = client.chat_stream if stream else client.chat
    await read(await resolve(ask(model="command-a-03-2025", messages=[{"role": "user", "content": "hi"}])))
    found, rate = await only(spans), listed_rates("cohere", "command-a-03-2025")
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (1234, 567)
    assert "gen_ai.usage.cache_read.input_tokens" not in found
    assert Decimal(found["llmtrace.cost.exact"]) == 1234 * rate["input_mtok"] + 567 * rate["output_mtok"]
    assert "llmtrace.cost.approximate" not in found


@CHAT
@pytest.mark.parametrize("colour", ["sync"])
async def test_chat_of_cohere_without_billed_units_is_approximate(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any
) -> None:
    """Tokens are more than what is billed."""
    loopback.will(json_answer({**COHERE_CHAT, "usage": {"tokens": BILLED}}))
    client.chat(model="command-a-03-2025", messages=[{"role": "user", "content": "hi"}])
    found = await only(spans)
    assert found["gen_ai.usage.input_tokens"] == 1234
    assert found["llmtrace.cost.approximate"] is True


@COLOURS
@pytest.mark.parametrize("name", ["cohere-rerank"])
async def test_search_units_have_a_cost_with_a_price_of_ones_own(
    loopback: Loopback, client: Any, method: Method
) -> None:
    """The price list has no rerankers of Cohere: the cost is absent with its reason."""
    loopback.will(method.respond())
    with llmtrace.instrument(tracer_provider=TracerProvider()), llmtrace.collect() as calls:
        await method.ask(client)
    (call,) = calls
    assert (call.cost, call.unpriced_reason) == (None, "unknown_model")
    assert call.usage.search_units == 1


@COLOURS
@pytest.mark.parametrize("name", ["ollama-chat"])
@pytest.mark.parametrize("prices", [None, [{"provider": "ollama", "model": "*", "input": "0", "output": "0"}]], ids=str)
async def test_call_of_ollama_is_free_with_a_price_of_ones_own_only(
    loopback: Loopback, client: Any, method: Method, prices: list[dict[str, str]] | None
) -> None:
    """Nobody lists a price for a model on one's own machine: the cost is absent, unless one says that it is zero."""
    loopback.will(method.respond())
    with llmtrace.instrument(tracer_provider=TracerProvider(), prices=prices), llmtrace.collect() as calls:
        await method.ask(client)
    (call,) = calls
    assert call.unpriced_reason == (None if prices else "unknown_model")
    assert (None if call.cost is None else call.cost.total) == (0 if prices else None)


@COLOURS
@pytest.mark.parametrize("name", ["voyage-embed"])
async def test_embeddings_of_voyage_cost_their_tokens(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, method: Method
) -> None:
    """The total is the input."""
    body = {**method.body, "model": "voyage-3.5", "usage": {"total_tokens": 1234}}
    loopback.will(json_answer(body))
    await resolve(client.embed(["a"], model="voyage-3.5", input_type="query"))
    found = await only(spans)
    assert Decimal(found["llmtrace.cost.exact"]) == 1234 * listed_rates("voyageai", "voyage-3.5")["input_mtok"]
    assert "llmtrace.cost.approximate" not in found


SECRET = "my secret"
TOOLS = [{"type": "function", "function": {"name": "f", "description": SECRET, "parameters": {"type": "object"}}}]
MESSAGES = [{"role": "user", "content": SECRET}]
SCHEMA = {"type": "object", "properties": {SECRET: {"type": "string"}}, "required": [SECRET]}
SECRETS: dict[str, Callable[[Any], Any]] = {
    "cohere-chat": lambda client: client.chat(model="m", messages=MESSAGES, documents=[SECRET], tools=TOOLS),
    "cohere-v1-chat": lambda client: client.chat(
        model="m", message=SECRET, preamble=SECRET, chat_history=[{"role": "USER", "message": SECRET}]
    ),
    "cohere-rerank": lambda client: client.rerank(model="m", query=SECRET, documents=[SECRET]),
    "ollama-chat": lambda client: client.chat(model="m", messages=MESSAGES, tools=TOOLS, format=SCHEMA),
    "ollama-generate": lambda client: client.generate(
        model="m", prompt=SECRET, system=SECRET, template=SECRET, suffix=SECRET
    ),
    "ollama-embed": lambda client: client.embed(model="m", input=SECRET),
    "hugging_face-chat": lambda client: client.chat_completion(MESSAGES, tools=TOOLS),
    "hugging_face-generation": lambda client: client.text_generation(SECRET, details=True),
    "voyage-embed": lambda client: client.embed([SECRET], model="m"),
    "voyage-rerank": lambda client: client.rerank(SECRET, [SECRET, SECRET], model="m"),
}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("colour", ["sync"])
async def test_no_text_is_recorded_with_content_off(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, name: str
) -> None:
    """Neither a prompt nor a document nor a tool is on the span unless content is on."""
    loopback.will(METHODS[name].respond())
    SECRETS[name](client)
    assert SECRET not in str(await only(spans))


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("colour", ["sync"])
async def test_texts_are_recorded_with_content_on(
    loopback: Loopback, content_spans: InMemorySpanExporter, client: Any, name: str
) -> None:
    """The text of the request is on the span, and so is that of the response."""
    loopback.will(METHODS[name].respond())
    SECRETS[name](client)
    found = await only(content_spans)
    assert SECRET in str(found)
    chats = METHODS[name].operation in ("chat", "text_completion")
    assert ("gen_ai.output.messages" in found) == chats
