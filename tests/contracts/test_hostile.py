"""Transparency of the hooks: hostile responses and internal faults do not change what the caller gets."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import anthropic
import openai
import pytest
from hostile import COLOURS, FUZZ, Broken, Interrupted, Server, blame, boom, break_describer, dump, traced, warned
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from llmtrace.capture import stream as capture_stream
from llmtrace.capture.call import OpenCall
from llmtrace.capture.stream import StreamObserver
from llmtrace.providers.registry import SDKS
from llmtrace.telemetry import names
from llmtrace.telemetry import spans as emit_spans

QUESTION = [{"role": "user", "content": "hello"}]


class Kind(SimpleNamespace):
    """Endpoint of one vendor."""

    vendor: str
    path: str
    call: Callable[..., Any]


KINDS = {
    "chat": Kind(
        vendor="openai",
        path="/chat/completions",
        call=lambda client, **more: client.chat.completions.create(model="m", messages=QUESTION, **more),
    ),
    "responses": Kind(
        vendor="openai",
        path="/responses",
        call=lambda client, **more: client.responses.create(model="m", input="hello", **more),
    ),
    "embeddings": Kind(
        vendor="openai",
        path="/embeddings",
        call=lambda client, **more: client.embeddings.create(model="m", input="hello", **more),
    ),
    "messages": Kind(
        vendor="anthropic",
        path="/v1/messages",
        call=lambda client, **more: client.messages.create(model="m", max_tokens=9, messages=QUESTION, **more),
    ),
}
if find_spec("openai.resources.responses") is None:  # the first releases have no responses
    del KINDS["responses"]
STREAMED = tuple(kind for kind in ("chat", "responses", "messages") if kind in KINDS)


# -- the server and its clients --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clients(_listening: Server) -> Iterator[Any]:
    """Clients of each vendor, sync and async, and the event loop of the async ones."""
    base = f"http://127.0.0.1:{_listening.server_port}"
    options: dict[str, Any] = {"api_key": "k", "max_retries": 0, "timeout": 20}
    made = {
        ("openai", "sync"): openai.OpenAI(base_url=base, **options),
        ("openai", "async"): openai.AsyncOpenAI(base_url=base, **options),
        ("anthropic", "sync"): anthropic.Anthropic(base_url=base, **options),
        ("anthropic", "async"): anthropic.AsyncAnthropic(base_url=base, **options),
    }
    with asyncio.Runner() as runner:
        yield SimpleNamespace(made=made, run=runner.run)
        for (_, colour), client in made.items():
            if colour == "sync":
                client.close()
            else:
                runner.run(client.close())


def count_spans(exporter: InMemorySpanExporter) -> int:
    """Return the number of finished spans, and read their attributes, most of which are set lazily."""
    return sum(bool(span.attributes) for span in exporter.get_finished_spans())


# -- what the caller sees --------------------------------------------------------------------------------------------


def observe(clients: Any, kind: Kind, colour: str, *, stream: bool = False, call: Any = None) -> list[Any]:
    """Return everything a call passes to its caller: result, chunks, exception."""
    client = clients.made[kind.vendor, colour]
    more = {"stream": True} if stream else {}
    make = call or (lambda client: kind.call(client, **more))
    count_spans: list[Any] = []

    async def read() -> None:
        result = await make(client)
        if not stream:
            count_spans.append(dump(result))
            return
        async with result:
            async for chunk in result:
                count_spans.append(dump(chunk))

    try:
        if colour == "async":
            clients.run(read())
        elif not stream:
            count_spans.append(dump(make(client)))
        else:
            with make(client) as chunks:
                count_spans.extend(dump(chunk) for chunk in chunks)
    except BaseException as error:
        count_spans.append(blame(error))
    return count_spans


def compare(clients: Any, kind: Kind, colour: str, *, stream: bool = False, call: Any = None) -> Any:
    """Make a call with and without llmtrace, assert that both give the same, and return the span."""
    bare = observe(clients, kind, colour, stream=stream, call=call)
    with traced() as exporter:
        count_spans = observe(clients, kind, colour, stream=stream, call=call)
    assert count_spans == bare
    (span,) = exporter.get_finished_spans()
    assert span.attributes  # which is when most of them are made, and a fault would be counted
    return span


# -- hostile answers -------------------------------------------------------------------------------------------------

COUNTS: dict[str, Any] = {
    "text": "x",
    "list": [1],
    "negative": {"prompt_tokens": -1, "completion_tokens": -5, "input_tokens": -1, "output_tokens": -5},
    "huge": {"prompt_tokens": 10**30, "completion_tokens": 2**63, "input_tokens": 10**30, "output_tokens": 2**63},
    "float": {"prompt_tokens": 1.5, "completion_tokens": 2.0, "input_tokens": 1.5, "output_tokens": 2.0},
    "bool": {"prompt_tokens": True, "completion_tokens": False, "input_tokens": True, "output_tokens": False},
    "text-counts": {"prompt_tokens": "7", "completion_tokens": [], "input_tokens": {}, "output_tokens": None},
    "details": {
        "prompt_tokens": 1,
        "prompt_tokens_details": "x",
        "completion_tokens_details": [None],
        "input_tokens": 1,
        "input_tokens_details": 5,
        "output_tokens_details": "x",
        "cache_creation": [],
        "server_tool_use": "x",
    },
}
PLAIN: dict[str, Any] = {
    "choices-null-item": {"choices": [None]},
    "choices-text": {"choices": "x"},
    "choices-number": {"choices": 3},
    "choices-object": {"choices": {"0": {"finish_reason": "stop"}}},
    "choices-empty": {"choices": []},
    "choice-reason": {"choices": [{"finish_reason": {"a": 1}, "index": None, "message": []}, [], "x"]},
    "output-null-item": {"output": [None, "x", {"type": 3}], "status": "completed"},
    "output-text": {"output": "x", "status": ["completed"], "error": "x", "incomplete_details": "x"},
    "failed": {"status": "failed", "error": [], "output": None, "conversation": "x"},
    "data-null-item": {"data": [None]},
    "data-text": {"data": "x"},
    "vector": {"data": [{"embedding": {"a": 1}}, {"embedding": "not base64!"}]},
    "content-text": {"content": "x", "stop_reason": 4, "id": 5, "model": ["m"]},
    "content-null-item": {"content": [None, "x", {"type": None}], "role": 1},
    "unknown": {"zebra": {"a": [1]}, "id": "i", "choices": [{"stripe": 1}], "type": "zebra"},
    "names": {"id": "", "model": "\ud800", "service_tier": "\x00", "system_fingerprint": "f" * 5000},
    "empty": {},
    "list": [],
    "list-of-null": [None],
    "text": "x",
    "number": 3,
    "null": None,
    **{f"usage-{name}": {"usage": usage, "choices": []} for name, usage in COUNTS.items()},
}


def chunk(**more: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], **more}


def choice(index: Any, reason: Any = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": reason}


def tool(index: Any) -> dict[str, Any]:
    return {"index": index, "id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}


BLOCK = {"type": "content_block_start", "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}}
HOSTILE_CHUNKS: dict[str, list[Any]] = {
    "choices-null-item": [chunk(choices=[None])],
    "choices-text": [chunk(choices="x")],
    "choices-null": [chunk(choices=None), {"choices": {}}],
    "tool-index-null": [chunk(choices=[choice(0, tool_calls=[tool(None)])]), chunk(choices=[choice(0, "tool_calls")])],
    "tools-sparse": [chunk(choices=[choice(0, tool_calls=[tool(9), None])]), chunk(choices=[choice(7, "tool_calls")])],
    "choice-index": [chunk(choices=[choice(index, "stop")]) for index in (None, -1, "x", 2**70, True, 1.5)],
    "interleaved": [
        chunk(choices=[choice(1, content="b")]),
        chunk(choices=[choice(0, content="a"), choice(1, "length")]),
        chunk(choices=[choice(0, "stop")]),
    ],
    "delta": [chunk(choices=[{"index": 0, "delta": delta}]) for delta in (None, "x", [], 3)],
    "groq": [chunk(x_groq="x", choices=[choice(0, "stop")]), chunk(x_groq={"usage": [1]}, choices=[choice(0, "stop")])],
    "not-objects": [None, 3, "x", [], [None], {}],
    "error": [chunk(), {"error": "x"}],
    "error-object": [{"error": {"message": "no", "type": [], "code": 4}}],
    "response-null": [{"type": "response.created", "response": None}, {"type": "response.completed", "response": "x"}],
    "response-list": [{"type": "response.completed", "response": [None]}],
    "response-end": [{"type": "response.failed", "response": {"status": "failed", "error": 3, "output": [None]}}],
    "response-error": [{"type": "error", "code": 3, "message": None}],
    "types": [{"type": kind} for kind in (None, 3, [], "zebra", "zebra.delta")],
    "message-null": [{"type": "message_start", "message": None}, {"type": "message_delta", "delta": None}],
    "message-text": [{"type": "message_start", "message": "x"}, {"type": "message_delta", "delta": [], "usage": "x"}],
    "block-index": [{**BLOCK, "index": None}, {**BLOCK, "index": 40}, {"type": "content_block_start"}],
    "block-delta": [{"type": "content_block_delta", "index": 9, "delta": "x"}, {"type": "message_stop", "zebra": 1}],
    **{
        f"usage-{name}": [
            chunk(usage=usage),
            {"type": "message_start", "message": {"usage": usage}},
            {"type": "message_delta", "delta": {}, "usage": usage},
            {"type": "response.completed", "response": {"usage": usage}},
        ]
        for name, usage in COUNTS.items()
    },
    "nothing": [],
}


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", PLAIN)
def test_hostile_response_reaches_the_caller_unchanged(
    server: Server, clients: Any, faults: Counter[str], body: str, kind: str, colour: str
) -> None:
    """Invalid responses reach the caller as without llmtrace, with one span and no internal fault."""
    server.json(PLAIN[body])
    compare(clients, KINDS[kind], colour)
    assert not faults


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", STREAMED)
@pytest.mark.parametrize("body", HOSTILE_CHUNKS)
@pytest.mark.parametrize("done", [True, False], ids=["done", "cut"])
def test_hostile_stream_reaches_the_caller_unchanged(
    server: Server, clients: Any, faults: Counter[str], body: str, kind: str, colour: str, done: bool
) -> None:
    """Invalid chunks reach the caller as without llmtrace, with one span and no internal fault."""
    server.events(HOSTILE_CHUNKS[body], done=done)
    compare(clients, KINDS[kind], colour, stream=True)
    assert not faults


RAW = {
    "not-json": b"<html>",
    "cut": b'{"id": "x", "usa',
    "empty": b"",
    "not-utf8": b'{"id": "\xff\xfe"}',
    "deep": b"[" * 20_000 + b"]" * 20_000,
    "nan": b'{"usage": {"prompt_tokens": NaN, "input_tokens": Infinity}}',
    "events-in-json": b'data: {"a":\n\ndata: 1}\n\n:\n\ndata\n\n',
    "bad-events": b"data: {\n\n",
    "odd-lines": b'\r\n\r\rdata: {"choices": []}\r\rid: \x00\nretry: x\ndata: [DONE]\n\n',
}


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("body", RAW)
def test_invalid_body_fails_as_without_llmtrace(
    server: Server, clients: Any, body: str, kind: str, colour: str, stream: bool
) -> None:
    """A body that is not JSON or an event stream fails as without llmtrace."""
    if stream and kind not in STREAMED:
        return
    server.raw(RAW[body], kind="text/event-stream" if stream else "application/json")
    compare(clients, KINDS[kind], colour, stream=stream)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", STREAMED)
@pytest.mark.parametrize("body", ["choices-null-item", "usage-huge", "not-objects", "error", "message-null"])
def test_hostile_raw_stream_reaches_the_caller_unchanged(
    server: Server, clients: Any, faults: Counter[str], body: str, kind: str, colour: str
) -> None:
    """An invalid stream that is read through ``with_raw_response`` reaches the caller unchanged."""
    server.events(HOSTILE_CHUNKS[body])
    resource = {"chat": lambda c: c.chat.completions, "responses": lambda c: c.responses}.get(
        kind, lambda c: c.messages
    )
    arguments = {
        "chat": {"messages": QUESTION},
        "responses": {"input": "hello"},
        "messages": {"messages": QUESTION, "max_tokens": 9},
    }[kind]

    def call(client: Any) -> Any:
        answer = resource(client).with_raw_response.create(model="m", stream=True, **arguments)
        if colour == "sync":
            return answer.parse()

        async def parsed() -> Any:
            made = (await answer).parse()
            return await made if hasattr(made, "__await__") else made

        return parsed()

    compare(clients, KINDS[kind], colour, stream=True, call=call)
    assert not faults


def test_interleaved_finish_reasons_follow_choice_order(server: Server, clients: Any, faults: Counter[str]) -> None:
    """Finish reasons of interleaved choices are in the order of the choices."""
    # Without names, as chat's events are: older releases take a named one for an assistant's.
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in HOSTILE_CHUNKS["interleaved"]]
    server.raw("".join([*lines, "data: [DONE]\n\n"]).encode(), kind="text/event-stream")
    span = compare(clients, KINDS["chat"], "sync", stream=True)
    assert span.attributes[names.FINISH_REASONS_RAW] == ("stop", "length")
    assert not faults


@pytest.mark.parametrize("usage", ["text", "list", "negative", "float", "bool", "text-counts"])
@pytest.mark.parametrize("kind", KINDS)
def test_invalid_counts_are_not_recorded(server: Server, clients: Any, usage: str, kind: str) -> None:
    """A value that is not a valid token count is not put on the span."""
    server.json({"usage": COUNTS[usage], "data": [{"embedding": [0.5], "index": 0}]})
    span = compare(clients, KINDS[kind], "sync")
    assert names.USAGE["input"] not in span.attributes
    assert names.USAGE["output"] not in span.attributes


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
KEYS = st.sampled_from(
    [
        "choices",
        "usage",
        "id",
        "model",
        "type",
        "index",
        "delta",
        "message",
        "finish_reason",
        "response",
        "output",
        "status",
        "error",
        "data",
        "embedding",
        "content",
        "content_block",
        "input_tokens",
        "prompt_tokens",
        "tool_calls",
    ]
)
WORDS = st.sampled_from(
    [
        "message_start",
        "message_delta",
        "message_stop",
        "content_block_start",
        "content_block_delta",
        "error",
        "stop",
        "response.created",
        "response.completed",
        "response.output_text.delta",
        "completed",
        "failed",
        "incomplete",
    ]
)
JSON = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=5),
    max_leaves=15,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=6)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", KINDS)
@given(answer=OBJECTS | JSON)
@FUZZ
def test_any_json_response_reaches_the_caller_unchanged(
    server: Server, clients: Any, faults: Counter[str], kind: str, colour: str, answer: Any
) -> None:
    """Any JSON gives the caller the same result as without llmtrace."""
    server.json(answer)
    compare(clients, KINDS[kind], colour)
    assert not faults


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", STREAMED)
@given(chunks=st.lists(OBJECTS | JSON, max_size=4))
@FUZZ
def test_any_chunks_reach_the_caller_unchanged(
    server: Server, clients: Any, faults: Counter[str], kind: str, colour: str, chunks: list[Any]
) -> None:
    """Any chunks give the caller the same result as without llmtrace."""
    server.events(chunks)
    compare(clients, KINDS[kind], colour, stream=True)
    assert not faults


# -- our own faults --------------------------------------------------------------------------------------------------

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "input_tokens": 7, "output_tokens": 3}
GOOD: dict[str, Any] = {
    "id": "i",
    "model": "m",
    "usage": USAGE,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "data": [{"embedding": [0.5], "index": 0, "object": "embedding"}],
    "output": [],
    "content": [{"type": "text", "text": "hi"}],
    "role": "assistant",
    "type": "message",
    "stop_reason": "end_turn",
    "status": "completed",
}
GOOD_CHUNKS: dict[str, list[Any]] = {
    "chat": [chunk(choices=[choice(0, content="hi")]), chunk(choices=[choice(0, "stop")]), chunk(usage=USAGE)],
    "responses": [
        {"type": "response.output_text.delta", "delta": "hi", "output_index": 0},
        {"type": "response.completed", "response": GOOD},
    ],
    "messages": [
        {"type": "message_start", "message": GOOD},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ],
}


def sabotage(monkeypatch: pytest.MonkeyPatch, kind: Kind, **readers: Any) -> None:
    (sdk,) = (sdk for sdk in SDKS if sdk.name == kind.vendor)
    monkeypatch.setitem(sdk.posts, kind.path, replace(sdk.posts[kind.path], **readers))


def break_events(monkeypatch: pytest.MonkeyPatch, kind: Kind, *where: str) -> None:
    (sdk,) = (sdk for sdk in SDKS if sdk.name == kind.vendor)
    inner = sdk.posts[kind.path].accumulator
    assert inner is not None
    sabotage(monkeypatch, kind, accumulator=lambda: Broken(inner(), *where))


def survive(clients: Any, kind: Kind, colour: str, stream: bool, expected: int) -> None:
    """Assert that two calls with a broken llmtrace give the normal result and ``expected`` spans."""
    bare = observe(clients, kind, colour, stream=stream)
    with traced() as exporter:
        first = observe(clients, kind, colour, stream=stream)
        second = observe(clients, kind, colour, stream=stream)
    assert bare
    assert first == second == bare
    assert count_spans(exporter) == expected


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("reader", "place", "spans_made"), [("request", "begin a call", 0), ("response", "read a response", 2)]
)
def test_failing_reader_warns_once_and_spares_the_caller(
    server: Server,
    clients: Any,
    ours: SimpleNamespace,
    kind: str,
    colour: str,
    reader: str,
    place: str,
    spans_made: int,
) -> None:
    """A reader that raises does not affect the caller and warns once."""
    server.json(GOOD)
    sabotage(ours.patch, KINDS[kind], **{reader: boom})
    survive(clients, KINDS[kind], colour, False, spans_made)
    assert ours.faults == {place: 2}
    assert len(warned(ours.log)) == 1
    assert place in warned(ours.log)[0]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", STREAMED)
@pytest.mark.parametrize(
    ("where", "places"),
    [
        (("events",), {"read a response"}),
        (("add",), {"read a chunk"}),
        (("result",), {"read a stream"}),
        (("add", "result"), {"read a chunk", "read a stream"}),
    ],
    ids=["events", "add", "result", "both"],
)
def test_failing_accumulator_loses_no_chunk(
    server: Server,
    clients: Any,
    ours: SimpleNamespace,
    kind: str,
    colour: str,
    where: tuple[str, ...],
    places: set[str],
) -> None:
    """An accumulator that raises loses no chunk, ends the span and warns once per place."""
    server.events(GOOD_CHUNKS[kind])
    if where == ("events",):
        sabotage(ours.patch, KINDS[kind], accumulator=boom)
    else:
        break_events(ours.patch, KINDS[kind], *where)
    survive(clients, KINDS[kind], colour, True, 2)
    assert set(ours.faults) == places
    assert len(warned(ours.log)) == len(places)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", STREAMED)
def test_failing_accumulator_of_closed_stream_raises_nothing(
    server: Server,
    clients: Any,
    ours: SimpleNamespace,
    kind: str,
    colour: str,
) -> None:
    """Closing a stream early raises nothing, even if its accumulator fails."""
    server.events(GOOD_CHUNKS[kind])
    break_events(ours.patch, KINDS[kind], "result")
    client = clients.made[KINDS[kind].vendor, colour]

    async def early() -> tuple[str, str]:
        stream = await KINDS[kind].call(client, stream=True)
        async for one in stream:
            await stream.close()
            return dump(one)
        raise AssertionError

    with traced() as exporter:
        if colour == "sync":
            stream = KINDS[kind].call(client, stream=True)
            assert next(iter(stream))
            stream.close()
        else:
            assert clients.run(early())
    assert len(exporter.get_finished_spans()) == 1
    assert len(warned(ours.log)) == 1


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("name", [describe.__name__ for describe in emit_spans.DESCRIBERS])
def test_fault_in_span_writer_loses_only_its_attributes(
    server: Server,
    clients: Any,
    ours: SimpleNamespace,
    kind: str,
    colour: str,
    stream: bool,
    name: str,
) -> None:
    """A fault while the span is written is logged once and loses only the attributes of that part."""
    if stream and kind not in STREAMED:
        return
    if stream:
        server.events(GOOD_CHUNKS[kind])
    else:
        server.json(GOOD)
    break_describer(ours.patch, name)
    survive(clients, KINDS[kind], colour, stream, 2)
    assert ours.faults == {"write a span": 2}
    assert len(warned(ours.log)) == 1


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("method", "place", "spans_made"),
    [
        ("begin", "begin a call", 0),
        ("end", "end a span", 0),
        ("_set_outcome", "read the outcome of a call", 2),
        ("_finish", "end a call", 2),
    ],
)
def test_fault_at_begin_or_end_spares_the_caller(
    server: Server,
    clients: Any,
    ours: SimpleNamespace,
    kind: str,
    colour: str,
    method: str,
    place: str,
    spans_made: int,
) -> None:
    """A fault at the begin or end of a call is logged once and not raised."""
    server.json(GOOD)
    owner = OpenCall if method.startswith("_") else emit_spans.SpanEmitter
    ours.patch.setattr(owner, method, boom)
    survive(clients, KINDS[kind], colour, False, spans_made)
    assert ours.faults == {place: 2}
    assert len(warned(ours.log)) == 1


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", STREAMED)
@pytest.mark.parametrize(
    ("method", "places"), [("_timing", {"time a stream"}), ("_count_gaps", {"read a chunk", "time a stream"})]
)
def test_fault_in_timing_loses_only_timings(
    server: Server,
    clients: Any,
    ours: SimpleNamespace,
    kind: str,
    colour: str,
    method: str,
    places: set[str],
) -> None:
    """A fault in timing a stream loses its timings, but no chunk."""
    server.events(GOOD_CHUNKS[kind])
    ours.patch.setattr(StreamObserver, method, boom)
    ours.patch.setattr(capture_stream, "_GAP_BLOCK", 1)
    survive(clients, KINDS[kind], colour, True, 2)
    assert set(ours.faults) == places
    assert len(warned(ours.log)) == len(places)


# -- exceptions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 429, 500, 529])
def test_error_response_raises_the_sdks_exception(
    server: Server, clients: Any, faults: Counter[str], kind: str, colour: str, status: int
) -> None:
    """An error response raises the SDK's exception with the same context and cause as without llmtrace."""
    server.json({"error": {"message": "no", "type": "bad", "code": "bad"}}, status=status)
    span = compare(clients, KINDS[kind], colour)
    assert span.attributes[names.ERROR_TYPE] == str(status)
    assert not faults


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("broken", [False, True], ids=["sound", "broken"])
@pytest.mark.parametrize("raised", [ValueError, Interrupted])
def test_exception_in_a_call_keeps_its_identity(
    server: Server,
    clients: Any,
    monkeypatch: pytest.MonkeyPatch,
    faults: Counter[str],
    kind: str,
    colour: str,
    broken: bool,
    raised: type[BaseException],
) -> None:
    """An exception inside a call reaches the caller as the same object, without added context."""
    server.json(GOOD)
    error = raised("theirs")

    def fail(_: Any) -> Any:
        raise error

    client = clients.made[KINDS[kind].vendor, colour]
    model = (openai if KINDS[kind].vendor == "openai" else anthropic).BaseModel
    options: dict[str, Any] = {"cast_to": model, "body": {"model": "m"}, "options": {"post_parser": fail}}
    if broken:
        break_describer(monkeypatch, "describe_response")

    async def wait() -> Any:
        return await client.post(KINDS[kind].path, **options)

    with traced() as exporter, pytest.raises(raised) as caught:
        if colour == "async":
            clients.run(wait())
        else:
            client.post(KINDS[kind].path, **options)
    assert caught.value is error
    assert error.__context__ is None
    assert error.__cause__ is None
    assert count_spans(exporter) == 1
    assert set(faults) == ({"write a span"} if broken else set())


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", STREAMED)
@pytest.mark.parametrize("broken", [False, True], ids=["sound", "broken"])
def test_exception_in_a_stream_keeps_its_identity(
    server: Server,
    clients: Any,
    monkeypatch: pytest.MonkeyPatch,
    faults: Counter[str],
    kind: str,
    colour: str,
    broken: bool,
) -> None:
    """An exception while a stream is read reaches the caller as the same object, without added context."""
    server.events(GOOD_CHUNKS[kind])
    error = Interrupted("theirs")

    def fail(*_: Any) -> Any:
        raise error

    vendor = openai if KINDS[kind].vendor == "openai" else anthropic
    client = clients.made[KINDS[kind].vendor, colour]
    monkeypatch.setattr(vendor._streaming.ServerSentEvent, "json", fail)
    if broken:
        break_events(monkeypatch, KINDS[kind], "add", "result", "ended")

    async def read() -> None:
        async with await KINDS[kind].call(client, stream=True) as stream:
            async for _ in stream:
                pass

    with traced() as exporter, pytest.raises(Interrupted) as caught:
        if colour == "async":
            clients.run(read())
        else:
            with KINDS[kind].call(client, stream=True) as stream:
                list(stream)
    assert caught.value is error
    assert error.__context__ is None
    assert len(exporter.get_finished_spans()) == 1
    assert set(faults) == ({"read a stream"} if broken else set())


class Capital(BaseModel):
    city: str


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("content", ["not json", '{"city": 3}', ""])
def test_failed_parse_records_usage(
    server: Server, clients: Any, faults: Counter[str], content: str, colour: str
) -> None:
    """If only parsing the response fails, its tokens are on the span."""
    message = {"role": "assistant", "content": content or "{"}
    server.json({**GOOD, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]})

    def call(client: Any) -> Any:
        completions = client.chat.completions
        if not hasattr(completions, "parse"):
            completions = client.beta.chat.completions
        return completions.parse(model="m", messages=QUESTION, response_format=Capital)

    span = compare(clients, KINDS["chat"], colour, call=call)
    assert span.attributes[names.USAGE["input"]] == 7
    assert span.attributes[names.USAGE["output"]] == 3
    if hasattr(clients.made["openai", "sync"].chat.completions, "parse"):  # older releases parse after the call
        assert "ValidationError" in span.attributes[names.ERROR_TYPE]
    assert not faults


@pytest.mark.parametrize("value", ["²", "9" * 5000, "-1", "1.5", "", "x"])
@pytest.mark.parametrize("name", ["x-ratelimit-remaining-requests", "x-request-id"])
def test_hostile_headers_do_not_affect_caller_or_span(
    server: Server, clients: Any, faults: Counter[str], name: str, value: str
) -> None:
    """Invalid headers affect neither the caller nor the span."""
    server.headers = {name: value}
    server.json(GOOD)
    span = compare(clients, KINDS["chat"], "sync")
    assert span.attributes[names.OUTCOME] == "ok"
    assert span.attributes[names.USAGE["input"]] == 7
    assert not faults
