"""Helpers that make calls with the vendors' clients and read the spans of those calls."""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from answers import QUESTION
from genai_prices.data import providers
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from recordings import Cassette

import llmtrace
from shapes import problems


def resource_and_arguments(client: Any) -> tuple[Any, dict[str, Any]]:
    """Return the resource that creates messages and the arguments of a request."""
    if hasattr(client, "chat"):
        return client.chat.completions, {"model": "m", "messages": QUESTION}
    return client.messages, {"model": "m", "messages": QUESTION, "max_tokens": 9}


async def resolve(value: Any) -> Any:
    """Return ``value``, awaited if it is awaitable."""
    return await value if inspect.isawaitable(value) else value


async def collect(items: Any) -> list[Any]:
    """Return all items of a synchronous or asynchronous iterable."""
    return [item async for item in items] if hasattr(items, "__aiter__") else list(items)


async def read_stream(client: Any, reading: str) -> list[Any]:
    """Return the items of a stream that is read in one of four ways."""
    resource, arguments = resource_and_arguments(client)
    if reading == "stream":
        return await collect(await resolve(resource.create(**arguments, stream=True)))
    if reading == "raw":
        raw = await resolve(resource.with_raw_response.create(**arguments, stream=True))
        return await collect(await resolve(raw.parse()))
    manager = resource.with_streaming_response.create(**arguments, stream=True)
    if hasattr(manager, "__aenter__"):
        async with manager as response:
            return await collect(getattr(response, reading)())
    with manager as response:
        return await collect(getattr(response, reading)())


def attributes(spans: InMemorySpanExporter) -> dict[str, Any]:
    """Return the attributes of the only finished span."""
    (span,) = spans.get_finished_spans()
    return dict(span.attributes or {})


def listed_rates(provider: str, model: str) -> dict[str, Decimal]:
    """Return the prices per token that the price list has for a model."""
    (vendor,) = (each for each in providers if each.id == provider)
    (listed,) = (each for each in vendor.models if each.match.is_match(model))
    prices = listed.get_prices(datetime.now(UTC))
    return {
        name: Decimal(price) / 1_000_000
        for name in ("input_mtok", "cache_read_mtok", "output_mtok")
        if (price := getattr(prices, name)) is not None
    }


def listed_model(provider: str) -> str:
    """Return a model in the price list that has one price per class, if possible with one for cached tokens."""
    (vendor,) = (each for each in providers if each.id == provider)
    cached = {
        name: isinstance(model.prices.cache_read_mtok, Decimal)
        for model in vendor.models
        for clause in getattr(model.match, "or_", [model.match])
        if (name := getattr(clause, "equals", None)) is not None
        if all(isinstance(getattr(model.prices, f"{unit}_mtok", None), Decimal) for unit in ("input", "output"))
    }
    return max(cached, key=cached.__getitem__)


CONTENT = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
)


def flushed_attributes(exporter: InMemorySpanExporter) -> dict[str, Any]:
    """Flush llmtrace and return the attributes of the only finished span."""
    llmtrace.flush()
    (span,) = exporter.get_finished_spans()
    return dict(span.attributes or {})


def check_shapes(attributes: dict[str, Any]) -> None:
    """Assert that content attributes follow the schema of the conventions."""
    for name in CONTENT:
        if name in attributes:
            assert problems(name, json.loads(attributes[name])) == []


def _parse(arguments: Any) -> Any:
    try:
        return json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments


def output_messages(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the output messages on a span in the form of the recordings."""
    messages = []
    for message in json.loads(attributes.get("gen_ai.output.messages", "[]")):
        texts: dict[str, str] = {"text": "", "reasoning": ""}
        for part in message["parts"]:
            if part["type"] in texts:
                texts[part["type"]] += part["content"]
        calls = [part for part in message["parts"] if part["type"] == "tool_call"]
        tools = [{"id": call.get("id"), "name": call["name"], "arguments": call["arguments"]} for call in calls]
        messages.append({**texts, "tools": tools})
    return messages


def recorded_messages(cassette: Cassette) -> list[dict[str, Any]]:
    """Return the output messages of a recording."""
    messages = []
    for output in cassette["expected"].get("outputs") or []:
        tools = [
            {"id": call["id"], "name": call["name"], "arguments": _parse(call["arguments"])}
            for call in output.get("tool_calls") or []
        ]
        # A refusal is text of the model: the conventions have no part for it.
        text = (output.get("text") or "") + (output.get("refusal") or "")
        messages.append({"text": text, "reasoning": output.get("reasoning") or "", "tools": tools})
    return messages
