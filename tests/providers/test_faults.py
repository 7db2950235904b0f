"""Faults while a body or its content is read lose only what could not be read, and never affect the caller."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from answers import CHAT, CHAT_CHUNKS, MESSAGE_EVENTS, QUESTION, sse
from helpers import attributes, read_stream, resolve
from loopback import CUT, Loopback, json_answer, stream_answer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from aws_frames import aws_frames
from llmtrace import _errors
from llmtrace.capture.http_body import AwsEventStreamParser
from llmtrace.providers.registry import PROVIDERS
from stainless_clients import make_client


class Broken:
    """Content accumulator that fails at a given point."""

    def __init__(self, where: str) -> None:
        self._where = where

    def add(self, _: Any) -> None:
        if self._where == "add":
            raise RuntimeError("ours")

    def messages(self) -> list[Any]:
        raise RuntimeError("ours")


def boom(*_: Any) -> Any:
    raise RuntimeError("ours")


@pytest.fixture
def content_spans_without_strict() -> Any:
    """Finished spans of calls that record content, while internal faults are logged and not raised."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    llmtrace.instrument(tracer_provider=provider, capture_content=True)
    yield exporter
    llmtrace.uninstrument()
    provider.shutdown()


@pytest.mark.faulty
@pytest.mark.parametrize(
    ("broken", "places", "lost"),
    [
        # The second time from the request itself, in case only what the caller handed over could not be read.
        ({"request": boom}, {"read the content of a request": 2}, "input"),
        ({"response": boom}, {"read the content of a response": 1}, "output"),
        (
            {"accumulator": lambda: Broken("add")},
            {"read the content of a chunk": 4, "read the content of a response": 1},
            "output",
        ),
        ({"accumulator": lambda: Broken("messages")}, {"read the content of a response": 1}, "output"),
        ({"accumulator": None}, {}, "output"),
    ],
    ids=["request", "response", "add", "messages", "no accumulator"],
)
def test_unreadable_content_loses_only_itself(
    loopback: Loopback,
    content_spans_without_strict: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
    broken: dict[str, Any],
    places: dict[str, int],
    lost: str,
) -> None:
    """A fault in reading the request or the response loses that content only; counts are kept."""
    (provider,) = (provider for provider in PROVIDERS if provider.name == "openai")
    wire = provider.routes["POST", "/chat/completions"]
    assert wire.content is not None
    content = replace(wire.content, **broken)
    monkeypatch.setitem(provider.routes, ("POST", "/chat/completions"), replace(wire, content=content))
    with make_client("openai", "sync", loopback.url) as client:
        if "accumulator" in broken:
            loopback.will(stream_answer(sse(CHAT_CHUNKS, done=True)))
            stream = client.chat.completions.create(
                model="m", messages=QUESTION, stream=True, stream_options={"include_usage": True}
            )
            assert len(list(stream)) == len(CHAT_CHUNKS)
        else:
            loopback.will(json_answer(CHAT))
            assert client.chat.completions.create(model="m", messages=QUESTION).id == CHAT["id"]
    llmtrace.flush()
    got = attributes(content_spans_without_strict)
    assert dict(_errors.internal_errors) == places
    assert (got["gen_ai.usage.input_tokens"], got["gen_ai.usage.output_tokens"]) == (7, 3)
    there = {side for side in ("input", "output") if f"gen_ai.{side}.messages" in got}
    assert there == {"input", "output"} - {lost}


def test_iterators_of_the_caller_reach_vendor_and_span(
    loopback: Loopback, content_spans_without_strict: InMemorySpanExporter
) -> None:
    """Lists passed as iterators, which the SDK consumes late, reach the vendor and the span."""
    with make_client("anthropic", "sync", loopback.url) as client:
        client.messages.create(
            model="m",
            max_tokens=9,
            system=iter([{"type": "text", "text": "Be kind."}]),
            messages=({"role": "user", "content": text} for text in ("a", "b")),
        )
    (requested,) = loopback.received
    assert [message["content"] for message in requested.body["messages"]] == ["a", "b"]
    got = attributes(content_spans_without_strict)
    assert [message["parts"][0]["content"] for message in json.loads(got["gen_ai.input.messages"])] == ["a", "b"]
    assert json.loads(got["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be kind."}]


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "plain"])
async def test_connection_lost_in_raw_body_fails_the_span(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str, streamed: bool
) -> None:
    """A caller that reads the bytes gets the connection's exception, which is on the span too."""
    events = sse(CHAT_CHUNKS)
    full = [b'{"id": ', b'"c"']
    loopback.will(stream_answer([*events[:2], CUT]) if streamed else replace(json_answer({}), parts=[*full, CUT]))
    client = make_client("openai", colour, loopback.url)
    with pytest.raises(Exception, match="peer closed connection") as caught:  # of httpx, or of httpx2
        if streamed:
            await read_stream(client, "iter_bytes")
        else:
            await read_plain(client, colour)
    await resolve(client.close())
    got = attributes(spans)
    assert got["error.type"] == f"{type(caught.value).__module__}.{type(caught.value).__qualname__}"
    assert got.get("llmtrace.stream.end") == ("failed" if streamed else None)
    if streamed:
        assert got["gen_ai.response.id"] == "chatcmpl-1"


async def read_plain(client: Any, colour: str) -> None:
    manager = client.chat.completions.with_streaming_response.create(model="m", messages=QUESTION)
    if colour == "sync":
        with manager as response:
            list(response.iter_bytes())
        return
    async with manager as response:
        async for _ in response.iter_bytes():
            pass


async def test_invalid_json_event_reaches_the_caller(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """The invalid event reaches the caller, and the other events are read."""
    first, *rest = sse(CHAT_CHUNKS, done=True)
    loopback.will(stream_answer([first, b"data: {\n\n", *rest]))
    with make_client("openai", "sync", loopback.url) as client:
        assert b"".join(await read_stream(client, "iter_bytes")) == b"".join([first, b"data: {\n\n", *rest])
    got = attributes(spans)
    assert (got["gen_ai.usage.input_tokens"], got["llmtrace.stream.end"]) == (7, "exhausted")


@pytest.mark.faulty
@pytest.mark.parametrize(
    ("broken", "place"),
    [
        ("llmtrace.budgets.enforcement.BudgetEnforcer.admit", "check the budgets"),
        ("llmtrace.budgets.enforcement.BudgetEnforcer.settle", "notify an observer of a call"),
        ("llmtrace.pricing.price.Pricer.price", "price a call"),
    ],
)
def test_failing_budget_or_price_loses_only_its_attributes(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch, broken: str, place: str
) -> None:
    """Failing budgets or prices lose their part of the span; every call is sent and recorded."""
    monkeypatch.setattr(broken, boom)
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    loopback.will(json_answer({**CHAT, "model": "gpt-4o"}))
    budgets: Any = [llmtrace.Budget("all", usd="1")]
    with (
        llmtrace.instrument(tracer_provider=provider, budgets=budgets),
        make_client("openai", "sync", loopback.url) as client,
    ):
        assert client.chat.completions.create(model="gpt-4o", messages=QUESTION).id == CHAT["id"]
        llmtrace.flush()
    got = attributes(exporter)
    provider.shutdown()
    assert set(_errors.internal_errors) == {place}
    assert (got["llmtrace.outcome"], got["gen_ai.usage.input_tokens"]) == ("ok", 7)
    assert ("llm.cost.total" in got) is ("price" not in place)


def test_invalid_aws_frames_keep_earlier_events() -> None:
    """AWS frames without an event, cut frames and wrong lengths lose no earlier event."""
    events: list[Any] = []
    reader = AwsEventStreamParser(SimpleNamespace(on_chunk=events.append), bytes)  # type: ignore[arg-type] # the parser calls nothing else
    first, second, *_ = aws_frames(MESSAGE_EVENTS)
    odd = [_framed(payload) for payload in (b'{"message": "throttled"}', b"no json", b'{"bytes": 3}', b"[]")]
    for piece in (first[:5], first[5:], *odd, second, second[:40]):
        reader.feed(piece)
    assert events == MESSAGE_EVENTS[:2]
    reader.feed(struct.pack(">III", 14, 8, 0) + first)
    assert events == MESSAGE_EVENTS[:2]


def _framed(payload: bytes) -> bytes:
    return struct.pack(">III", 16 + len(payload), 0, 0) + payload + bytes(4)
