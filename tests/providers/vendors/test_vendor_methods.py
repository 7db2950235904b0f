"""Libraries of Cohere, Hugging Face, Ollama and Voyage AI: one span per call, which returns the same as without."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import voyageai
from loopback import Loopback, json_answer, stream_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from vendor_calls import CALLS, COLOURS, METHODS, STREAMS, Method, only, read

import llmtrace
from llmtrace import BudgetExceeded
from llmtrace.capture import worker
from llmtrace.capture.call import CallState
from llmtrace.providers.registry import PROVIDERS
from llmtrace.telemetry.names import operation_of


@COLOURS
@pytest.mark.parametrize(("name", "stream"), CALLS)
async def test_each_method_is_one_span_and_returns_the_same(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, method: Method, stream: bool
) -> None:
    """The request and the result are those of a program without llmtrace; the span has the values of the response."""
    loopback.will(method.respond(stream=stream))
    traced = await method.ask(client, stream=stream)
    got = await read(traced)
    found = await only(spans)
    llmtrace.uninstrument()
    bare = await method.ask(client, stream=stream)
    assert (type(traced), got) == (type(bare), await read(bare))
    first, second = loopback.received
    assert (first.path, first.body) == (second.path, second.body)
    assert first.headers.keys() == second.headers.keys()

    (provider,) = (each for each in PROVIDERS if each.name == method.vendor)
    assert operation_of(found) == method.operation
    assert found["gen_ai.provider.name"] == provider.default_provider
    assert found.get("gen_ai.request.model") == method.request_model
    assert found["llmtrace.api"] == method.name
    assert found.get("gen_ai.response.model") == method.model
    reported = (found.get("gen_ai.usage.input_tokens"), found.get("gen_ai.usage.output_tokens"))
    assert reported == method.tokens
    assert found["llmtrace.outcome"] == "ok"
    assert found.get("llmtrace.stream.end") == ("exhausted" if stream else None)
    assert found["server.port"] == int(loopback.url.rpartition(":")[2])
    if method.operation == "embeddings" and method.vendor != "voyage":
        assert found["gen_ai.embeddings.dimension.count"] == 2


@COLOURS
@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("end", ["closed", "dropped"])
async def test_stream_left_early_is_ended_once(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, method: Method, colour: str, end: str
) -> None:
    """A stream that is closed or dropped keeps what is known by then, and is no error."""
    left = threading.Event()
    loopback.will(stream_answer([*method.parts[:2], left.wait, *method.parts[2:]], kind=method.kind))
    stream = await method.ask(client, stream=True)
    await anext(stream) if colour == "async" else next(stream)
    if end == "closed":
        await stream.aclose() if colour == "async" else stream.close()
    del stream
    found = await only(spans)
    left.set()
    assert (found["llmtrace.stream.end"], found["llmtrace.outcome"]) == (end, "ok")
    assert "gen_ai.usage.output_tokens" not in found


@COLOURS
@pytest.mark.parametrize("name", STREAMS)
async def test_dropped_stream_ends_on_the_worker(
    loopback: Loopback,
    spans: InMemorySpanExporter,
    client: Any,
    method: Method,
    colour: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stream that is collected does not end on that thread, which may hold a lock of ours."""
    ended: list[bool] = []
    end = CallState.end
    monkeypatch.setattr(
        CallState, "end", lambda *args, **options: (ended.append(worker.is_worker()), end(*args, **options))
    )
    left = threading.Event()
    loopback.will(stream_answer([*method.parts[:2], left.wait, *method.parts[2:]], kind=method.kind))
    stream = await method.ask(client, stream=True)
    await anext(stream) if colour == "async" else next(stream)
    del stream
    found = await only(spans)
    left.set()
    assert found["llmtrace.stream.end"] == "dropped"
    assert ended
    assert ended[0]


@COLOURS
@pytest.mark.parametrize("name", STREAMS)
async def test_stream_keeps_the_context_of_its_creation(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, method: Method
) -> None:
    """A stream that is read outside of the block that made the call has the tags of that block."""
    loopback.will(method.respond(stream=True))
    with llmtrace.tag(feature="search"):
        stream = await method.ask(client, stream=True)
    await read(stream)
    assert (await only(spans))["llmtrace.feature"] == "search"


@COLOURS
@pytest.mark.parametrize(("name", "stream"), CALLS)
async def test_error_response_raises_the_same_and_is_an_error(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, method: Method, stream: bool
) -> None:
    """The library's exception is the same as without llmtrace, and the span has the status."""
    loopback.will(json_answer({"error": "no such model", "message": "no such model"}, status=404))
    with pytest.raises(Exception, match=r"(?i)no such model|404") as traced:
        await read(await method.ask(client, stream=stream))
    found = await only(spans)
    (span,) = spans.get_finished_spans()
    llmtrace.uninstrument()
    with pytest.raises(type(traced.value)) as bare:
        await read(await method.ask(client, stream=stream))
    assert type(traced.value.__context__) is type(bare.value.__context__)
    assert (found["error.type"], found["llmtrace.outcome"]) == ("404", "error")
    assert span.status.status_code is StatusCode.ERROR


@COLOURS
@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].operation == "chat"])
async def test_budget_refuses_before_the_request_is_sent(
    request: pytest.FixtureRequest, loopback: Loopback, spans: InMemorySpanExporter, client: Any, method: Method
) -> None:
    """A spent budget raises its own exception through the library, at the call or when a lazy stream is read."""
    loopback.will(method.respond())
    name = request.node.name
    llmtrace.budget(name, tokens=1, per="total", action="block", match={"tag": name})
    with llmtrace.tag(tags=(name,)):
        await method.ask(client)
        assert await only(spans)
        for stream in (False, True):
            with pytest.raises(BudgetExceeded):
                await read(await method.ask(client, stream=stream))
    assert len(loopback.received) == 1


@COLOURS
@pytest.mark.parametrize("status", [200, 429])
async def test_requests_that_voyage_repeats_are_one_span(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate limit that the library answers with further requests is one span, whether the last one succeeds or not."""
    method = METHODS["voyage-embed"]
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    monkeypatch.setattr("asyncio.sleep", lambda _, sleep=asyncio.sleep: sleep(0))
    refused = json_answer({"detail": "slow down"}, status=429)
    loopback.will(refused, refused, method.respond() if status == 200 else refused)
    client = getattr(voyageai, "Client" if colour == "sync" else "AsyncClient")("k", max_retries=3)
    client._params["base_url"] = loopback.url
    voyageai.api_base = loopback.url  # which the first releases read
    if status == 200:
        await method.ask(client)
    else:
        with pytest.raises(voyageai.error.RateLimitError):
            await method.ask(client)
    found = await only(spans)
    assert len(loopback.received) == 3
    assert found["llmtrace.retry.count"] == 2
    assert found["llmtrace.outcome"] == ("ok" if status == 200 else "error")
    assert found.get("error.type") == (None if status == 200 else "429")


@COLOURS
@pytest.mark.parametrize("name", ["cohere-rerank", "voyage-rerank"])
async def test_reranked_documents_have_their_scores(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, method: Method
) -> None:
    """A reranking names the kept documents by their position in the request, with their scores."""
    loopback.will(method.respond())
    await method.ask(client)
    found = await only(spans)
    assert found["reranker.output_documents.0.document.id"] == "1"
    assert found["reranker.output_documents.0.document.score"] == 0.9


@COLOURS
@pytest.mark.parametrize(
    ("name", "stream"),
    [("ollama-chat", False), ("ollama-chat", True), ("ollama-generate", False), ("ollama-generate", True)],
)
async def test_durations_of_ollama_are_recorded_in_seconds(
    loopback: Loopback, spans: InMemorySpanExporter, client: Any, method: Method, stream: bool
) -> None:
    """The server's durations are on the span; one that it does not report is absent."""
    loopback.will(method.respond(stream=stream))
    await read(await method.ask(client, stream=stream))
    found = await only(spans)
    times = {name: value for name, value in found.items() if name.startswith("llmtrace.server.time.")}
    assert times == {"llmtrace.server.time.total": 9e-9, "llmtrace.server.time.completion": 2.5}
