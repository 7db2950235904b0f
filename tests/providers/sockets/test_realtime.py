"""OpenAI realtime sessions: one span per response, priced by modality."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data import providers
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from socket_server import COLOURS, Side, SocketServer, finished

import llmtrace

realtime = pytest.importorskip("openai.resources.realtime")
pytestmark = COLOURS

SESSION = {
    "type": "session.created",
    "event_id": "event_1",
    "session": {
        "id": "sess_1",
        "type": "realtime",
        "object": "realtime.session",
        "model": "gpt-realtime",
        "output_modalities": ["audio"],
        "instructions": "Be kind.",
        "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}}],
    },
}
USAGE = {
    "total_tokens": 1830,
    "input_tokens": 1500,
    "output_tokens": 330,
    "input_token_details": {
        "text_tokens": 700,
        "audio_tokens": 500,
        "image_tokens": 300,
        "cached_tokens": 640,
        "cached_tokens_details": {"text_tokens": 384, "audio_tokens": 192, "image_tokens": 64},
    },
    "output_token_details": {"text_tokens": 90, "audio_tokens": 240},
}
MESSAGE = {
    "id": "item_1",
    "object": "realtime.item",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_audio", "transcript": "Hello there"}],
}


def events(name: str = "resp_1", **done: Any) -> list[Any]:
    """Return the events of an audio response; ``done`` changes the last one."""
    response = {
        "object": "realtime.response",
        "id": name,
        "status": "in_progress",
        "output": [],
        "conversation_id": "conv_1",
        "metadata": done.get("metadata"),
    }
    at = {"response_id": name, "item_id": "item_1", "output_index": 0, "content_index": 0}
    complete = {**response, "status": "completed", "output": [MESSAGE], "usage": USAGE, **done}
    return [
        {"type": "response.created", "event_id": "e1", "response": response},
        {"type": "response.output_audio_transcript.delta", "event_id": "e2", **at, "delta": "Hello "},
        {"type": "response.output_audio.delta", "event_id": "e3", **at, "delta": "AAAA"},
        {"type": "response.output_audio_transcript.delta", "event_id": "e4", **at, "delta": "there"},
        {"type": "response.done", "event_id": "e5", "response": complete},
        {"type": "rate_limits.updated", "event_id": "e6", "rate_limits": []},
    ]


def cost(model: str, usage: dict[str, Any]) -> float:
    """Return the cost of a usage by the price list's own rows, without llmtrace."""
    (openai,) = (each for each in providers if each.id == "openai")
    (listed,) = (each for each in openai.models if each.id == model)
    prices = listed.get_prices(datetime.now(UTC))
    details, output = usage["input_token_details"], usage["output_token_details"]
    cached = details["cached_tokens_details"]
    rows = {
        "input_mtok": details["text_tokens"] - cached["text_tokens"],
        "input_audio_mtok": details["audio_tokens"] - cached["audio_tokens"],
        "input_image_mtok": details["image_tokens"] - cached["image_tokens"],
        "cache_read_mtok": cached["text_tokens"],
        "cache_audio_read_mtok": cached["audio_tokens"],
        "cache_image_read_mtok": cached["image_tokens"],
        "output_mtok": output["text_tokens"],
        "output_audio_mtok": output["audio_tokens"],
    }
    return float(sum(Decimal(getattr(prices, row)) * count for row, count in rows.items()) / 1_000_000)


@pytest.mark.parametrize("model", ["gpt-realtime", "gpt-realtime-2", "gpt-realtime-mini"])
async def test_response_costs_its_modalities(
    colour: str, model: str, server: SocketServer, spans: InMemorySpanExporter
) -> None:
    """Text, audio, images and the cached part of each are billed at their own price."""
    server.greeting = [{**SESSION, "session": {**SESSION["session"], "model": model}}]
    server.will(events())
    async with Side(colour, server.url, "realtime", model=model) as side:
        await side.until("session.created")
        with llmtrace.tag(feature="phone"):
            await side.create(response={"max_output_tokens": 200})
        await side.until("rate_limits.updated")
    (span,) = await finished(spans)
    assert span["llm.cost.total"] == pytest.approx(cost(model, USAGE), abs=1e-12)
    assert (span["gen_ai.usage.input_tokens"], span["gen_ai.usage.output_tokens"]) == (1500, 330)
    assert span["gen_ai.usage.audio.input_tokens"] == 500
    assert span["gen_ai.usage.audio.output_tokens"] == 240
    assert span["gen_ai.usage.audio.cache_read.input_tokens"] == 192
    assert span["gen_ai.usage.image.input_tokens"] == 300
    assert span["gen_ai.request.model"] == span["gen_ai.response.model"] == model
    assert (span["session.id"], span["gen_ai.conversation.id"]) == ("sess_1", "conv_1")
    assert span["gen_ai.output.type"] == "speech"
    assert span["gen_ai.request.max_tokens"] == 200
    assert span["gen_ai.response.finish_reasons"] == ("stop",)
    assert span["llmtrace.feature"] == "phone"
    assert span["llmtrace.stream.end"] == "exhausted"
    assert span["llmtrace.stream.chunks"] == 5
    assert span["llmtrace.stream.time_to_first_token"] > span["gen_ai.response.time_to_first_chunk"]


async def test_cached_tokens_without_modalities_leave_a_doubt(
    colour: str, server: SocketServer, spans: InMemorySpanExporter
) -> None:
    """A cost is approximate if the usage does not split its cached tokens and their prices differ."""
    details = {**USAGE["input_token_details"], "cached_tokens_details": None}
    server.will(events(usage={**USAGE, "input_token_details": details}))
    async with Side(colour, server.url, "realtime", model="gpt-realtime-mini") as side:
        await side.create()
        await side.until("response.done")
    (span,) = await finished(spans)
    assert "llm.cost.total" not in span or span["llmtrace.cost.approximate"] is True


async def test_response_to_detected_speech_is_a_span(
    colour: str, server: SocketServer, spans: InMemorySpanExporter
) -> None:
    """Responses that the server starts by itself have spans with the tags at the place that receives them."""
    server.greeting = [SESSION, *events("resp_1"), *events("resp_2", status="cancelled", output=[])]
    async with Side(colour, server.url, "realtime", model="gpt-realtime") as side:
        for _ in range(2):
            with llmtrace.tag(session="call-7"):
                await side.until("rate_limits.updated")
    first, second = await finished(spans)
    assert [first["gen_ai.response.id"], second["gen_ai.response.id"]] == ["resp_1", "resp_2"]
    assert first["llm.cost.total"] == second["llm.cost.total"] == pytest.approx(cost("gpt-realtime", USAGE), abs=1e-12)
    assert first["session.id"] == "call-7"
    assert first["gen_ai.request.model"] == "gpt-realtime"
    assert second["gen_ai.response.finish_reasons"] == ("error",)  # the caller spoke again


async def test_parallel_responses_belong_to_their_requests(
    colour: str, server: SocketServer, spans: InMemorySpanExporter
) -> None:
    """Responses outside the conversation are recognized by their metadata, whatever their order."""
    pair = zip(events("resp_b", metadata={"n": "b"}), events("resp_a", metadata={"n": "a"}), strict=True)
    server.will([], [event for both in pair for event in both])
    async with Side(colour, server.url, "realtime", model="gpt-realtime") as side:
        for name in ("a", "b"):
            with llmtrace.tag(feature=name):
                await side.create(response={"conversation": "none", "metadata": {"n": name}})
        await side.until("response.done")
        await side.until("response.done")
    found = await finished(spans)
    assert {(span["llmtrace.feature"], span["gen_ai.response.id"]) for span in found} == {
        ("a", "resp_a"),
        ("b", "resp_b"),
    }


async def test_error_ends_the_request_that_it_names(
    colour: str, server: SocketServer, spans: InMemorySpanExporter
) -> None:
    """An error of another event leaves the response alone; one of the request itself ends its span."""
    error = {"type": "invalid_request_error", "message": "m", "param": None}
    empty = {"type": "error", "event_id": "e", "error": {**error, "code": "input_audio_buffer_commit_empty"}}
    active = {"type": "error", "event_id": "e", "error": {**error, "code": "bad_request", "event_id": "mine"}}
    server.will([empty, *events()], [active])
    async with Side(colour, server.url, "realtime", model="gpt-realtime") as side:
        await side.create()
        await side.until("response.done")
        await side.create(event_id="mine")
        await side.until("error")
    first, second = await finished(spans)
    assert first["llmtrace.outcome"] == "ok"
    assert (second["error.type"], "llm.cost.total" in second) == ("bad_request", False)


async def test_failed_response_is_an_error(colour: str, server: SocketServer, spans: InMemorySpanExporter) -> None:
    """A response whose status is failed ends its span with the vendor's code."""
    details = {"type": "failed", "error": {"type": "server_error", "code": "rate_limit_exceeded"}}
    server.will(events(status="failed", status_details=details, output=[], usage=None))
    async with Side(colour, server.url, "realtime", model="gpt-realtime") as side:
        await side.create()
        await side.until("response.done")
    (span,) = await finished(spans)
    assert (span["error.type"], span["llmtrace.outcome"]) == ("rate_limit_exceeded", "error")


@pytest.mark.parametrize("complete", [True, False])
async def test_content_is_the_transcript(
    colour: str, complete: bool, server: SocketServer, content_spans: InMemorySpanExporter
) -> None:
    """With content on, the span has the request's items and the transcript, and none of its audio."""
    server.greeting = [SESSION]
    server.will(events()[: None if complete else 4])
    content = [{"type": "input_text", "text": "Hi"}, {"type": "input_audio", "audio": "AAAA"}]
    async with Side(colour, server.url, "realtime", model="gpt-realtime") as side:
        await side.until("session.created")
        await side.create(response={"input": [{"type": "message", "role": "user", "content": content}]})
        for _ in range(4):
            await side.receive()
        if complete:
            await side.until("response.done")
    (span,) = await finished(content_spans)
    (question,) = json.loads(span["gen_ai.input.messages"])
    assert [part["type"] for part in question["parts"]] == ["text", "blob"]
    (answer,) = json.loads(span["gen_ai.output.messages"])
    assert answer["parts"] == [{"type": "text", "content": "Hello there"}]
    assert "Be kind." in span["gen_ai.system_instructions"]
    assert json.loads(span["gen_ai.tool.definitions"])[0]["name"] == "weather"


async def test_closed_session_ends_its_response(colour: str, server: SocketServer, spans: InMemorySpanExporter) -> None:
    """A session that is closed during a response ends its span without a cost."""
    server.will(events()[:3])
    async with Side(colour, server.url, "realtime", model="gpt-realtime") as side:
        await side.create()
        for _ in range(3):
            await side.receive()
    (span,) = await finished(spans)
    assert (span["llmtrace.stream.end"], "llm.cost.total" in span) == ("closed", False)


@pytest.mark.parametrize(
    ("end", "usage", "count"),
    [
        ("completed", {"type": "tokens", "input_tokens": 40, "output_tokens": 9, "total_tokens": 49}, 40),
        ("completed", {"type": "duration", "seconds": 2.5}, None),
        ("failed", None, None),
    ],
    ids=["tokens", "duration", "failed"],
)
async def test_transcription_of_the_input_is_a_call_of_its_model(
    colour: str, server: SocketServer, spans: InMemorySpanExporter, end: str, usage: Any, count: int | None
) -> None:
    """The transcription of the caller's audio is billed apart: one span, with the model of the session's settings."""
    audio = {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}
    event = {"type": f"conversation.item.input_audio_transcription.{end}", "event_id": "t1", "item_id": "item_0"}
    event |= {"content_index": 0, "transcript": "hi", "usage": usage} if usage else {"error": {"code": "bad_audio"}}
    server.greeting = [{**SESSION, "session": {**SESSION["session"], "audio": audio}}]
    server.will([event, *events()])
    async with Side(colour, server.url, "realtime", model="gpt-realtime") as side:
        await side.until("session.created")
        await side.create()
        await side.until("rate_limits.updated")
    found = {span["gen_ai.request.model"]: span for span in await finished(spans)}
    assert sorted(found) == ["gpt-4o-transcribe", "gpt-realtime"]
    transcription = found["gpt-4o-transcribe"]
    assert transcription["gen_ai.operation.name"] == "generate_content"
    assert transcription.get("gen_ai.usage.input_tokens") == count
    assert ("llm.cost.total" in transcription) == (count is not None)
    assert transcription.get("llmtrace.usage.audio_seconds") == (usage or {}).get("seconds")
    assert transcription.get("error.type") == (None if usage else "bad_audio")
