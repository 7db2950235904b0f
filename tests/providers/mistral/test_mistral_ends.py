"""mistralai: how calls and streams end: errors, retries, streams that are left early or cut."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from answers import sse
from loopback import CUT, Loopback, json_answer, stream_answer
from mistral_calls import CHUNKS, COLOURS, Side, good, next_item, only, read, retries
from mistralai.client import errors
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import llmtrace

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
REFUSAL = {"object": "error", "message": "no", "type": "invalid_model", "param": None, "code": 1500}
OVERLOADED = json_answer({"object": "error", "message": "x", "type": "overloaded"}, status=503)


# --------------------------------------------------------------------------
# Errors and retries
# --------------------------------------------------------------------------
@COLOURS
@STREAMED
@pytest.mark.parametrize("status", [400, 401, 422, 429, 500, 503])
async def test_error_response_raises_the_same_and_is_an_error(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, status: int, stream: bool
) -> None:
    """The SDK's exception is the same as without llmtrace. The span has the status, and the code where it was read."""
    loopback.will(json_answer(REFUSAL, status=status))
    with pytest.raises(errors.MistralError) as traced:
        await side.ask(stream=stream)
    found = await only(spans)
    (span,) = spans.get_finished_spans()
    llmtrace.uninstrument()
    with pytest.raises(errors.MistralError) as bare:
        await side.ask(stream=stream)
    assert type(traced.value) is type(bare.value)
    assert (str(traced.value), traced.value.body) == (str(bare.value), bare.value.body)
    assert traced.value.__context__ is None
    assert (found["error.type"], found["http.response.status_code"]) == (str(status), status)
    assert found.get("llmtrace.error.code") == (None if stream else "invalid_model")
    assert found["llmtrace.outcome"] == "error"
    assert span.status.status_code is StatusCode.ERROR


@COLOURS
@STREAMED
async def test_lost_connection_is_an_error(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, stream: bool
) -> None:
    """An exception of the HTTP client ends the span with its name."""
    loopback.will(stream_answer([CUT]))
    with pytest.raises(Exception, match="closed") as caught:
        await read(await side.ask(stream=stream))
    found = await only(spans)
    assert found["error.type"].endswith(type(caught.value).__name__)
    assert found["llmtrace.outcome"] == "error"


class Interrupted(BaseException):
    """Exception with which a program stops everything."""


@COLOURS
@STREAMED
@pytest.mark.parametrize("raised", [ValueError, Interrupted])
async def test_exception_in_a_call_keeps_its_identity(
    loopback: Loopback,
    spans: InMemorySpanExporter,
    side: Side,
    monkeypatch: pytest.MonkeyPatch,
    stream: bool,
    raised: type[BaseException],
) -> None:
    """An exception inside the SDK reaches the caller as the same object, without added context."""
    error = raised("theirs")

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    configuration = side.client.sdk_configuration
    monkeypatch.setattr(configuration.client if side.colour == "sync" else configuration.async_client, "send", fail)
    with pytest.raises(raised) as caught:
        await side.ask(stream=stream)
    assert caught.value is error
    assert (error.__context__, error.__cause__) == (None, None)
    found = await only(spans)
    assert found["llmtrace.outcome"] == ("error" if raised is ValueError else "cancelled")


@COLOURS
@STREAMED
@pytest.mark.parametrize("failures", [0, 1, 2])
async def test_retries_are_counted(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, failures: int, stream: bool
) -> None:
    """One span counts the SDK's own retries, and is not an error if the last attempt succeeds."""
    loopback.will(*[OVERLOADED] * failures, good(stream=stream))
    assert await read(await side.ask(stream=stream, retries=retries(20)))
    found = await only(spans)
    assert len(loopback.received) == failures + 1
    assert found.get("llmtrace.retry.count") == (failures or None)
    assert found["llmtrace.outcome"] == "ok"


@COLOURS
async def test_retries_in_vain_are_counted(loopback: Loopback, spans: InMemorySpanExporter, side: Side) -> None:
    """A call whose attempts all fail is one span with an error."""
    loopback.will(OVERLOADED)
    with pytest.raises(errors.MistralError):
        await side.ask(retries=retries(0.2))
    found = await only(spans)
    assert len(loopback.received) > 1
    assert found["llmtrace.retry.count"] == len(loopback.received) - 1
    assert found["error.type"] == "503"


# --------------------------------------------------------------------------
# Streams that are left early
# --------------------------------------------------------------------------
@COLOURS
@pytest.mark.parametrize("end", ["exhausted", "closed", "left", "dropped"])
async def test_stream_end_is_recorded(loopback: Loopback, spans: InMemorySpanExporter, side: Side, end: str) -> None:
    """Streams that are closed, left with their block or dropped unread keep what is known by then."""
    loopback.will(good(stream=True))
    stream = await side.ask(stream=True)
    if end == "exhausted":
        assert len(await read(stream)) == len(CHUNKS)
    elif end == "left":
        if side.colour == "sync":
            with stream:
                await next_item(stream)
        else:
            async with stream:
                await next_item(stream)
    else:
        await next_item(stream)
    if end == "closed":
        await stream.close() if side.colour == "async" else stream.close()
    del stream
    found = await only(spans)
    assert found["llmtrace.stream.end"] == ("closed" if end == "left" else end)
    assert found["llmtrace.outcome"] == "ok"
    assert found["gen_ai.response.id"] == "chatcmpl-1"
    assert found.get("gen_ai.usage.output_tokens") == (3 if end == "exhausted" else None)
    assert found.get("llmtrace.cost.unpriced_reason") in (None if end == "exhausted" else "no_usage", "unknown_model")


@COLOURS
async def test_stream_that_is_cut_is_an_error(loopback: Loopback, spans: InMemorySpanExporter, side: Side) -> None:
    """The exception reaches the reader, and the span has it."""
    loopback.will(stream_answer([*sse(CHUNKS[:2]), CUT]))
    with pytest.raises(Exception, match="closed"):
        await read(await side.ask(stream=True))
    found = await only(spans)
    assert found["llmtrace.stream.end"] == "failed"
    assert found["llmtrace.stream.chunks"] == 2


@COLOURS
async def test_stream_without_end_is_truncated(loopback: Loopback, spans: InMemorySpanExporter, side: Side) -> None:
    """The SDK ends the loop without an error; the span says that the end is missing."""
    loopback.will(stream_answer(sse(CHUNKS[:2])))
    assert len(await read(await side.ask(stream=True))) == 2
    assert (await only(spans))["llmtrace.stream.end"] == "truncated"


async def test_cancelled_call_is_cancelled(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A cancelled task ends its span without an error."""
    side = Side("async", loopback.url)
    loopback.will(stream_answer([0.5, b"{}"], kind="application/json"))
    task = asyncio.create_task(side.ask())
    while not loopback.received:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await side.close()
    found = await only(spans)
    assert found["llmtrace.outcome"] == "cancelled"
    assert "error.type" not in found
