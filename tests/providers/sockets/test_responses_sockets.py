"""OpenAI responses over a WebSocket: one span per response, as over HTTP."""

from __future__ import annotations

import asyncio
import json
from inspect import signature
from typing import Any

import pytest
from answers import RESPONSE, RESPONSE_EVENTS
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from socket_server import CLOSE, COLOURS, CUT, Side, SocketServer, finished

import llmtrace

responses = pytest.importorskip("openai.resources.responses.responses")
if not hasattr(responses, "ResponsesConnection"):
    pytest.skip("openai without responses.connect()", allow_module_level=True)
pytestmark = COLOURS
CREATE = responses.ResponsesResponseResource.create

USAGE = {
    "input_tokens": 1000,
    "input_tokens_details": {"cached_tokens": 400},
    "output_tokens": 100,
    "output_tokens_details": {"reasoning_tokens": 60},
    "total_tokens": 1100,
}


def events(name: str = "resp_1", *, lane: str | None = None, **response: Any) -> list[Any]:
    """Return the events of a response."""
    changed = {"id": name, "model": "gpt-5-2025-08-07", "usage": USAGE, **response}
    on_lane = {} if lane is None else {"stream_id": lane}
    return [
        {**event, **on_lane, **({"response": {**event["response"], **changed}} if "response" in event else {})}
        for event in RESPONSE_EVENTS
    ]


async def test_each_response_of_a_connection_is_one_span(
    colour: str, server: SocketServer, spans: InMemorySpanExporter
) -> None:
    """Two responses on one connection are two spans with usage, cost, timings and the tags of their request."""
    server.will(events("resp_1"), events("resp_2", conversation={"id": "conv_1"}))
    async with Side(colour, server.url) as side:
        for feature in ("a", "b"):
            with llmtrace.tag(feature=feature):
                await side.create(model="gpt-5", input="hi", max_output_tokens=9)
            await side.until("response.completed")
    found = await finished(spans)
    assert [span.name for span in spans.get_finished_spans()] == ["chat gpt-5"] * 2
    assert [span["gen_ai.response.id"] for span in found] == ["resp_1", "resp_2"]
    assert [span["llmtrace.feature"] for span in found] == ["a", "b"]
    assert [span.get("gen_ai.conversation.id") for span in found] == [None, "conv_1"]
    cost = (600 * 1.25 + 400 * 0.125 + 100 * 10) / 1e6
    for span in found:
        assert (span["gen_ai.usage.input_tokens"], span["gen_ai.usage.output_tokens"]) == (1000, 100)
        assert span["gen_ai.usage.reasoning.output_tokens"] == 60
        assert span["llm.cost.total"] == pytest.approx(cost, abs=1e-12)
        assert span["llmtrace.stream.end"] == "exhausted"
        assert span["llmtrace.stream.chunks"] == len(RESPONSE_EVENTS)
        assert span["llmtrace.stream.time_to_first_token"] >= span["gen_ai.response.time_to_first_chunk"] > 0
        assert span["llmtrace.api"] == "openai.responses.connect"
        assert (span["server.address"], span["server.port"]) == ("127.0.0.1", int(server.url.rpartition(":")[2]))
        assert span["gen_ai.request.max_tokens"] == 9
        assert span["gen_ai.response.finish_reasons"] == ("stop",)


async def test_the_program_gets_what_it_gets_without_llmtrace(colour: str, server: SocketServer) -> None:
    """Messages and events are the same with and without hooks."""
    seen = []
    for traced in (False, True):
        server.received.clear()
        server.will([*events(), CLOSE])
        if traced:
            llmtrace.instrument(tracer_provider=TracerProvider(), strict=True)
        try:
            async with Side(colour, server.url) as side:
                await side.create(model="gpt-5", input=[{"role": "user", "content": "hi"}])
                seen.append(([event.to_dict() for event in await side.read()], list(server.received)))
        finally:
            llmtrace.uninstrument()
    assert seen[0] == seen[1]


async def test_content_of_a_response_is_recorded_on_request(
    colour: str, server: SocketServer, content_spans: InMemorySpanExporter
) -> None:
    """With content on, the span has the messages of the request and of the response."""
    server.will(events())
    async with Side(colour, server.url) as side:
        await side.create(model="gpt-5", input="hello", instructions="Be brief.")
        await side.until("response.completed")
    (span,) = await finished(content_spans)
    assert json.loads(span["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "hello"}]}
    ]
    assert json.loads(span["gen_ai.output.messages"])[0]["parts"] == [{"type": "text", "content": "hé"}]
    assert "Be brief." in span["gen_ai.system_instructions"]


@pytest.mark.skipif(
    "stream_id" not in signature(responses.ResponsesResponseResource.create).parameters, reason="no lanes"
)
async def test_events_of_two_lanes_belong_to_their_own_requests(
    colour: str, server: SocketServer, spans: InMemorySpanExporter
) -> None:
    """Two responses whose events are interleaved are two spans, each with the request of its lane."""
    first, second = events("resp_a", lane="a"), events("resp_b", lane="b", model="gpt-5-mini-2025-08-07")
    server.will([], [event for pair in zip(second, first, strict=True) for event in pair])
    async with Side(colour, server.url) as side:
        await side.create(model="gpt-5", input="hi", stream_id="a")
        await side.create(model="gpt-5-mini", input="hi", stream_id="b")
        await side.until("response.completed")
        await side.until("response.completed")
    found = await finished(spans)
    assert {(span["gen_ai.request.model"], span["gen_ai.response.id"]) for span in found} == {
        ("gpt-5", "resp_a"),
        ("gpt-5-mini", "resp_b"),
    }
    assert {span["llmtrace.stream.chunks"] for span in found} == {len(first)}


async def test_response_started_by_the_server_is_a_span(
    colour: str, server: SocketServer, spans: InMemorySpanExporter
) -> None:
    """A successor that steering starts has no request, and a span of its own. Parsing an event again starts none."""
    server.will([*events("resp_1"), *events("resp_2")])
    async with Side(colour, server.url) as side:
        await side.create(model="gpt-5", input="hi")
        await side.until("response.completed")
        await side.until("response.completed")
        side.connection.parse_event(json.dumps(events("resp_2")[0]))
    found = await finished(spans)
    assert [span["gen_ai.response.id"] for span in found] == ["resp_1", "resp_2"]
    assert found[1]["gen_ai.request.model"] == "gpt-5-2025-08-07"
    assert found[0]["llm.cost.total"] == found[1]["llm.cost.total"]


async def test_refused_request_is_an_error(colour: str, server: SocketServer, spans: InMemorySpanExporter) -> None:
    """An error in place of a response ends the span of its request with the status, and bills nothing."""
    error = {"type": "invalid_request_error", "code": "previous_response_not_found", "message": "m", "param": None}
    server.will([{"type": "error", "status": 400, "error": error}], events())
    async with Side(colour, server.url) as side:
        await side.create(model="gpt-5", input="hi", previous_response_id="resp_0")
        await side.until("error")
        await side.create(model="gpt-5", input="hi")
        await side.until("response.completed")
    refused, accepted = await finished(spans)
    assert (refused["error.type"], refused["llmtrace.outcome"]) == ("400", "error")
    assert "llm.cost.total" not in refused
    assert accepted["llmtrace.outcome"] == "ok"


@pytest.mark.parametrize(
    ("ending", "error_type"),
    [
        ({"type": "error", "error": {"type": "server_error", "message": "m"}, "sequence_number": 3}, "server_error"),
        (
            {
                "type": "response.failed",
                "response": {**RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "m"}},
            },
            "server_error",
        ),
    ],
    ids=["error", "failed"],
)
async def test_failed_response_is_an_error(
    colour: str, ending: Any, error_type: str, server: SocketServer, spans: InMemorySpanExporter
) -> None:
    """A response that fails after its start ends its span with the vendor's code."""
    server.will([*events(usage=None)[:3], ending])
    async with Side(colour, server.url) as side:
        await side.create(model="gpt-5", input="hi")
        await side.until(ending["type"])
    (span,) = await finished(spans)
    assert (span["error.type"], span["llmtrace.stream.end"]) == (error_type, "failed")


@pytest.mark.parametrize("way", ["closed", "dropped", "cut", "server", "unread"])
async def test_connection_that_ends_early_ends_its_span_once(
    colour: str, way: str, server: SocketServer, spans: InMemorySpanExporter
) -> None:
    """However a connection ends, the span of an unfinished response ends exactly once and has no cost."""
    started = [] if way == "unread" else events(usage=None)[:4]
    server.will([*started, *({"cut": [CUT], "server": [CLOSE]}.get(way, []))])
    async with Side(colour, server.url) as side:
        await side.create(model="gpt-5", input="hi")
        for _ in started:
            await side.receive()
        if way == "cut":
            with pytest.raises(Exception, match="no close frame") as lost:
                await side.read()
            del lost
        elif way == "server":
            assert await side.read() == []
        elif way == "dropped":
            socket, side.connection, side.manager = side.connection._connection, None, None
            if colour == "sync":
                socket.close()
            else:
                await socket.close()
    (span,) = await finished(spans)
    ends = {"cut": "failed", "server": "truncated", "dropped": "dropped"}
    assert span["llmtrace.stream.end"] == ends.get(way, "closed")
    assert ("error.type" in span) == (way in ("cut", "server"))
    assert "llm.cost.total" not in span
    assert span.get("llmtrace.stream.chunks", 0) == len(started)


async def test_read_that_times_out_leaves_the_response_open(
    colour: str, server: SocketServer, spans: InMemorySpanExporter
) -> None:
    """A read that is given up loses no event, so the response continues."""
    server.will([], events("resp_1"))
    async with Side(colour, server.url) as side:
        await side.create(model="gpt-5", input="hi")
        if colour == "async":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(side.receive(), 0.02)
        await side.create(model="gpt-5", input="hi")
        await side.until("response.completed")
    found = await finished(spans)
    assert [span["llmtrace.stream.end"] for span in found] == ["exhausted", "closed"]


async def test_exceeded_budget_stops_the_request(
    colour: str, server: SocketServer, spans: InMemorySpanExporter
) -> None:
    """A blocking budget raises before the request leaves; the connection stays usable."""
    server.will(events(), events())
    name = f"sockets-{colour}"
    llmtrace.budget(name, usd="0.002", per="total", action="block", match={"tag": name})
    async with Side(colour, server.url) as side:
        with llmtrace.tag(tags=(name,)):
            await side.create(model="gpt-5", input="hi", max_output_tokens=100)
            await side.until("response.completed")
            assert llmtrace.flush()
            with pytest.raises(llmtrace.BudgetExceeded):
                await side.create(model="gpt-5", input="hi", max_output_tokens=100)
        await side.create(model="gpt-5", input="hi")
        await side.until("response.completed")
    assert len(server.received) == 2
    assert [span["llmtrace.outcome"] for span in await finished(spans)] == ["ok", "blocked", "ok"]


async def test_request_that_cannot_be_sent_is_an_error(
    colour: str, server: SocketServer, spans: InMemorySpanExporter
) -> None:
    """The exception of a closed connection reaches the caller and ends the span of the request."""
    async with Side(colour, server.url) as side:
        await side.close()
        with pytest.raises(Exception, match="1000"):
            await side.create(model="gpt-5", input="hi")
    (span,) = await finished(spans)
    assert span["error.type"].endswith("ConnectionClosedOK")
    assert "llmtrace.stream.end" not in span


async def test_raw_messages_are_traced(colour: str, server: SocketServer, spans: InMemorySpanExporter) -> None:
    """A program that sends text and parses bytes by itself gets the same span."""
    server.will(events())
    async with Side(colour, server.url) as side:
        if not hasattr(side.connection, "send_raw"):
            pytest.skip("this release sends no raw messages")
        sent = side.connection.send_raw(json.dumps({"type": "response.create", "model": "gpt-5", "input": "hi"}))
        if sent is not None:
            await sent
        for _ in RESPONSE_EVENTS:
            data = side.connection.recv_bytes()
            side.connection.parse_event(await data if hasattr(data, "__await__") else data)
    (span,) = await finished(spans)
    assert span["gen_ai.request.model"] == "gpt-5"
    assert span["llm.cost.total"] > 0
