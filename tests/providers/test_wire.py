"""Response bodies as servers and proxies send them: compressed, cut anywhere, in every form of event streams."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from answers import CHAT, CHAT_CHUNKS, MESSAGE, MESSAGE_EVENTS, sse
from helpers import attributes, read_stream, resolve, resource_and_arguments
from loopback import Loopback, ServerResponse, json_answer, stream_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmtrace.capture.failure import error_type, http_status
from stainless_clients import make_client

VENDORS = ("openai", "anthropic")
BODIES = {"openai": b"".join(sse(CHAT_CHUNKS, done=True)), "anthropic": b"".join(sse(MESSAGE_EVENTS))}
PLAIN: dict[str, Any] = {"openai": CHAT, "anthropic": MESSAGE}


def several_lines(body: bytes) -> bytes:
    """Each event's JSON spread over several ``data:`` fields."""
    out = []
    for line in body.decode().split("\n"):
        if line.startswith("data: {"):
            out += [f"data: {part}" for part in json.dumps(json.loads(line[6:]), indent=1).split("\n")]
        else:
            out.append(line)
    return "\n".join(out).encode()


def bytewise(body: bytes) -> list[bytes]:
    return [body[at : at + 1] for at in range(len(body))]


SPELLINGS: dict[str, Callable[[bytes], list[bytes]]] = {
    "crlf": lambda body: [body.replace(b"\n", b"\r\n")],
    "cr": lambda body: [body.replace(b"\n", b"\r")],
    "several-lines": lambda body: [several_lines(body)],
    "several-lines-crlf": lambda body: bytewise(several_lines(body).replace(b"\n", b"\r\n")),
    "comments": lambda body: [b": ping\n\n", body.replace(b"\n\n", b"\n\n: ping\n\n")],
    "no-space": lambda body: [body.replace(b"data: ", b"data:")],
    "split-anywhere": bytewise,
    "split-crlf": lambda body: bytewise(body.replace(b"\n", b"\r\n")),
    "other-fields": lambda body: [b"id: 1\nretry: 10\n", body],
    "at-once": lambda body: [body],
}


@pytest.mark.parametrize("reading", ["stream", "raw", "iter_lines", "iter_bytes"])
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_every_form_of_event_stream_is_read(
    loopback: Loopback, spans: InMemorySpanExporter, vendor: str, colour: str, spelling: str, reading: str
) -> None:
    """A stream in every form, cut anywhere, is one span with its tokens and its end."""
    loopback.will(stream_answer(SPELLINGS[spelling](BODIES[vendor])))
    client = make_client(vendor, colour, loopback.url)
    assert await read_stream(client, reading)
    await resolve(client.close())
    got = attributes(spans)
    assert (got["gen_ai.usage.input_tokens"], got["gen_ai.usage.output_tokens"]) == (7, 3)
    assert got["llmtrace.stream.end"] == "exhausted"


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "gzip, deflate": lambda body: zlib.compress(gzip.compress(body)),
}


@pytest.mark.parametrize("reading", ["plain", "plain-raw", "stream", "raw", "iter_lines", "iter_bytes"])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_compressed_body_is_read(
    loopback: Loopback, spans: InMemorySpanExporter, vendor: str, colour: str, encoding: str, reading: str
) -> None:
    """A compressed body, cut anywhere, is read by the caller and by llmtrace."""
    plain = reading.startswith("plain")
    body = json.dumps(PLAIN[vendor]).encode() if plain else BODIES[vendor]
    packed = ENCODINGS[encoding](body)
    parts = [packed[at : at + 7] for at in range(0, len(packed), 7)]
    kind = "application/json" if plain else "text/event-stream"
    loopback.will(ServerResponse([*parts, b""], kind=kind, headers={"content-encoding": encoding}))
    client = make_client(vendor, colour, loopback.url)
    if plain:
        resource, arguments = resource_and_arguments(client)
        maker = resource.with_raw_response if reading == "plain-raw" else resource
        assert await resolve(maker.create(**arguments))
    else:
        assert await read_stream(client, reading)
    await resolve(client.close())
    got = attributes(spans)
    assert (got["gen_ai.usage.input_tokens"], got["gen_ai.usage.output_tokens"]) == (7, 3)


@pytest.mark.parametrize("reading", ["stream", "raw"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_event_of_two_megabytes_is_read(
    loopback: Loopback, spans: InMemorySpanExporter, vendor: str, reading: str
) -> None:
    """One event of two megabytes, in pieces, is an event like any other."""
    body = BODIES[vendor].replace("hé 漢字".encode(), b"x" * 2_000_000)
    parts = [body[at : at + 16_384] for at in range(0, len(body), 16_384)]
    loopback.will(stream_answer(parts))
    with make_client(vendor, "sync", loopback.url) as client:
        assert await read_stream(client, reading)
    assert attributes(spans)["llmtrace.stream.end"] == "exhausted"


@pytest.mark.parametrize("reading", ["stream", "raw"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_stream_read_by_an_event_hook_is_recorded(
    loopback: Loopback, spans: InMemorySpanExporter, vendor: str, reading: str
) -> None:
    """A stream whose body the application's httpx hook has read before the SDK is recorded."""
    loopback.will(stream_answer([BODIES[vendor]]))
    with make_client(vendor, "sync", loopback.url) as client:
        client._client.event_hooks = {"response": [lambda response: response.read()]}
        assert await read_stream(client, reading)
    got = attributes(spans)
    assert (got["gen_ai.usage.input_tokens"], got["gen_ai.usage.output_tokens"]) == (7, 3)
    assert got["llmtrace.stream.end"] == "exhausted"


def without_usage(vendor: str) -> list[dict[str, Any]]:
    """Return a stream without usage."""
    if vendor == "openai":
        return CHAT_CHUNKS[:-1]
    start = {**MESSAGE_EVENTS[0], "message": {**MESSAGE_EVENTS[0]["message"], "usage": None}}
    return [{key: value for key, value in event.items() if key != "usage"} for event in (start, *MESSAGE_EVENTS[1:])]


@pytest.mark.parametrize("reading", ["stream", "raw", "iter_lines"])
@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_stream_without_usage_is_marked_missing(
    loopback: Loopback, spans: InMemorySpanExporter, vendor: str, colour: str, reading: str
) -> None:
    """A stream without usage ends normally, is marked as missing usage, and has no count."""
    loopback.will(stream_answer(sse(without_usage(vendor), done=vendor == "openai")))
    client = make_client(vendor, colour, loopback.url)
    assert await read_stream(client, reading)
    await resolve(client.close())
    got = attributes(spans)
    assert got["llmtrace.stream.end"] == "exhausted"
    assert got["llmtrace.usage.source"] == "missing"
    assert not [name for name in got if name.startswith("gen_ai.usage.")]


def test_numeric_code_in_an_error_event_is_not_the_status() -> None:
    """OpenRouter's error event has a number as its code, but the response began with 200."""
    error = openai.APIError("x", request=httpx.Request("POST", "http://h"), body={"code": 502})
    error.code = 502  # type: ignore[assignment] # as most releases have it; the newest make it text
    assert http_status(error) is None
    assert error_type(error) == "openai.APIError"


REFUSED = ServerResponse(
    [b'{"error":{"type":"overloaded_error","message":"x"}}'], status=503, headers={"retry-after-ms": "1"}
)


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_retries_are_counted_in_one_span(
    loopback: Loopback, spans: InMemorySpanExporter, vendor: str, colour: str
) -> None:
    """A call that succeeds at the third attempt is one span that counts the retries."""
    loopback.will(REFUSED, REFUSED, json_answer(PLAIN[vendor]))
    client = make_client(vendor, colour, loopback.url, max_retries=2)
    resource, arguments = resource_and_arguments(client)
    await resolve(resource.create(**arguments))
    await resolve(client.close())
    got = attributes(spans)
    assert (got["llmtrace.outcome"], got["gen_ai.usage.input_tokens"]) == ("ok", 7)
    assert got.get("llmtrace.retry.count", 2) == 2
    assert len(loopback.received) == 3
