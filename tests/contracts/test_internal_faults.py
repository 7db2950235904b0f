"""Faults of our own, in every reader, accumulator and writer, do not change what the caller gets."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hostile import COLOURS, Server, boom, break_describer, dump, traced, warned
from hostile_calls import (
    COMPATIBLE_KINDS,
    GOOD,
    GOOD_CHUNKS,
    KINDS,
    STREAMED,
    Kind,
    break_events,
    count_spans,
    observe,
    sabotage,
)

from llmtrace.capture import stream as capture_stream
from llmtrace.capture.call import CallState
from llmtrace.capture.stream import StreamObserver
from llmtrace.telemetry import spans as emit_spans

pytestmark = pytest.mark.exhaustive

EVERY = {**KINDS, **COMPATIBLE_KINDS}
EVERY_STREAMED = (*STREAMED, *COMPATIBLE_KINDS)


def serve_stream(server: Server, kind: str) -> None:
    """Prepare a valid stream, without names of events for clients that ignore events with one."""
    if kind in KINDS:
        server.events(GOOD_CHUNKS[kind])
    else:
        text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in GOOD_CHUNKS["chat"])
        server.raw(text.encode(), kind="text/event-stream")


def survive(clients: Any, kind: Kind, colour: str, stream: bool, expected: int) -> None:
    """Assert that two calls with a broken llmtrace give the normal result and ``expected`` spans."""
    bare = observe(clients, kind, colour, stream=stream)
    with traced(conforming=False) as exporter:
        first = observe(clients, kind, colour, stream=stream)
        second = observe(clients, kind, colour, stream=stream)
    assert bare
    assert first == second == bare
    assert count_spans(exporter) == expected


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", EVERY)
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
    sabotage(ours.patch, EVERY[kind], **{reader: boom})
    survive(clients, EVERY[kind], colour, False, spans_made)
    assert ours.faults == {place: 2}
    assert len(warned(ours.log)) == 1
    assert place in warned(ours.log)[0]


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", EVERY_STREAMED)
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
    serve_stream(server, kind)
    if where == ("events",):
        sabotage(ours.patch, EVERY[kind], accumulator=boom)
    else:
        break_events(ours.patch, EVERY[kind], *where)
    survive(clients, EVERY[kind], colour, True, 2)
    assert set(ours.faults) == places
    assert len(warned(ours.log)) == len(places)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", EVERY_STREAMED)
def test_failing_accumulator_of_closed_stream_raises_nothing(
    server: Server,
    clients: Any,
    ours: SimpleNamespace,
    kind: str,
    colour: str,
) -> None:
    """Closing a stream early raises nothing, even if its accumulator fails."""
    serve_stream(server, kind)
    break_events(ours.patch, EVERY[kind], "result")
    client = clients.made[EVERY[kind].vendor, colour]

    async def early() -> tuple[str, str]:
        stream = await EVERY[kind].call(client, stream=True)
        async for one in stream:
            await stream.close()
            return dump(one)
        raise AssertionError

    with traced(conforming=False) as exporter:
        if colour == "sync":
            stream = EVERY[kind].call(client, stream=True)
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
        serve_stream(server, kind)
    else:
        server.json(GOOD)
    break_describer(ours.patch, name)
    survive(clients, KINDS[kind], colour, stream, 2)
    assert ours.faults == {"write a span": 2}
    assert len(warned(ours.log)) == 1


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", EVERY)
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
    owner = CallState if method.startswith("_") else emit_spans.SpanEmitter
    ours.patch.setattr(owner, method, boom)
    survive(clients, EVERY[kind], colour, False, spans_made)
    assert ours.faults == {place: 2}
    assert len(warned(ours.log)) == 1


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", EVERY_STREAMED)
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
    serve_stream(server, kind)
    ours.patch.setattr(StreamObserver, method, boom)
    ours.patch.setattr(capture_stream, "_GAP_BLOCK", 1)
    survive(clients, EVERY[kind], colour, True, 2)
    assert set(ours.faults) == places
    assert len(warned(ours.log)) == len(places)
