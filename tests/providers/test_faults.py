"""What breaks while a body or its content is read costs what could not be read, and the caller nothing."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from answers import CHAT, CHAT_CHUNKS, MESSAGE_EVENTS, QUESTION, aws_frames, sse
from loopback import CUT, Loopback, json_answer, stream_answer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from test_wire import client_of, read, settled, told

import llmtrace
from llmtrace import _errors
from llmtrace.capture.http_body import AwsEventStreamParser
from llmtrace.providers.registry import SDKS


class Broken:
    """A joiner that fails where it is told to."""

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
def swallowed() -> Any:
    """Finished spans of calls made with content on, as an application has it: our faults are swallowed."""
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
        ({"request": boom}, {"read what was asked": 2}, "input"),
        ({"response": boom}, {"read what was said": 1}, "output"),
        ({"joiner": lambda: Broken("add")}, {"hear a chunk": 4, "read what was said": 1}, "output"),
        ({"joiner": lambda: Broken("messages")}, {"read what was said": 1}, "output"),
        ({"joiner": None}, {}, "output"),
    ],
    ids=["request", "response", "add", "messages", "no joiner"],
)
def test_content_that_cannot_be_read(
    loopback: Loopback,
    swallowed: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
    broken: dict[str, Any],
    places: dict[str, int],
    lost: str,
) -> None:
    """A fault in reading what was asked or said costs that alone: answer, counts and the other side are whole."""
    (sdk,) = (sdk for sdk in SDKS if sdk.name == "openai")
    wire = sdk.posts["/chat/completions"]
    assert wire.content is not None
    content = replace(wire.content, **broken)
    monkeypatch.setitem(sdk.posts, "/chat/completions", replace(wire, content=content))
    with client_of("openai", "sync", loopback.url) as client:
        if "joiner" in broken:
            loopback.will(stream_answer(sse(CHAT_CHUNKS, done=True)))
            stream = client.chat.completions.create(
                model="m", messages=QUESTION, stream=True, stream_options={"include_usage": True}
            )
            assert len(list(stream)) == len(CHAT_CHUNKS)
        else:
            loopback.will(json_answer(CHAT))
            assert client.chat.completions.create(model="m", messages=QUESTION).id == CHAT["id"]
    llmtrace.flush()
    got = told(swallowed)
    assert dict(_errors.internal_errors) == places
    assert (got["gen_ai.usage.input_tokens"], got["gen_ai.usage.output_tokens"]) == (7, 3)
    there = {side for side in ("input", "output") if f"gen_ai.{side}.messages" in got}
    assert there == {"input", "output"} - {lost}


def test_blocks_of_a_generator(loopback: Loopback, swallowed: InMemorySpanExporter) -> None:
    """Lists that the caller hands over as iterators, which the SDK drains late, reach the vendor and the span."""
    with client_of("anthropic", "sync", loopback.url) as client:
        client.messages.create(
            model="m",
            max_tokens=9,
            system=iter([{"type": "text", "text": "Be kind."}]),
            messages=({"role": "user", "content": text} for text in ("a", "b")),
        )
    (asked,) = loopback.asked
    assert [message["content"] for message in asked.body["messages"]] == ["a", "b"]
    got = told(swallowed)
    assert [message["parts"][0]["content"] for message in json.loads(got["gen_ai.input.messages"])] == ["a", "b"]
    assert json.loads(got["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be kind."}]


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "plain"])
async def test_a_body_that_breaks_off_while_it_is_read(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str, streamed: bool
) -> None:
    """The caller who reads the bytes gets the exception of the connection, and the span has it too."""
    events = sse(CHAT_CHUNKS)
    whole = [b'{"id": ', b'"c"']
    loopback.will(stream_answer([*events[:2], CUT]) if streamed else replace(json_answer({}), parts=[*whole, CUT]))
    client = client_of("openai", colour, loopback.url)
    with pytest.raises(Exception, match="peer closed connection") as caught:  # of httpx, or of httpx2
        if streamed:
            await read(client, "iter_bytes")
        else:
            await read_plain(client, colour)
    await settled(client.close())
    got = told(spans)
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


async def test_an_event_that_is_no_json(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """It is the caller's to see; the events around it are read."""
    first, *rest = sse(CHAT_CHUNKS, done=True)
    loopback.will(stream_answer([first, b"data: {\n\n", *rest]))
    with client_of("openai", "sync", loopback.url) as client:
        assert b"".join(await read(client, "iter_bytes")) == b"".join([first, b"data: {\n\n", *rest])
    got = told(spans)
    assert (got["gen_ai.usage.input_tokens"], got["llmtrace.stream.end"]) == (7, "exhausted")


@pytest.mark.faulty
@pytest.mark.parametrize(
    ("broken", "place"),
    [
        ("llmtrace.budgets.enforcement.BudgetEnforcer.admit", "ask the budgets"),
        ("llmtrace.budgets.enforcement.BudgetEnforcer.settle", "tell an observer of a call"),
        ("llmtrace.pricing.price.Pricer.price", "price a call"),
    ],
)
def test_a_part_that_fails(loopback: Loopback, monkeypatch: pytest.MonkeyPatch, broken: str, place: str) -> None:
    """Budgets or prices that fail cost their own part of the span, and every call is made and told."""
    monkeypatch.setattr(broken, boom)
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    loopback.will(json_answer({**CHAT, "model": "gpt-4o"}))
    budgets: Any = [llmtrace.Budget("all", usd="1")]
    with (
        llmtrace.instrument(tracer_provider=provider, budgets=budgets),
        client_of("openai", "sync", loopback.url) as client,
    ):
        assert client.chat.completions.create(model="gpt-4o", messages=QUESTION).id == CHAT["id"]
        llmtrace.flush()
    got = told(exporter)
    provider.shutdown()
    assert set(_errors.internal_errors) == {place}
    assert (got["llmtrace.outcome"], got["gen_ai.usage.input_tokens"]) == ("ok", 7)
    assert ("llm.cost.total" in got) is ("price" not in place)


def test_frames_of_another_kind() -> None:
    """Frames of Amazon's that hold no event, or that are cut or lie of their size, hide none that came before."""
    events: list[Any] = []
    reader = AwsEventStreamParser(SimpleNamespace(on_chunk=events.append), bytes)  # type: ignore[arg-type] # all that is asked of it
    first, second, *_ = aws_frames(MESSAGE_EVENTS)
    odd = [_framed(payload) for payload in (b'{"message": "throttled"}', b"no json", b'{"bytes": 3}', b"[]")]
    for piece in (first[:5], first[5:], *odd, second, second[:40]):
        reader.feed(piece)
    assert events == MESSAGE_EVENTS[:2]
    reader.feed(struct.pack(">III", 14, 8, 0) + first)
    assert events == MESSAGE_EVENTS[:2]


def _framed(payload: bytes) -> bytes:
    return struct.pack(">III", 16 + len(payload), 0, 0) + payload + bytes(4)
