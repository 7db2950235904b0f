"""The attempts of Instructor are one trace."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from agent_server import check_money, only, tree
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel, field_validator

instructor = pytest.importorskip("instructor")

pytestmark = [pytest.mark.usefixtures("agent_server"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def weather(valid_after: int) -> type[BaseModel]:
    """Return a model that accepts a response only after so many attempts."""
    attempts: list[str] = []

    class Weather(BaseModel):
        city: str

        @field_validator("city")
        @classmethod
        def check(cls, city: str) -> str:
            attempts.append(city)
            if len(attempts) < valid_after:
                raise ValueError("not yet")
            return city

    return Weather


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_attempts_are_below_one_span(spans: InMemorySpanExporter, asynchronous: bool) -> None:
    """The calls for one response model share a span and a trace."""
    messages = [{"role": "user", "content": "weather?"}]
    question: Any = {"model": "gpt-4o-mini", "messages": messages, "response_model": weather(2), "max_retries": 3}
    if asynchronous:
        client = instructor.from_openai(openai.AsyncOpenAI())
        assert (await client.chat.completions.create(**question)).city == "Paris"
    else:
        assert instructor.from_openai(openai.OpenAI()).chat.completions.create(**question).city == "Paris"
    finished = spans.get_finished_spans()
    assert tree(finished) == ["invoke_workflow Weather", *["  chat gpt-4o-mini"] * 2]
    check_money(finished, calls=2)


@pytest.mark.parametrize("content", [False, True])
async def test_invalid_responses_are_events(request: pytest.FixtureRequest, content: bool) -> None:
    """The span of the attempts says why each was not valid, with the text of the error if content is recorded."""
    spans = request.getfixturevalue("content_spans" if content else "spans")
    messages: Any = [{"role": "user", "content": "weather?"}]
    for client in (openai.OpenAI(), openai.AsyncOpenAI()):
        answer = instructor.from_openai(client).create(
            model="gpt-4o-mini", messages=messages, response_model=weather(2), max_retries=3
        )
        assert (await answer if isinstance(client, openai.AsyncOpenAI) else answer).city == "Paris"
    extractions = [span for span in spans.get_finished_spans() if span.name == "invoke_workflow Weather"]
    assert len(extractions) == 2
    for span in extractions:
        assert span.status.status_code.name == "UNSET"
        (event,) = span.events
        assert (event.name, str(event.attributes["exception.type"])) == (
            "exception",
            "pydantic_core._pydantic_core.ValidationError",
        )
        assert ("not yet" in event.attributes.get("exception.message", "")) is content


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_streamed_response_is_one_trace(spans: InMemorySpanExporter, asynchronous: bool) -> None:
    """A response model that is read in parts has one call below its span, whose tokens are counted once."""
    messages = [{"role": "user", "content": "weather?"}]
    question: Any = {"model": "gpt-4o-mini", "messages": messages, "response_model": weather(0), "max_retries": 0}
    question["stream_options"] = {"include_usage": True}
    if asynchronous:
        client = instructor.from_openai(openai.AsyncOpenAI())
        parts = [part async for part in client.chat.completions.create_partial(**question)]
    else:
        parts = list(instructor.from_openai(openai.OpenAI()).chat.completions.create_partial(**question))
    assert parts[-1].city == "Paris"
    finished = spans.get_finished_spans()
    assert "invoke_workflow" in tree(finished)[0]
    assert tree(finished)[1:] == ["  chat gpt-4o-mini"]
    check_money(finished, calls=1)


def test_response_that_is_never_valid_is_an_error(spans: InMemorySpanExporter) -> None:
    """Instructor's exception reaches the application, and the span records it; its calls are fine."""
    client = instructor.from_openai(openai.OpenAI())
    messages: Any = [{"role": "user", "content": "weather?"}]
    with pytest.raises(Exception, match="not yet"):
        client.chat.completions.create(model="gpt-4o-mini", messages=messages, response_model=weather(9), max_retries=1)
    outcomes = {span.name: (span.attributes or {})["llmtrace.outcome"] for span in spans.get_finished_spans()}
    assert outcomes == {"invoke_workflow Weather": "error", "chat gpt-4o-mini": "ok"}
    assert only(spans.get_finished_spans(), "invoke_workflow Weather").status.status_code.name == "ERROR"
