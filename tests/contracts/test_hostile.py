"""Transparency of the hooks: hostile responses and internal faults do not change what the caller gets."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hostile import COLOURS, FUZZ, Server
from hostile_bodies import COUNTS, HOSTILE_CHUNKS, PLAIN, RAW
from hostile_calls import KINDS, QUESTION, STAINLESS_STREAMED, STREAMED, compare
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.telemetry import names

pytestmark = pytest.mark.exhaustive


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
@pytest.mark.parametrize("kind", STAINLESS_STREAMED)
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
