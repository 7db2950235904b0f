"""mistralai's own spans, which a program turns on: replaced or kept, exactly one span has the usage."""

from __future__ import annotations

import pytest
from exported_spans import Exported
from loopback import Loopback, json_answer
from mistral_calls import COLOURS, METHODS, Side, collect_garbage, good, read
from mistralai.extra.observability.telemetry import configure_telemetry
from opentelemetry.sdk.trace import ReadableSpan

import llmtrace

CALLS = pytest.mark.parametrize(
    ("name", "stream"), [("chat", False), ("chat", True), ("agents", False), ("fim", False), ("embeddings", False)]
)


async def take(exported: Exported) -> tuple[list[ReadableSpan], list[ReadableSpan]]:
    """Return our spans and the SDK's since the last time, after dropped streams have ended."""
    await collect_garbage()
    return exported.take()


def with_usage(*spans: ReadableSpan) -> list[ReadableSpan]:
    return [span for span in spans if "gen_ai.usage.input_tokens" in (span.attributes or {})]


@COLOURS
@CALLS
@pytest.mark.parametrize("native", ["replace", "keep"])
async def test_usage_is_on_one_span(
    loopback: Loopback, exported: Exported, side: Side, name: str, stream: bool, native: str
) -> None:
    """In ``replace`` the only span is ours and no trace header is sent; in ``keep`` the SDK's span has the usage."""
    configure_telemetry(side.client, exported.provider, redaction=False)
    loopback.will(good(name, stream=stream))
    bare = await read(await side.ask(name, stream=stream))
    _, theirs = await take(exported)
    assert with_usage(*theirs) == theirs != []

    llmtrace.instrument(tracer_provider=exported.provider, native_spans=native, strict=True)
    loopback.will(good(name, stream=stream))
    assert await read(await side.ask(name, stream=stream)) == bare
    ours, theirs = await take(exported)
    assert len(ours) == 1
    assert (ours[0].attributes or {})["gen_ai.operation.name"] == METHODS[name].operation
    assert len(theirs) == (1 if native == "keep" else 0)
    assert with_usage(*ours, *theirs) == (theirs or ours)
    assert ("traceparent" in loopback.received[0].headers) == (native == "keep")

    llmtrace.uninstrument()
    await read(await side.ask(name, stream=stream))
    ours, theirs = await take(exported)
    assert (len(ours), len(theirs)) == (0, 1)


@COLOURS
async def test_spans_of_untraced_calls_stay(loopback: Loopback, exported: Exported, side: Side) -> None:
    """A call that llmtrace does not trace keeps the SDK's span."""
    configure_telemetry(side.client, exported.provider, redaction=False)
    llmtrace.instrument(tracer_provider=exported.provider, strict=True)
    loopback.will(json_answer({"object": "list", "data": []}))
    models = side.client.models
    models.list() if side.colour == "sync" else await models.list_async()
    ours, theirs = await take(exported)
    assert (len(ours), len(theirs)) == (0, 1)


@COLOURS
async def test_program_that_sets_the_variable_has_one_span_per_call(
    loopback: Loopback, exported: Exported, monkeypatch: pytest.MonkeyPatch, side: Side
) -> None:
    """With ``MISTRAL_SDK_TELEMETRY=global`` the SDK uses the provider of the application."""
    monkeypatch.setenv("MISTRAL_SDK_TELEMETRY", "global")
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: exported.provider)
    loopback.will(good())
    await side.ask()
    _, theirs = await take(exported)
    assert len(theirs) == 1
    llmtrace.instrument(tracer_provider=exported.provider, strict=True)
    await side.ask()
    ours, theirs = await take(exported)
    assert (len(ours), len(theirs)) == (1, 0)
