"""Transparency of google-genai hooks: hostile responses and internal faults do not change what the caller gets."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.genai import models
from hostile import COLOURS, FUZZ, Broken, Interrupted, Server, blame, boom, break_describer, dump, traced, warned
from hypothesis import given
from hypothesis import strategies as st

import llmtrace
from llmtrace.capture.call import CallState
from llmtrace.providers.registry import PROVIDERS
from llmtrace.telemetry import names
from llmtrace.telemetry import spans as emit_spans

sys.path.insert(0, str(Path(__file__).parent.parent / "providers"))

from google_server import Gemini, answer, collect, resolve

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.filterwarnings("ignore:.*is not a valid:UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
STREAM = {False: ":generateContent", True: ":streamGenerateContent"}
either = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
colours = pytest.mark.parametrize("colour", COLOURS)


@pytest.fixture(scope="module")
def clients(_listening: Server) -> Iterator[Any]:
    """A sync and an async client, and the event loop of the latter."""
    more = {"retry_options": {"attempts": 1}} if hasattr(models.types, "HttpRetryOptions") else {}
    client = Gemini.client(_listening, **more)  # type: ignore[arg-type]
    with asyncio.Runner() as runner:
        yield SimpleNamespace(sync=client, asyncio=client.aio, run=runner.run)
        if hasattr(client.aio, "aclose"):
            runner.run(client.aio.aclose())
        if hasattr(client, "close"):
            client.close()
        gc.collect()


def send(target: Server, chunks: list[Any]) -> None:
    target.raw(b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in chunks), kind="text/event-stream")


def observe(clients: Any, colour: str, stream: bool) -> list[Any]:
    """Return everything a call passes to its caller: result, chunks, exception."""
    client = clients.sync if colour == "sync" else clients.asyncio
    seen: list[Any] = []

    def show(value: Any) -> None:
        # Without the headers, which carry the time of day.
        if getattr(value, "sdk_http_response", None) is not None:
            value.sdk_http_response = None
        seen.append(dump(value))

    async def read() -> None:
        method = client.models.generate_content_stream if stream else client.models.generate_content
        result = await resolve(method(model="m", contents="hello"))
        if stream:
            await collect(result, show)
        else:
            show(result)

    try:
        clients.run(read())
    except BaseException as error:
        seen.append(blame(error))
    return seen


def compare(clients: Any, colour: str, stream: bool) -> Any:
    """Make a call with and without llmtrace, assert that both give the same, and return the span."""
    bare = observe(clients, colour, stream)
    with traced() as exporter:
        seen = observe(clients, colour, stream)
        if not exporter.get_finished_spans():
            collect_garbage(clients)
    assert seen == bare
    (span,) = exporter.get_finished_spans()
    assert span.attributes  # which is when most of them are made, and a fault would be counted
    return span


def collect_garbage(clients: Any) -> None:
    """Collect a stream whose chunk the SDK could not parse, which the SDK leaves to garbage collection."""
    gc.collect()
    clients.run(asyncio.sleep(0))
    assert llmtrace.flush()


ODD = [None, "x", 3, -1, True, 1.5, [], {}, [None], ["x", {}], {"a": 1}, 10**30]
FIELDS = {
    "candidates": ODD,
    "usageMetadata": ODD,
    "promptFeedback": ODD,
    "modelVersion": ODD,
    "responseId": ODD,
    "error": ODD,
}
INSIDE = {
    "candidate": lambda odd: {"candidates": [odd]},
    "content": lambda odd: {"candidates": [{"content": odd, "finishReason": odd, "index": odd}]},
    "parts": lambda odd: {"candidates": [{"content": {"parts": odd}}]},
    "part": lambda odd: {"candidates": [{"content": {"parts": [odd, {"text": odd}]}}]},
    "grounding": lambda odd: {"candidates": [{"groundingMetadata": odd}]},
    "queries": lambda odd: {"candidates": [{"groundingMetadata": {"webSearchQueries": odd, "groundingChunks": odd}}]},
    "counts": lambda odd: {
        "usageMetadata": {"promptTokenCount": odd, "thoughtsTokenCount": odd, "totalTokenCount": odd}
    },
    "details": lambda odd: {"usageMetadata": {"promptTokensDetails": odd, "serviceTier": odd, "trafficType": odd}},
    "detail": lambda odd: {"usageMetadata": {"promptTokensDetails": [{"modality": odd, "tokenCount": odd}]}},
    "blocked": lambda odd: {"promptFeedback": {"blockReason": odd}},
}
HOSTILE = {
    **{f"{field}-{index}": {field: odd} for field, odds in FIELDS.items() for index, odd in enumerate(odds)},
    **{f"{place}-{index}": make(odd) for place, make in INSIDE.items() for index, odd in enumerate(ODD)},
    **{f"whole-{index}": odd for index, odd in enumerate(ODD)},
}


@colours
@either
def test_hostile_response_reaches_the_caller_unchanged(
    server: Server, clients: Any, faults: Counter[str], colour: str, stream: bool
) -> None:
    """Invalid Gemini responses reach the caller as without llmtrace, with one span and no internal fault."""

    def all_of_them() -> dict[str, Any]:
        seen = {}
        for name, body in HOSTILE.items():
            if stream:
                send(server, [body, answer("hi")])
            else:
                server.json(body)
            seen[name] = observe(clients, colour, stream)
        return seen

    bare = all_of_them()
    with traced() as exporter:
        assert all_of_them() == bare
        collect_garbage(clients)
    assert sum(bool(span.attributes) for span in exporter.get_finished_spans()) == len(HOSTILE)
    assert not faults


RAW = [b"<html>", b'{"candidates": [', b"", b'{"a": "\xff\xfe"}', b"[" * 20_000 + b"]" * 20_000, b"data: {\n\n"]


@colours
@either
@pytest.mark.parametrize("body", RAW, ids=range(len(RAW)))
def test_invalid_body_fails_as_without_llmtrace(
    server: Server, clients: Any, colour: str, stream: bool, body: bytes
) -> None:
    """A body that is not JSON or an event stream fails as without llmtrace."""
    server.raw(body, kind="text/event-stream" if stream else "application/json")
    compare(clients, colour, stream)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
NAMES = """candidates content parts text finishReason index usageMetadata promptTokenCount thoughtsTokenCount error
    totalTokenCount promptTokensDetails modality groundingMetadata promptFeedback blockReason functionCall modelVersion
    responseId webSearchQueries"""
KEYS = st.sampled_from(NAMES.split())
JSON = st.recursive(
    SCALARS | st.sampled_from(["STOP", "SAFETY", "TEXT"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=5),
    max_leaves=15,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=6)


@colours
@given(body=OBJECTS | JSON)
@FUZZ
def test_any_json_response_reaches_the_caller_unchanged(
    server: Server, clients: Any, faults: Counter[str], colour: str, body: Any
) -> None:
    """Any JSON gives the caller the same result as without llmtrace."""
    server.json(body)
    compare(clients, colour, False)
    assert not faults


@colours
@given(chunks=st.lists(OBJECTS | JSON, max_size=4))
@FUZZ
def test_any_chunks_reach_the_caller_unchanged(
    server: Server, clients: Any, faults: Counter[str], colour: str, chunks: list[Any]
) -> None:
    """Any chunks give the caller the same result as without llmtrace."""
    send(server, chunks)
    compare(clients, colour, True)
    assert not faults


# -- our own faults --------------------------------------------------------------------------------------------------

GOOD = answer("hi", usage={"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10})


def well(target: Server, stream: bool) -> None:
    if stream:
        send(target, [answer("hi", reason=None), GOOD])
    else:
        target.json(GOOD)


def sabotage(monkeypatch: pytest.MonkeyPatch, stream: bool, **readers: Any) -> None:
    (provider,) = (provider for provider in PROVIDERS if provider.name == "google_genai")
    monkeypatch.setitem(
        provider.routes, ("POST", STREAM[stream]), replace(provider.routes["POST", STREAM[stream]], **readers)
    )


def survive(clients: Any, colour: str, stream: bool, expected: int) -> None:
    """Assert that two calls with a broken llmtrace give the normal result and ``expected`` spans."""
    bare = observe(clients, colour, stream)
    with traced(conforming=False) as exporter:
        first = observe(clients, colour, stream)
        second = observe(clients, colour, stream)
    assert bare
    assert first == second == bare
    assert sum(bool(span.attributes) for span in exporter.get_finished_spans()) == expected


@colours
@pytest.mark.parametrize(
    ("stream", "readers", "places", "made"),
    [
        (False, {"request": boom}, {"begin a call"}, 0),
        (True, {"request": boom}, {"begin a call"}, 0),
        (False, {"response": boom}, {"read a response"}, 2),
        (True, {"accumulator": boom}, {"read a response"}, 2),
        (True, {"accumulator": ("add",)}, {"read a chunk"}, 2),
        (True, {"accumulator": ("result",)}, {"read a stream"}, 2),
        (True, {"accumulator": ("add", "result")}, {"read a chunk", "read a stream"}, 2),
    ],
    ids=["request", "request-stream", "response", "events", "add", "result", "both"],
)
def test_failing_reader_warns_once_and_spares_the_caller(
    server: Server,
    clients: Any,
    ours: SimpleNamespace,
    colour: str,
    stream: bool,
    readers: Any,
    places: set[str],
    made: int,
) -> None:
    """A reader that raises does not affect the caller and warns once per place."""
    well(server, stream)
    (provider,) = (provider for provider in PROVIDERS if provider.name == "google_genai")
    events = provider.routes["POST", STREAM[stream]].accumulator
    assert events is not None
    where = readers.get("accumulator")
    if isinstance(where, tuple):
        readers = {"accumulator": lambda: Broken(events(), *where)}
    sabotage(ours.patch, stream, **readers)
    survive(clients, colour, stream, made)
    assert set(ours.faults) == places
    assert len(warned(ours.log)) == len(places)


@colours
@either
@pytest.mark.parametrize(
    ("method", "place", "made"),
    [
        ("begin", "begin a call", 0),
        ("end", "end a span", 0),
        ("_set_outcome", "read the outcome of a call", 2),
        ("writer", "write a span", 2),
    ],
)
def test_fault_at_begin_or_end_spares_the_caller(
    server: Server,
    clients: Any,
    ours: SimpleNamespace,
    colour: str,
    stream: bool,
    method: str,
    place: str,
    made: int,
) -> None:
    """A fault at the begin or end of a call, or in writing its span, is logged once and not raised."""
    well(server, stream)
    if method == "writer":
        break_describer(ours.patch, "describe_usage")
    else:
        ours.patch.setattr(CallState if method == "_set_outcome" else emit_spans.SpanEmitter, method, boom)
    survive(clients, colour, stream, made)
    assert ours.faults == {place: 2}
    assert len(warned(ours.log)) == 1


@colours
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 529])
@either
def test_error_response_raises_the_sdks_exception(
    server: Server,
    clients: Any,
    faults: Counter[str],
    colour: str,
    status: int,
    stream: bool,
) -> None:
    """An error response raises the SDK's exception with the same context and cause as without llmtrace."""
    server.json({"error": {"message": "no", "status": "BAD", "code": status}}, status=status)
    span = compare(clients, colour, stream)
    assert span.attributes[names.ERROR_TYPE] == str(status)
    assert not faults


@colours
@either
@pytest.mark.parametrize("raised", [ValueError, Interrupted])
def test_exception_while_sending_keeps_its_identity(
    server: Server,
    clients: Any,
    monkeypatch: pytest.MonkeyPatch,
    faults: Counter[str],
    colour: str,
    stream: bool,
    raised: type[BaseException],
) -> None:
    """An exception while a request is sent reaches the caller as the same object, without added context."""
    error = raised("theirs")

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    client = (clients.sync if colour == "sync" else clients.asyncio).models
    api = client._api_client
    monkeypatch.setattr(api, "_request" if colour == "sync" else "_async_request", fail)

    async def call() -> None:
        method = client.generate_content_stream if stream else client.generate_content
        result = await resolve(method(model="m", contents="hello"))
        if stream:
            await collect(result)

    with traced() as exporter, pytest.raises(raised) as caught:
        clients.run(call())
    assert caught.value is error
    assert error.__context__ is None
    assert error.__cause__ is None
    assert len(exporter.get_finished_spans()) == 1
    assert not faults
