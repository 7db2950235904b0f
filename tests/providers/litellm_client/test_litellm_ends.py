"""LiteLLM: how calls and streams end: errors, retries, fallbacks, cancelled calls, and streams that are left early."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
from answers import QUESTION
from helpers import flushed_attributes
from litellm_calls import COLOURS, EACH_VENDOR, OLDEST, STREAMED, VENDORS, Vendor, arguments, ask, call, good, litellm
from loopback import Loopback, ServerResponse, json_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

pytestmark = pytest.mark.filterwarnings("ignore")  # LiteLLM's own
OVERLOADED = json_answer({"error": {"message": "down", "type": "overloaded_error", "code": "overloaded"}}, status=503)


@COLOURS
@STREAMED
@EACH_VENDOR
async def test_error_is_the_same_and_has_the_status(
    loopback: Loopback, spans: InMemorySpanExporter, vendor: Vendor, stream: bool, colour: str
) -> None:
    """The caller gets LiteLLM's own exception, and the span the status of the response."""
    loopback.will(OVERLOADED)
    options = arguments(vendor, loopback.url, max_retries=0)
    with pytest.raises(Exception, match="down") as traced:
        await ask(colour, stream=stream, **options)
    found = flushed_attributes(spans)
    assert (found["error.type"], found["http.response.status_code"], found["llmtrace.outcome"]) == ("503", 503, "error")
    llmtrace.uninstrument()
    with pytest.raises(Exception, match="down") as bare:
        await ask(colour, stream=stream, **options)
    assert type(traced.value) is type(bare.value)
    assert type(traced.value.__context__) is type(bare.value.__context__)


@COLOURS
async def test_connection_that_fails_is_an_error(spans: InMemorySpanExporter, colour: str) -> None:
    """A request that reaches no server is an error with the name of the HTTP client's exception, and costs nothing."""
    with pytest.raises((litellm.InternalServerError, litellm.APIError)):
        await ask(colour, **arguments(VENDORS["mistral"], "http://127.0.0.1:9"))
    found = flushed_attributes(spans)
    assert found["llmtrace.outcome"] == "error"
    assert "Connect" in found["error.type"]
    assert "llm.cost.total" not in found


def outcomes(spans: InMemorySpanExporter) -> list[tuple[Any, Any]]:
    """Return the provider and the outcome of each call, in order."""
    assert llmtrace.flush()
    found = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    return [(each["gen_ai.provider.name"], each["llmtrace.outcome"]) for each in found]


@COLOURS
async def test_each_attempt_of_a_router_has_a_span(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str
) -> None:
    """A router's retry is a request of its own."""
    vendor = VENDORS["anthropic"]
    deployment = {key: value for key, value in arguments(vendor, loopback.url).items() if key != "messages"}
    models = [{"model_name": "m", "litellm_params": dict(deployment)} for _ in range(2)]
    router = litellm.Router(model_list=models, num_retries=2, retry_after=0, disable_cooldowns=True)
    loopback.will(OVERLOADED, good(vendor))
    await call("completion", colour, router, model="m", messages=QUESTION)
    assert outcomes(spans) == [("anthropic", "error"), ("anthropic", "ok")]


@COLOURS
async def test_fallback_has_a_span_of_its_own(loopback: Loopback, spans: InMemorySpanExporter, colour: str) -> None:
    """A failed call and the call of the other model have a span each, in the caller's trace, and the caller's tags."""
    loopback.will(OVERLOADED, good(VENDORS["openai"]))
    other = {"model": VENDORS["openai"].model, "api_base": f"{loopback.url}/v1"}
    with llmtrace.workflow("w"), llmtrace.collect() as calls:
        await ask(colour, **arguments(VENDORS["anthropic"], loopback.url), fallbacks=[other])
    assert [call.outcome for call in calls] == ["error", "ok"]
    assert llmtrace.flush()
    assert len({span.context.trace_id for span in spans.get_finished_spans()}) == 1


@COLOURS
@pytest.mark.parametrize("vendor", ["anthropic", "gemini"])
async def test_stream_belongs_to_the_block_it_was_created_in(
    loopback: Loopback, spans: InMemorySpanExporter, vendor: str, colour: str
) -> None:
    """A stream that is read outside the block, and perhaps sends its request there, is a call of the block."""
    loopback.will(good(VENDORS[vendor], stream=True))
    with llmtrace.workflow("w"):
        stream = await call("completion", colour, **arguments(VENDORS[vendor], loopback.url), stream=True)
    assert type(stream) is litellm.CustomStreamWrapper
    if colour == "sync":
        list(stream)
    else:
        async for _ in stream:
            pass
    assert llmtrace.flush()
    workflow, span = sorted(spans.get_finished_spans(), key=lambda each: each.parent is not None)
    assert span.parent is not None
    assert span.parent.span_id == workflow.context.span_id


@pytest.mark.skipif(OLDEST, reason="this release holds the last stream until the next call")
@pytest.mark.parametrize("vendor", ["anthropic", "mistral"])
async def test_stream_left_early_ends_once(loopback: Loopback, spans: InMemorySpanExporter, vendor: str) -> None:
    """A stream of which the program reads one chunk ends when it is collected, with what was reported by then."""
    answer, hold = good(VENDORS[vendor], stream=True), threading.Event()
    first = 4 if vendor == "anthropic" else 2  # the first with text
    loopback.will(
        ServerResponse([*answer.parts[:first], lambda: hold.wait(5), *answer.parts[first:]], kind=answer.kind)
    )
    stream = litellm.completion(**arguments(VENDORS[vendor], loopback.url), stream=True)
    next(stream)
    del stream
    hold.set()
    for _ in range(100):  # a thread of LiteLLM may hold the stream a little longer
        gc.collect()
        if spans.get_finished_spans():
            break
        await asyncio.sleep(0.005)
    found = flushed_attributes(spans)
    assert found["llmtrace.stream.end"] in ("dropped", "closed")
    assert "llm.cost.total" not in found


async def test_cancelled_call_is_cancelled(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A cancelled call ends at once, and is no error."""
    hold = threading.Event()
    loopback.will(ServerResponse([lambda: hold.wait(5), b"{}"]))
    task = asyncio.create_task(litellm.acompletion(**arguments(VENDORS["mistral"], loopback.url)))
    while not loopback.received:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    hold.set()
    assert flushed_attributes(spans)["llmtrace.outcome"] == "cancelled"


@pytest.mark.parametrize("name", ["openai", "anthropic"])
async def test_stream_dropped_unread_ends_while_its_connection_is_open(
    loopback: Loopback, spans: InMemorySpanExporter, name: str
) -> None:
    """A stream that is dropped ends, though aiohttp keeps the context of its call as long as the connection."""
    if OLDEST and name == "anthropic":
        pytest.skip("this release holds the last stream until the next call")
    vendor = VENDORS[name]
    loopback.will(good(vendor, stream=True))
    stream = await litellm.acompletion(stream=True, **arguments(vendor, loopback.url))
    del stream
    for _ in range(3):
        gc.collect()
        await asyncio.sleep(0.002)
    assert flushed_attributes(spans)["llmtrace.stream.end"] == "dropped"


@COLOURS
@pytest.mark.parametrize("name", ["anthropic", "gemini"])
async def test_stream_whose_usage_litellm_does_not_pass_on_has_a_cost(
    loopback: Loopback, spans: InMemorySpanExporter, name: str, colour: str
) -> None:
    """LiteLLM closes a stream of Anthropic after its last counts, before its end event: these counts are final."""
    vendor = VENDORS[name]
    loopback.will(good(vendor, stream=True))
    await ask(colour, stream=True, **arguments(vendor, loopback.url))
    found = flushed_attributes(spans)
    assert (found["llmtrace.usage.source"], found["gen_ai.usage.output_tokens"]) == ("provider", 20)
    assert vendor.dialect == "ollama" or found["llm.cost.total"] > 0  # no price list has its models
