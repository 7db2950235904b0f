"""Anthropic's own spans, replaced or kept: exactly one span has the usage in both modes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anthropic
import pytest
from answers import MESSAGE, MESSAGE_EVENTS, QUESTION, sse
from exported_spans import Exported
from loopback import Loopback, json_answer, stream_answer
from opentelemetry.sdk.trace import ReadableSpan

import llmtrace
from llmtrace import _errors
from llmtrace.providers import NativeSpans, registry
from llmtrace.providers.anthropic.provider import ANTHROPIC

pytestmark = pytest.mark.skipif(
    "open_telemetry" not in inspect.signature(anthropic.Anthropic).parameters,
    reason="this release has no spans of its own",
)

READINGS = ("plain", "stream", "raw", "raw-stream", "helper", "untraced")
TRACE_HEADERS = {"traceparent", "tracestate", "baggage"}
USAGE = "gen_ai.usage."


@contextmanager
def instrumented(exported: Exported, native: str) -> Iterator[None]:
    llmtrace.instrument(tracer_provider=exported.provider, native_spans=native, strict=True)
    try:
        yield
    finally:
        llmtrace.uninstrument()


def made(colour: str, loopback: Loopback, exported: Exported) -> Any:
    kind = anthropic.Anthropic if colour == "sync" else anthropic.AsyncAnthropic
    options = {"tracer_provider": exported.provider, "conversation_id": "conv_1"}
    return kind(base_url=loopback.url, api_key="k", max_retries=0, open_telemetry=options)


async def resolve(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def every(stream: Any) -> list[Any]:
    return [item async for item in stream] if hasattr(stream, "__aiter__") else list(stream)


async def call(client: Any, loopback: Loopback, reading: str) -> None:
    streamed = reading in ("stream", "raw-stream", "helper")
    loopback.will(stream_answer(sse(MESSAGE_EVENTS)) if streamed else json_answer(MESSAGE))
    arguments: dict[str, Any] = {"model": "claude-x", "max_tokens": 9, "messages": QUESTION}
    messages = client.messages
    match reading:
        case "plain":
            await resolve(messages.create(**arguments))
        case "stream":
            await every(await resolve(messages.create(**arguments, stream=True)))
        case "raw":
            raw = await resolve(messages.with_raw_response.create(**arguments))
            await resolve(raw.parse())
        case "raw-stream":
            raw = await resolve(messages.with_raw_response.create(**arguments, stream=True))
            await every(await resolve(raw.parse()))
        case "untraced":
            await resolve(client.messages.batches.retrieve("b"))
        case "helper":
            manager = messages.stream(**arguments)
            if hasattr(manager, "__aenter__"):
                async with manager as stream:
                    await every(stream)
            else:
                with manager as stream:
                    list(stream)


def telling_usage(*spans: ReadableSpan) -> list[ReadableSpan]:
    return [span for span in spans if any(name.startswith(USAGE) for name in span.attributes or {})]


def sent_trace_headers(loopback: Loopback) -> set[str]:
    return TRACE_HEADERS & set(loopback.received[-1].headers)


@pytest.mark.parametrize("reading", [reading for reading in READINGS if reading != "untraced"])
@pytest.mark.parametrize("client", ["before", "after", "copy"])
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_replace_and_keep_put_usage_on_one_span(
    loopback: Loopback, exported: Exported, colour: str, client: str, reading: str
) -> None:
    """Usage is on one span: ours in ``replace``, the SDK's in ``keep`` and without llmtrace."""
    early = made(colour, loopback, exported)
    for native in ("replace", "keep"):
        with instrumented(exported, native):
            used = made(colour, loopback, exported) if client == "after" else early
            if client == "copy":
                used = used.with_options(timeout=20)
            options = used.open_telemetry
            await call(used, loopback, reading)
            ours, theirs = exported.take()
            assert len(ours) == 1
            assert used.open_telemetry == options
            assert options["conversation_id"] == "conv_1"
            if native == "replace":
                assert theirs == []
                assert telling_usage(*ours) == ours
                assert (ours[0].attributes or {})["gen_ai.usage.input_tokens"] == 7
                assert sent_trace_headers(loopback) == set()
            else:
                assert len(theirs) == 1
                assert telling_usage(*ours, *theirs) == theirs
                assert sent_trace_headers(loopback) == {"traceparent"}
            assert (ours[0].attributes or {}).get("llmtrace.stream.end") in (None, "exhausted")
            if used is not early:
                await resolve(used.close()) if client == "after" else None
    await call(early, loopback, reading)
    ours, theirs = exported.take()
    assert ours == []
    assert telling_usage(*theirs) == theirs
    assert len(theirs) == 1
    assert sent_trace_headers(loopback) == {"traceparent"}
    await resolve(early.close())


@pytest.mark.parametrize("native", ["replace", "keep"])
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_untraced_calls_keep_the_native_span(
    loopback: Loopback, exported: Exported, colour: str, native: str
) -> None:
    """A call that is not traced keeps the SDK's own span and its headers."""
    client = made(colour, loopback, exported)
    with instrumented(exported, native):
        await call(client, loopback, "untraced")
    ours, theirs = exported.take()
    assert ours == []
    assert len(theirs) == 1
    assert sent_trace_headers(loopback) == {"traceparent"}
    await resolve(client.close())


@pytest.mark.parametrize("native", ["replace", "keep"])
def test_disabled_native_spans_stay_disabled(loopback: Loopback, exported: Exported, native: str) -> None:
    """A client whose own spans the user has disabled has none, before, during and after instrumentation."""
    off = {"open_telemetry": False}
    with anthropic.Anthropic(base_url=loopback.url, api_key="k", max_retries=0, **off) as client:
        with instrumented(exported, native):
            loopback.will(json_answer(MESSAGE))
            client.messages.create(model="claude-x", max_tokens=9, messages=QUESTION)
        ours, theirs = exported.take()
    assert len(ours) == 1
    assert theirs == []
    assert telling_usage(*ours) == ours


@pytest.mark.faulty
@pytest.mark.parametrize("native", ["replace", "keep"])
def test_error_in_a_description_of_native_spans_stays_ours(
    loopback: Loopback, exported: Exported, native: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider whose functions for native spans raise costs no call, and the SDK's own span stays."""

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(
        registry,
        "PROVIDERS",
        (replace(ANTHROPIC, native_spans=NativeSpans("start_api_call_span", skip=fail, span=fail)),),
    )
    llmtrace.instrument(tracer_provider=exported.provider, native_spans=native)
    with made("sync", loopback, exported) as client:
        loopback.will(json_answer(MESSAGE))
        assert client.messages.create(model="claude-x", max_tokens=9, messages=QUESTION).id == MESSAGE["id"]
    ours, theirs = exported.take()
    assert (len(ours), len(theirs)) == (1, 1)
    assert sum(_errors.internal_errors.values()) == 1
