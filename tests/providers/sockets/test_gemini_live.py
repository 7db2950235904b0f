"""Gemini's Live API: one span per turn of a session, priced by modality."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from inspect import signature
from typing import Any

import pytest
from genai_prices.data import providers
from google import genai
from google.genai import live, types
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from socket_server import CUT, SocketServer, finished
from websockets.exceptions import ConnectionClosed

import llmtrace

if not hasattr(live.AsyncSession, "send_client_content"):
    pytest.skip("google-genai without send_client_content()", allow_module_level=True)

MODEL = "gemini-live-2.5-flash"
USAGE = {
    "promptTokenCount": 1500,
    "responseTokenCount": 300,
    "thoughtsTokenCount": 40,
    "totalTokenCount": 1840,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1000}, {"modality": "AUDIO", "tokenCount": 500}],
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 300}],
}


def model_turn(part: Any) -> Any:
    return {"serverContent": {"modelTurn": {"role": "model", "parts": [part]}}}


AUDIO = model_turn({"inlineData": {"data": "AAAA", "mimeType": "audio/pcm"}})
TRANSCRIPT = {"serverContent": {"outputTranscription": {"text": "Hello"}}}
END = {"serverContent": {"turnComplete": True}, "usageMetadata": USAGE}
CALL = {"toolCall": {"functionCalls": [{"id": "f1", "name": "weather", "args": {"city": "Rome"}}]}}


def cost(usage: dict[str, Any]) -> float:
    """Return the cost of a usage by the price list's own rows, without llmtrace."""
    (google,) = (each for each in providers if each.id == "google")
    (listed,) = (each for each in google.models if each.id == MODEL)
    prices = listed.get_prices(datetime.now(UTC))
    counts = {part["modality"]: part["tokenCount"] for part in usage["promptTokensDetails"]}
    rows = {
        "input_mtok": counts["TEXT"],
        "input_audio_mtok": counts["AUDIO"],
        "output_mtok": usage["thoughtsTokenCount"],
        "output_audio_mtok": usage["responseTokenCount"],
    }
    return float(sum(Decimal(getattr(prices, row)) * count for row, count in rows.items()) / 1_000_000)


@asynccontextmanager
async def session_on(server: SocketServer, **config: Any) -> AsyncIterator[Any]:
    """Connect to the server."""
    client = genai.Client(api_key="k")
    # The SDK itself allows TLS only.
    client._api_client._websocket_base_url = lambda *_: server.url
    client._api_client._websocket_ssl_ctx = {}
    async with client.aio.live.connect(model=MODEL, config={"response_modalities": ["AUDIO"], **config}) as session:
        yield session


async def request(session: Any, text: str = "hi") -> None:
    await session.send_client_content(turns={"role": "user", "parts": [{"text": text}]})


async def read(session: Any) -> list[Any]:
    return [message async for message in session.receive()]


@pytest.fixture
def server(server: SocketServer) -> SocketServer:
    """The server, which completes the setup of a session first."""
    server.creates = "client_content"
    server.setup = {"setupComplete": {"sessionId": "live-1"}}
    return server


async def test_each_turn_is_one_span_with_its_cost(server: SocketServer, spans: InMemorySpanExporter) -> None:
    """Two turns of a session are two spans with tokens and cost by modality, and the tags of their request."""
    server.will([AUDIO, TRANSCRIPT, AUDIO, END], [AUDIO, END])
    async with session_on(server, temperature=0.5) as session:
        for feature in ("a", "b"):
            with llmtrace.tag(feature=feature):
                await request(session)
            await read(session)
    found = await finished(spans)
    assert [span.name for span in spans.get_finished_spans()] == [f"generate_content {MODEL}"] * 2
    assert [span["llmtrace.feature"] for span in found] == ["a", "b"]
    assert [span["llmtrace.stream.chunks"] for span in found] == [4, 2]
    for span in found:
        assert span["llm.cost.total"] == pytest.approx(cost(USAGE), abs=1e-12)
        assert (span["gen_ai.usage.input_tokens"], span["gen_ai.usage.output_tokens"]) == (1500, 340)
        assert span["gen_ai.usage.audio.input_tokens"] == 500
        assert span["gen_ai.usage.audio.output_tokens"] == 300
        assert span["gen_ai.response.finish_reasons"] == ("stop",)
        assert span["gen_ai.provider.name"] == "gcp.gemini"
        assert span.get("session.id") == ("live-1" if "session_id" in signature(live.AsyncSession).parameters else None)
        assert (span["gen_ai.output.type"], span["gen_ai.request.temperature"]) == ("speech", 0.5)
        assert span["server.address"] == "127.0.0.1"
        assert span["llmtrace.stream.end"] == "exhausted"
        assert span["llmtrace.stream.time_to_first_token"] == span["gen_ai.response.time_to_first_chunk"] > 0


async def test_repeated_usage_of_a_turn_is_counted_once(server: SocketServer, spans: InMemorySpanExporter) -> None:
    """Reports within a turn are cumulative: the last one counts."""
    server.will([{**AUDIO, "usageMetadata": {"promptTokenCount": 1500, "responseTokenCount": 90}}, END])
    async with session_on(server) as session:
        await request(session)
        await read(session)
    (span,) = await finished(spans)
    assert span["llm.cost.total"] == pytest.approx(cost(USAGE), abs=1e-12)


async def test_turn_after_a_tool_is_a_span_of_its_own(server: SocketServer, spans: InMemorySpanExporter) -> None:
    """A turn that calls a function is two generations, each with the usage that is reported for it."""
    server.will([{**CALL, "usageMetadata": USAGE}])
    async with session_on(server) as session:
        await request(session)
        assert (await session._receive()).tool_call is not None
        server.creates = "tool_response"
        server.will([AUDIO, END])
        await session.send_tool_response(
            function_responses=types.FunctionResponse(id="f1", name="weather", response={"sky": "blue"})
        )
        await read(session)
    found = await finished(spans)
    assert [span["llm.cost.total"] for span in found] == pytest.approx([cost(USAGE)] * 2, abs=1e-12)
    assert {span["llmtrace.outcome"] for span in found} == {"ok"}


async def test_turn_that_speech_starts_is_a_span(server: SocketServer, spans: InMemorySpanExporter) -> None:
    """A turn without a request begins with its first message."""
    server.will([AUDIO, END])
    async with session_on(server) as session:
        server.creates = "realtime_input"
        await session.send_realtime_input(audio=types.Blob(data=b"0", mime_type="audio/pcm"))
        await read(session)
    (span,) = await finished(spans)
    assert span["llm.cost.total"] == pytest.approx(cost(USAGE), abs=1e-12)


async def test_content_is_the_transcript(server: SocketServer, content_spans: InMemorySpanExporter) -> None:
    """With content on, the span has the text of the request, the transcript, and the system instruction."""
    server.will([TRANSCRIPT, END])
    async with session_on(server, system_instruction="Be brief.", output_audio_transcription={}) as session:
        await request(session, "hello")
        await read(session)
    (span,) = await finished(content_spans)
    assert json.loads(span["gen_ai.input.messages"])[0]["parts"] == [{"type": "text", "content": "hello"}]
    assert json.loads(span["gen_ai.output.messages"])[0]["parts"] == [{"type": "text", "content": "Hello"}]
    assert "Be brief." in span["gen_ai.system_instructions"]


@pytest.mark.parametrize("way", ["closed", "cut"])
async def test_session_that_ends_early_ends_its_turn_once(
    way: str, server: SocketServer, spans: InMemorySpanExporter
) -> None:
    """However a session ends, the span of an unfinished turn ends exactly once, without a cost."""
    server.will([AUDIO, *([CUT] if way == "cut" else [])])
    own = ValueError("mine")
    with pytest.raises((ValueError, genai.errors.APIError, ConnectionClosed)) as raised:
        async with session_on(server) as session:
            await request(session)
            await session._receive()
            if way == "cut":
                await session._receive()
            raise own
    assert way == "cut" or raised.value is own
    del raised
    (span,) = await finished(spans)
    assert span["llmtrace.stream.end"] == ("failed" if way == "cut" else "closed")
    assert ("error.type" in span, "llm.cost.total" in span) == (way == "cut", False)


async def test_exceeded_budget_stops_the_turn(server: SocketServer, spans: InMemorySpanExporter) -> None:
    """A blocking budget raises before the request of a turn leaves."""
    server.will([AUDIO, END], [AUDIO, END])
    llmtrace.budget("live", usd="0.001", per="total", action="block", match={"tag": "live"})
    async with session_on(server) as session:
        with llmtrace.tag(tags=("live",)):
            await request(session)
            await read(session)
            assert llmtrace.flush()
            with pytest.raises(llmtrace.BudgetExceeded):
                await request(session)
    assert [span["llmtrace.outcome"] for span in await finished(spans)] == ["ok", "blocked"]
