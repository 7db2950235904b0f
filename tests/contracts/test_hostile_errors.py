"""Errors and interrupts reach the caller as without llmtrace, and hostile headers change nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anthropic
import openai
import pytest
from hostile import COLOURS, Interrupted, Server, break_describer, traced
from hostile_calls import (
    GOOD,
    GOOD_CHUNKS,
    KINDS,
    QUESTION,
    STAINLESS,
    STAINLESS_STREAMED,
    break_events,
    compare,
    count_spans,
)
from pydantic import BaseModel

from llmtrace.telemetry import names


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 429, 500, 529])
def test_error_response_raises_the_sdks_exception(
    server: Server, clients: Any, faults: Counter[str], kind: str, colour: str, status: int
) -> None:
    """An error response raises the SDK's exception with the same context and cause as without llmtrace."""
    server.json({"error": {"message": "no", "type": "bad", "code": "bad"}}, status=status)
    span = compare(clients, KINDS[kind], colour)
    assert span.attributes[names.ERROR_TYPE] == str(status)
    assert not faults


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", STAINLESS)
@pytest.mark.parametrize("broken", [False, True], ids=["sound", "broken"])
@pytest.mark.parametrize("raised", [ValueError, Interrupted])
def test_exception_in_a_call_keeps_its_identity(
    server: Server,
    clients: Any,
    monkeypatch: pytest.MonkeyPatch,
    faults: Counter[str],
    kind: str,
    colour: str,
    broken: bool,
    raised: type[BaseException],
) -> None:
    """An exception inside a call reaches the caller as the same object, without added context."""
    server.json(GOOD)
    error = raised("theirs")

    def fail(_: Any) -> Any:
        raise error

    client = clients.made[KINDS[kind].vendor, colour]
    model = (openai if KINDS[kind].vendor == "openai" else anthropic).BaseModel
    options: dict[str, Any] = {"cast_to": model, "body": {"model": "m"}, "options": {"post_parser": fail}}
    if broken:
        break_describer(monkeypatch, "describe_response")

    async def wait() -> Any:
        return await client.post(KINDS[kind].path, **options)

    with traced() as exporter, pytest.raises(raised) as caught:
        if colour == "async":
            clients.run(wait())
        else:
            client.post(KINDS[kind].path, **options)
    assert caught.value is error
    assert error.__context__ is None
    assert error.__cause__ is None
    assert count_spans(exporter) == 1
    assert set(faults) == ({"write a span"} if broken else set())


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", STAINLESS_STREAMED)
@pytest.mark.parametrize("broken", [False, True], ids=["sound", "broken"])
def test_exception_in_a_stream_keeps_its_identity(
    server: Server,
    clients: Any,
    monkeypatch: pytest.MonkeyPatch,
    faults: Counter[str],
    kind: str,
    colour: str,
    broken: bool,
) -> None:
    """An exception while a stream is read reaches the caller as the same object, without added context."""
    server.events(GOOD_CHUNKS[kind])
    error = Interrupted("theirs")

    def fail(*_: Any) -> Any:
        raise error

    vendor = openai if KINDS[kind].vendor == "openai" else anthropic
    client = clients.made[KINDS[kind].vendor, colour]
    monkeypatch.setattr(vendor._streaming.ServerSentEvent, "json", fail)
    if broken:
        break_events(monkeypatch, KINDS[kind], "add", "result", "ended")

    async def read() -> None:
        async with await KINDS[kind].call(client, stream=True) as stream:
            async for _ in stream:
                pass

    with traced() as exporter, pytest.raises(Interrupted) as caught:
        if colour == "async":
            clients.run(read())
        else:
            with KINDS[kind].call(client, stream=True) as stream:
                list(stream)
    assert caught.value is error
    assert error.__context__ is None
    assert len(exporter.get_finished_spans()) == 1
    assert set(faults) == ({"read a stream"} if broken else set())


class Capital(BaseModel):
    city: str


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("content", ["not json", '{"city": 3}', ""])
def test_failed_parse_records_usage(
    server: Server, clients: Any, faults: Counter[str], content: str, colour: str
) -> None:
    """If only parsing the response fails, its tokens are on the span."""
    message = {"role": "assistant", "content": content or "{"}
    server.json({**GOOD, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]})

    def call(client: Any) -> Any:
        completions = client.chat.completions
        if not hasattr(completions, "parse"):
            completions = client.beta.chat.completions
        return completions.parse(model="m", messages=QUESTION, response_format=Capital)

    span = compare(clients, KINDS["chat"], colour, call=call)
    assert span.attributes[names.USAGE["input"]] == 7
    assert span.attributes[names.USAGE["output"]] == 3
    if hasattr(clients.made["openai", "sync"].chat.completions, "parse"):  # older releases parse after the call
        assert "ValidationError" in span.attributes[names.ERROR_TYPE]
    assert not faults


@pytest.mark.parametrize("value", ["²", "9" * 5000, "-1", "1.5", "", "x"])
@pytest.mark.parametrize("name", ["x-ratelimit-remaining-requests", "x-request-id"])
def test_hostile_headers_do_not_affect_caller_or_span(
    server: Server, clients: Any, faults: Counter[str], name: str, value: str
) -> None:
    """Invalid headers affect neither the caller nor the span."""
    server.headers = {name: value}
    server.json(GOOD)
    span = compare(clients, KINDS["chat"], "sync")
    assert span.attributes[names.OUTCOME] == "ok"
    assert span.attributes[names.USAGE["input"]] == 7
    assert not faults
