"""Bedrock: how calls and streams end: errors, retries, streams that are left early or cut."""

from __future__ import annotations

import asyncio
from typing import Any

import aiobotocore.client
import aiobotocore.endpoint
import aiobotocore.eventstream
import botocore.client
import botocore.endpoint
import botocore.eventstream
import pytest
from bedrock_calls import (
    COLOURS,
    EVENTS,
    Side,
    converse_answer,
    events_answer,
    next_event,
    only,
    read,
)
from botocore.exceptions import ClientError, EventStreamError
from loopback import CUT, Loopback, json_answer, stream_answer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import llmtrace
from aws_frames import aws_frame

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
RETRIES: dict[str, Any] = {"retries": {"total_max_attempts": 3, "mode": "standard"}}


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)


def refusal(status: int, code: str = "ThrottlingException") -> Any:
    return json_answer({"message": "no"}, status=status, headers={"x-amzn-errortype": code, "x-amzn-requestid": "r1"})


@COLOURS
@STREAMED
@pytest.mark.parametrize("status", [400, 403, 429, 500])
async def test_error_response_raises_the_same_and_is_an_error(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, status: int, stream: bool
) -> None:
    """The SDK's exception is the same as without llmtrace, and the span has its status and code."""
    loopback.will(refusal(status))
    with pytest.raises(ClientError) as traced:
        await side.converse(stream=stream)
    found = await only(spans)
    (span,) = spans.get_finished_spans()
    llmtrace.uninstrument()
    with pytest.raises(ClientError) as bare:
        await side.converse(stream=stream)
    assert (type(traced.value), str(traced.value)) == (type(bare.value), str(bare.value))
    assert traced.value.__context__ is None
    assert (found["error.type"], found["http.response.status_code"]) == (str(status), status)
    assert found["llmtrace.error.code"] == "ThrottlingException"
    assert found["llmtrace.request_id"] == "r1"
    assert found["llmtrace.outcome"] == "error"
    assert span.status.status_code is StatusCode.ERROR


@COLOURS
@STREAMED
@pytest.mark.parametrize("failures", [0, 1, 2, 3])
async def test_retries_are_counted(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str, failures: int, stream: bool
) -> None:
    """One span counts the SDK's own retries, and is not an error if the last attempt succeeds."""
    loopback.will(*[refusal(503)] * failures, converse_answer(stream=stream))
    async with Side(colour, loopback.url, **RETRIES) as side:
        if failures < 3:
            assert await read(await side.converse(stream=stream))
        else:
            with pytest.raises(ClientError):
                await side.converse(stream=stream)
    found = await only(spans)
    assert len(loopback.received) == min(failures + 1, 3)
    assert found.get("llmtrace.retry.count") == (min(failures, 2) or None)
    assert found["llmtrace.outcome"] == ("ok" if failures < 3 else "error")


@COLOURS
async def test_lost_connection_is_an_error(loopback: Loopback, spans: InMemorySpanExporter, side: Side) -> None:
    """An exception of the HTTP client ends the span with its name."""
    loopback.will(stream_answer([CUT]))
    with pytest.raises(Exception, match=r".") as caught:
        await side.converse()
    found = await only(spans)
    assert found["error.type"].endswith(type(caught.value).__name__)
    assert found["llmtrace.outcome"] == "error"


class Interrupted(BaseException):
    """Exception with which a program stops everything."""


@pytest.mark.parametrize("raised", [ValueError, Interrupted])
@pytest.mark.parametrize("colour", ["sync"])
async def test_exception_in_a_call_keeps_its_identity(
    spans: InMemorySpanExporter, side: Side, monkeypatch: pytest.MonkeyPatch, raised: type[BaseException]
) -> None:
    """An exception inside the SDK reaches the caller as the same object, without added context."""
    error = raised("theirs")

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    side.client.meta.events.register("before-call.bedrock-runtime.Converse", fail)
    with pytest.raises(raised) as caught:
        await side.converse()
    assert caught.value is error
    assert (error.__context__, error.__cause__) == (None, None)
    assert (await only(spans))["llmtrace.outcome"] == ("error" if raised is ValueError else "cancelled")


# Botocore leaves the socket of an unread response open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@COLOURS
@pytest.mark.parametrize("end", ["exhausted", "closed", "left", "dropped", "unread"])
async def test_stream_end_is_recorded(loopback: Loopback, spans: InMemorySpanExporter, side: Side, end: str) -> None:
    """A stream ends its span once, however it ends, with what is known by then."""
    loopback.will(converse_answer(stream=True))
    result = await side.converse(stream=True)
    if end == "exhausted":
        assert await read(result) == EVENTS
        result["stream"].close()
    elif end != "unread":
        assert await next_event(result["stream"]) == EVENTS[0]
        if end == "closed":
            result["stream"].close()
        elif end == "left":
            assert await read(result) == EVENTS[1:]
    del result
    found = await only(spans)
    known = end in ("exhausted", "left")
    assert found["llmtrace.stream.end"] == ("exhausted" if known else "closed" if end == "closed" else "dropped")
    assert found["llmtrace.outcome"] == "ok"
    assert found.get("gen_ai.usage.output_tokens") == (3 if known else None)
    assert found.get("llmtrace.cost.unpriced_reason") == (None if known else "no_usage")


@COLOURS
async def test_tokens_of_a_stream_left_early_are_estimated(
    loopback: Loopback, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The texts read so far, and those of the request, take the place of the missing counts."""
    pytest.importorskip("bpe_openai")
    monkeypatch.setenv("LLMTRACE_ESTIMATE_USAGE", "separate")
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    loopback.will(converse_answer(stream=True))
    with llmtrace.instrument(tracer_provider=provider):
        result = await side.converse(stream=True)
        assert await next_event(result["stream"]) == EVENTS[0]
        assert await next_event(result["stream"]) == EVENTS[1]
        result["stream"].close()
        found = await only(exporter)
    assert found["llmtrace.usage.estimated_output_tokens"] > 0
    assert found["llmtrace.usage.estimated_input_tokens"] > 0
    assert found["llmtrace.cost.unpriced_reason"] == "no_usage"


@COLOURS
@pytest.mark.parametrize("method", ["converse", "invoke"])
@pytest.mark.parametrize("kind", ["throttlingException", "modelStreamErrorException"])
async def test_error_event_is_an_error(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, method: str, kind: str
) -> None:
    """An error event in a stream raises the SDK's exception, which ends the span."""
    loopback.will(
        events_answer(EVENTS[:2] if method == "converse" else [], aws_frame(kind, {"message": "m"}, "exception"))
    )
    result = await (side.converse(stream=True) if method == "converse" else side.invoke({}, stream=True))
    with pytest.raises(EventStreamError, match=kind):
        await read(result)
    found = await only(spans)
    assert found["llmtrace.stream.end"] == "failed"
    assert found["error.type"] == "botocore.exceptions.EventStreamError"
    assert found["llmtrace.error.code"] == kind
    assert found["llmtrace.outcome"] == "error"


@COLOURS
@pytest.mark.parametrize("end", [CUT, None], ids=["cut", "without-end"])
async def test_incomplete_stream_is_an_error(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, end: Any
) -> None:
    """A cut connection raises; a stream without its last event ends the loop, and its span says so."""
    loopback.will(events_answer(EVENTS[:3], *([] if end is None else [end])))
    result = await side.converse(stream=True)
    if end is None:
        assert await read(result) == EVENTS[:3]
    else:
        with pytest.raises(Exception, match=r"."):
            await read(result)
    found = await only(spans)
    assert found["llmtrace.stream.end"] == ("truncated" if end is None else "failed")
    assert found["llmtrace.outcome"] == "error"
    assert found["llmtrace.cost.unpriced_reason"] == "no_usage"


async def test_cancelled_call_is_cancelled(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A cancelled task ends its span without an error."""
    loopback.will(stream_answer([0.5, b"{}"], kind="application/json"))
    async with Side("async", loopback.url) as side:
        task = asyncio.create_task(side.converse())
        while not loopback.received:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    found = await only(spans)
    assert found["llmtrace.outcome"] == "cancelled"
    assert "error.type" not in found


@COLOURS
@STREAMED
async def test_budget_blocks_before_the_request(loopback: Loopback, side: Side, stream: bool) -> None:
    """A spent budget raises ``BudgetExceeded``, and no request is sent."""
    budget = llmtrace.Budget(name="tokens", tokens=1, per="call", action="block")
    loopback.will(converse_answer(stream=stream))
    with llmtrace.instrument(tracer_provider=TracerProvider(), budgets=[budget]):
        with pytest.raises(llmtrace.BudgetExceeded):
            await side.converse(stream=stream, inferenceConfig={"maxTokens": 50})
        with pytest.raises(llmtrace.BudgetExceeded):
            await side.invoke({"anthropic_version": "v", "max_tokens": 50, "messages": []}, stream=stream)
    assert loopback.received == []


@COLOURS
async def test_hooks_are_undone_while_a_stream_is_open(loopback: Loopback, side: Side) -> None:
    """The same functions are back in their places, and the open stream goes on."""
    places = [(botocore.client.BaseClient, "_make_api_call"), (aiobotocore.client.AioBaseClient, "_make_api_call")]
    places += [(botocore.endpoint.Endpoint, "_needs_retry"), (aiobotocore.endpoint.AioEndpoint, "_needs_retry")]
    places += [(botocore.eventstream.EventStream, name) for name in ("__iter__", "close")]
    places += [(aiobotocore.eventstream.AioEventStream, "__aiter__")]
    before = [vars(owner)[name] for owner, name in places]
    loopback.will(converse_answer(stream=True))
    with llmtrace.instrument(tracer_provider=TracerProvider()) as instrumentation:
        assert "bedrock" in instrumentation.patched
        assert not [name for (owner, name), old in zip(places, before, strict=True) if vars(owner)[name] is old]
        result = await side.converse(stream=True)
    assert await read(result) == EVENTS
    assert all(vars(owner)[name] is old for (owner, name), old in zip(places, before, strict=True))
