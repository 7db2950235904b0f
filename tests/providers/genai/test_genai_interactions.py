"""google-genai: interactions."""

from __future__ import annotations

from typing import Any

import pytest
from genai_calls import COLOURS, STREAMED, Side, ended, exported, only
from google import genai
from google_server import Gemini, collect, resolve, step
from opentelemetry.trace import StatusCode

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*[Ii]nteractions.*"),
    pytest.mark.filterwarnings("ignore:.*deprecated.*"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]
INTERACTION = {
    "id": "i1",
    "status": "completed",
    "model": "gemini-test-001",
    "service_tier": "standard",
    "steps": [],
    "usage": {"total_input_tokens": 8, "total_output_tokens": 2, "total_thought_tokens": 5, "total_tool_use_tokens": 4},
}
EVENTS = [
    {"event_type": "interaction.created", "interaction": {"id": "i1", "status": "in_progress", "model": "gemini-test"}},
    {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
    {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "Hello"}},
    {"event_type": "interaction.completed", "interaction": INTERACTION},
]
has_interactions = pytest.mark.skipif(not hasattr(genai.Client, "interactions"), reason="no interactions yet")


def interact(side: Side, **more: Any) -> Any:
    return side.client.interactions.create(model="gemini-test", input="hello", **more)


def billed(span: Any) -> None:
    assert span.name == "generate_content gemini-test"
    assert span.attributes["gen_ai.usage.input_tokens"] == 12
    assert span.attributes["gen_ai.usage.output_tokens"] == 7
    assert span.attributes["gen_ai.usage.reasoning.output_tokens"] == 5
    assert span.attributes["gen_ai.response.finish_reasons"] == ("stop",)


@has_interactions
@COLOURS
async def test_interaction_is_one_call(side: Side, gemini: Gemini, spans: Any) -> None:
    """An interaction is one call; fetching it again counts nothing."""
    gemini.will(INTERACTION)
    made = await resolve(interact(side, previous_interaction_id="i0"))
    await resolve(side.client.interactions.get(id="i1"))
    assert made.id == "i1"
    created, fetched = await exported(spans)
    billed(created)
    assert created.attributes["gen_ai.request.previous_response.id"] == "i0"
    assert fetched.name == "fetch_response"
    assert fetched.attributes["gen_ai.response.id"] == "i1"
    assert not [name for name in fetched.attributes if name.startswith("gen_ai.usage.")]


@has_interactions
@COLOURS
async def test_interaction_stream_is_accumulated(side: Side, gemini: Gemini, spans: Any) -> None:
    """The events of a stream are accumulated."""
    gemini.will(EVENTS)
    assert len(await collect(await resolve(interact(side, stream=True)))) == 4
    span = await only(spans)
    billed(span)
    ended(span, "exhausted")


@has_interactions
@COLOURS
@pytest.mark.parametrize("end", ["closed", "dropped"])
async def test_interaction_stream_closed_or_dropped_is_distinguished(
    side: Side, gemini: Gemini, spans: Any, end: str
) -> None:
    """A closed stream and a dropped stream have different ends."""
    gemini.will(EVENTS)
    stream = await resolve(interact(side, stream=True))
    await step(stream)
    if end == "closed":
        await resolve(stream.close())
    else:
        del stream
    ended(await only(spans, left=True), end)


@has_interactions
@COLOURS
@STREAMED
async def test_interaction_error_records_its_status(side: Side, gemini: Gemini, spans: Any, stream: bool) -> None:
    """An error records its status, although the SDK raises outside our hooks."""
    gemini.will({"error": {"code": "not_found", "message": "secret"}}, status=404)
    with pytest.raises(Exception, match=r"404|secret"):
        await resolve(interact(side, stream=stream))
    span = await only(spans)
    assert span.attributes["error.type"] == "404"
    assert span.attributes["http.response.status_code"] == 404
    assert span.status.status_code is StatusCode.ERROR
    assert "secret" not in repr(span.to_json())


@has_interactions
@COLOURS
@STREAMED
async def test_interaction_raw_response_has_usage(side: Side, gemini: Gemini, spans: Any, stream: bool) -> None:
    """Raw responses are unchanged, and usage is read as the caller reads the body."""
    gemini.will(EVENTS if stream else INTERACTION)
    raw = await resolve(
        side.client.interactions.with_raw_response.create(model="gemini-test", input="hello", stream=stream)
    )
    parsed = await resolve(raw.parse())
    if stream:
        await collect(parsed)
    billed(await only(spans))
