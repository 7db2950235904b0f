"""google-genai: automatic function calling, chats and suppressed calls."""

from __future__ import annotations

from typing import Any

import pytest
from genai_calls import COLOURS, FIRST, SECOND, STREAMED, USAGE, Side, exported, tracer
from google_server import Gemini, answer, collect, resolve
from google_tools import weather, weather_by
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from llmtrace import tag

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*[Ii]nteractions.*"),
    pytest.mark.filterwarnings("ignore:.*deprecated.*"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]


def total(found: list[Any], name: str) -> int:
    return sum(span.attributes.get(f"gen_ai.usage.{name}_tokens", 0) for span in found)


@COLOURS
async def test_automatic_function_calling_gives_sibling_spans(side: Side, gemini: Gemini, spans: Any) -> None:
    """Each request of a call is a span with its own tokens; the tool span between them is a sibling."""
    gemini.will(FIRST, SECOND)
    with tracer(spans).start_as_current_span("application") as outer, tag(session="s"):
        response = await side.ask(tools=[weather])
    found = [span for span in await exported(spans) if span.name != "application"]
    assert response.text == "Sunny."
    assert response.usage_metadata.prompt_token_count == 20
    assert response.usage_metadata.candidates_token_count == 4
    assert [span.name for span in found] == [
        "generate_content gemini-test",
        "execute_tool weather",
        "generate_content gemini-test",
    ]
    assert {span.parent.span_id for span in found} == {outer.get_span_context().span_id}
    assert (total(found, "input"), total(found, "output")) == (30, 107)
    tool = found[1]
    assert dict(tool.attributes) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "weather",
        "gen_ai.tool.type": "function",
        "llmtrace.outcome": "ok",
        "openinference.span.kind": "TOOL",
        "session.id": "s",
    }
    assert tool.kind is SpanKind.INTERNAL
    assert found[0].end_time <= tool.start_time <= tool.end_time <= found[2].start_time


@COLOURS
async def test_streamed_function_calling_gives_sibling_spans(side: Side, gemini: Gemini, spans: Any) -> None:
    """The requests and tools of a stream are siblings in the context that created the stream."""
    gemini.will([FIRST], [SECOND])
    with tracer(spans).start_as_current_span("application") as outer:
        stream = await side.ask(stream=True, tools=[weather])
    await collect(stream)
    found = [span for span in await exported(spans) if span.name != "application"]
    requests = [span for span in found if span.name == "generate_content gemini-test"]
    assert (len(requests), total(found, "input"), total(found, "output")) == (2, 30, 107)
    # The first releases call the function twice.
    assert {span.name for span in found} - {requests[0].name} == {"execute_tool weather"}
    assert {span.parent.span_id for span in found} == {outer.get_span_context().span_id}


@COLOURS
async def test_failing_tool_is_an_error_on_its_span(side: Side, gemini: Gemini, spans: Any) -> None:
    """A tool that raises has an error on its span, and the model gets the error as without llmtrace."""

    def fail(city: str) -> None:
        raise ValueError("no such city: secret")

    gemini.will(FIRST, SECOND)
    response = await side.ask(tools=[weather_by(fail)])
    found = await exported(spans)
    assert response.text == "Sunny."
    assert [span.status.status_code for span in found] == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET]
    assert "secret" not in repr(found[1].to_json())
    reported = gemini.received[1][2]["contents"][2]["parts"][0]["functionResponse"]["response"]
    assert "no such city" in reported["error"]


@COLOURS
async def test_spans_inside_a_tool_are_its_children(side: Side, gemini: Gemini, spans: Any) -> None:
    """Spans of a tool are its children, and the context is restored when it returns."""
    own = tracer(spans)

    def look(city: str) -> None:
        with own.start_as_current_span("look it up"):
            pass

    gemini.will(FIRST, SECOND)
    before = trace.get_current_span()
    await side.ask(tools=[weather_by(look)])
    assert trace.get_current_span() is before
    found = {span.name: span for span in await exported(spans)}
    assert found["look it up"].parent.span_id == found["execute_tool weather"].context.span_id


@COLOURS
async def test_chat_messages_are_calls(side: Side, gemini: Gemini, spans: Any) -> None:
    """Messages of a chat are calls, streamed or not, and its history is unchanged."""
    chat = side.client.chats.create(model="gemini-test")
    await resolve(chat.send_message("hello"))
    gemini.will([answer("Hel", reason=None), answer("lo", usage=USAGE)])
    with tracer(spans).start_as_current_span("caller") as caller:
        stream = await resolve(chat.send_message_stream("again"))
    await collect(stream)
    assert len(gemini.received[0][2]["contents"]) == 3
    first, streamed = (span for span in await exported(spans) if span.name != "caller")
    assert first.attributes["gen_ai.usage.input_tokens"] == streamed.attributes["gen_ai.usage.input_tokens"] == 8
    assert streamed.attributes["llmtrace.stream.chunks"] == 2
    assert streamed.parent.span_id == caller.get_span_context().span_id


@COLOURS
@STREAMED
async def test_suppressed_calls_and_tools_have_no_span(side: Side, gemini: Gemini, spans: Any, stream: bool) -> None:
    """Under suppression there is no span, not for tools either."""
    from opentelemetry import context

    gemini.will(*([FIRST], [SECOND]) if stream else (FIRST, SECOND))
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        result = await side.ask(stream=stream, tools=[weather])
        if stream:
            await collect(result)
    finally:
        context.detach(token)
    assert await exported(spans) == []
