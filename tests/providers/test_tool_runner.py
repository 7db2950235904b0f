"""Anthropic's tool runner: each request of the loop is one span, however the loop is read."""

from __future__ import annotations

import asyncio
import gc
import inspect
from typing import Any

import anthropic
import pytest
from answers import MESSAGE, MESSAGE_EVENTS, QUESTION, sse
from loopback import Loopback, json_answer, stream_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

pytestmark = pytest.mark.skipif(not hasattr(anthropic, "beta_tool"), reason="this release has no tool runner")

CALLED: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"place": "Paris"}}
TOOL_USE = {**MESSAGE, "id": "msg_0", "content": [CALLED], "stop_reason": "tool_use"}
TOOL_EVENTS = [
    {**MESSAGE_EVENTS[0], "message": {**MESSAGE_EVENTS[0]["message"], "id": "msg_0"}},
    {"type": "content_block_start", "index": 0, "content_block": {**CALLED, "input": {}}},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": '{"place": "Paris"}'},
    },
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 3},
    },
    {"type": "message_stop"},
]


def runner_of(client: Any, colour: str, *, stream: bool) -> Any:
    def answer(place: str) -> str:
        """The weather there.

        Args:
            place: A town.
        """
        return f"sunny in {place}"

    async def answer_async(place: str) -> str:
        """The weather there.

        Args:
            place: A town.
        """
        return f"sunny in {place}"

    tool: Any
    if colour == "sync":
        tool = anthropic.beta_tool(answer, name="weather")
    else:
        tool = anthropic.beta_async_tool(answer_async, name="weather")
    more = {"stream": True} if stream else {}
    return client.beta.messages.tool_runner(model="claude-x", max_tokens=9, messages=QUESTION, tools=[tool], **more)


def make_client(colour: str, loopback: Loopback, **options: Any) -> Any:
    kind = anthropic.Anthropic if colour == "sync" else anthropic.AsyncAnthropic
    return kind(base_url=loopback.url, api_key="k", max_retries=0, **options)


async def resolve(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def each(items: Any, *, stream: bool) -> int:
    """Read the runner's turns to their end, and count them."""
    count = 0
    if hasattr(items, "__aiter__"):
        async for item in items:
            count += 1
            if stream:
                assert [event async for event in item]
    else:
        for item in items:
            count += 1
            if stream:
                assert list(item)
    return count


def two_turns(loopback: Loopback, *, stream: bool) -> None:
    if stream:
        loopback.will(stream_answer(sse(TOOL_EVENTS)), stream_answer(sse(MESSAGE_EVENTS)))
    else:
        loopback.will(json_answer(TOOL_USE), json_answer(MESSAGE))


@pytest.mark.parametrize("reading", ["each", "until_done"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_each_turn_is_one_span(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str, stream: bool, reading: str
) -> None:
    """A loop of two requests has two spans, each with its own response id, reason and tokens."""
    two_turns(loopback, stream=stream)
    client = make_client(colour, loopback)
    runner = runner_of(client, colour, stream=stream)
    if reading == "each":
        assert await each(runner, stream=stream) == 2
    else:
        final = await resolve(runner.until_done())
        assert final.id == "msg_1"
    await resolve(client.close())
    llmtrace.flush(2)

    assert loopback.received[1].body["messages"][-1]["content"][0]["content"] == "sunny in Paris"
    found = spans.get_finished_spans()
    reported = [dict(span.attributes or {}) for span in found]
    assert [one["gen_ai.response.id"] for one in reported] == ["msg_0", "msg_1"]
    assert [one["gen_ai.response.finish_reasons"] for one in reported] == [("tool_call",), ("stop",)]
    for one in reported:
        assert one["gen_ai.request.model"] == "claude-x"
        assert (one["gen_ai.usage.input_tokens"], one["gen_ai.usage.output_tokens"]) == (7, 3)
        assert one.get("llmtrace.stream.end") == ("exhausted" if stream else None)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_loop_left_early_has_one_span(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str, stream: bool
) -> None:
    """A loop left by ``break`` has a span for the request that was sent, and no more."""
    two_turns(loopback, stream=stream)
    client = make_client(colour, loopback)
    runner = runner_of(client, colour, stream=stream)
    if colour == "sync":
        for _ in runner:
            break
    else:
        async for _ in runner:
            break
    if hasattr(runner, "close") or hasattr(runner, "aclose"):
        await resolve((getattr(runner, "aclose", None) or runner.close)())
    del runner
    # The first runners cannot be closed, and keep their stream in a cycle that may take two turns of the loop.
    for _ in range(2):
        gc.collect()
        await asyncio.sleep(0)
    await resolve(client.close())
    gc.collect()
    llmtrace.flush(2)
    assert len(spans.get_finished_spans()) == len(loopback.received) == 1


async def test_native_spans_of_the_runner_stay(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """The SDK's spans of the loop and its tools stay; only our spans of the requests have usage."""
    if "open_telemetry" not in inspect.signature(anthropic.Anthropic).parameters:
        pytest.skip("this release has no spans of its own")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    two_turns(loopback, stream=False)
    with make_client("sync", loopback, open_telemetry={"tracer_provider": provider}) as client:
        runner_of(client, "sync", stream=False).until_done()
    found = {span.name: span for span in spans.get_finished_spans()}
    assert sum(span.name == "chat claude-x" for span in spans.get_finished_spans()) == 2
    loop = found["anthropic.messages.tool_runner"]
    assert found["chat claude-x"].parent.span_id == loop.context.span_id  # type: ignore[union-attr]
    for span in spans.get_finished_spans():
        usage = any(name.startswith("gen_ai.usage.") for name in span.attributes or {})
        assert usage is (span.name == "chat claude-x")
