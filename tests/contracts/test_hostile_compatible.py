"""Hostile responses to the clients of other vendors in the dialect of OpenAI: all of a kind in one test."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hostile import COLOURS, Server, traced
from hostile_bodies import HOSTILE_CHUNKS, PLAIN, RAW
from hostile_calls import QUESTION, Kind, observe

from stainless_clients import COMPATIBLE

pytestmark = pytest.mark.exhaustive

STATUSES = (400, 401, 404, 409, 422, 429, 500, 529)
ERROR = json.dumps({"error": {"message": "no", "type": "bad", "code": "bad"}}).encode()


def plain(server: Server) -> Iterator[None]:
    """Prepare one response after the other: hostile bodies, and errors."""
    for body in PLAIN.values():
        yield server.json(body)
    for raw in RAW.values():
        yield server.raw(raw)
    for status in STATUSES:
        yield server.raw(ERROR, status=status)


def streams(server: Server) -> Iterator[None]:
    """Prepare one stream after the other, without names of events, which some of the clients ignore."""
    for chunks in HOSTILE_CHUNKS.values():
        text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
        for end in ("", "data: [DONE]\n\n"):
            yield server.raw((text + end).encode(), kind="text/event-stream")
    for raw in RAW.values():
        yield server.raw(raw, kind="text/event-stream")


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("prepare", [plain, streams])
@pytest.mark.parametrize("vendor", COMPATIBLE)
def test_hostile_responses_reach_the_caller_unchanged(
    server: Server,
    clients: Any,
    faults: Counter[str],
    vendor: str,
    colour: str,
    prepare: Callable[[Server], Iterator[None]],
) -> None:
    """Invalid responses and errors reach the caller as without llmtrace, with one span each and no internal fault."""
    kind = Kind(
        vendor=vendor,
        call=lambda client, **more: client.chat.completions.create(model="m", messages=QUESTION, **more),
    )
    stream = prepare is streams
    bare = [observe(clients, kind, colour, stream=stream) for _ in prepare(server)]
    with traced() as exporter:
        seen = [observe(clients, kind, colour, stream=stream) for _ in prepare(server)]
    assert seen == bare
    spans = exporter.get_finished_spans()
    assert len(spans) == len(bare)
    assert all(span.attributes for span in spans)  # which is when most of them are made
    assert not faults
