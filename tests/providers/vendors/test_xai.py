"""Calls of xAI's library to a gRPC server have one priced span each, with or without the library's own spans."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import grpc
import pytest
from exported_spans import Exported
from helpers import listed_rates, output_messages, resolve
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel
from xai_sdk import AsyncClient, Client
from xai_sdk.aio import chat as aio_chat
from xai_sdk.chat import system, user
from xai_sdk.proto import chat_pb2, chat_pb2_grpc, sample_pb2, usage_pb2
from xai_sdk.sync import chat as sync_chat

import llmtrace
from llmtrace import BudgetExceeded

COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])
NATIVE = pytest.mark.parametrize("native", ["replace", "keep"])
MODEL = "grok-4-0709"
TICKS = 12_345_678
STATES_COST = "cost_in_usd_ticks" in usage_pb2.SamplingUsage.DESCRIPTOR.fields_by_name
"""True if the library has the field with the cost, which the first releases lack."""
USAGE = usage_pb2.SamplingUsage(
    prompt_tokens=1234,
    cached_prompt_text_tokens=1000,
    completion_tokens=60,
    reasoning_tokens=7,
    total_tokens=1301,
    **({"cost_in_usd_ticks": TICKS} if STATES_COST else {}),
)
STOP = sample_pb2.FinishReason.REASON_STOP
ASSISTANT = chat_pb2.MessageRole.ROLE_ASSISTANT


class Vendor(chat_pb2_grpc.ChatServicer):
    """Servicer of chats, whose response is ``{"answer": 4}``."""

    error = False

    def GetCompletion(self, request: Any, context: Any) -> Any:
        if self.error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        message = chat_pb2.CompletionMessage(content='{"answer": 4}', reasoning_content="Hm", role=ASSISTANT)
        outputs = [
            chat_pb2.CompletionOutput(index=index, message=message, finish_reason=STOP)
            for index in range(max(request.n, 1))
        ]
        return chat_pb2.GetChatCompletionResponse(id="x-1", model=MODEL, outputs=outputs, usage=USAGE)

    def GetCompletionChunk(self, request: Any, context: Any) -> Any:
        for text in ('{"answer": ', "4}", ""):
            delta = chat_pb2.Delta(content=text, role=ASSISTANT)
            output = chat_pb2.CompletionOutputChunk(index=0, delta=delta, finish_reason=0 if text else STOP)
            usage = None if text else USAGE
            yield chat_pb2.GetChatCompletionChunk(id="x-1", model=MODEL, outputs=[output], usage=usage)


def cost() -> Decimal:
    """Return what a call costs: what xAI states, or else the sum of the listed prices."""
    if STATES_COST:
        return Decimal(TICKS) / 10**10
    rate = listed_rates("x-ai", MODEL)
    return 234 * rate["input_mtok"] + 1000 * rate["cache_read_mtok"] + 67 * rate["output_mtok"]


class Answer(BaseModel):
    """Schema of the response."""

    answer: int


@pytest.fixture(scope="module")
def _listening() -> Iterator[tuple[Vendor, str]]:
    vendor, server = Vendor(), grpc.server(ThreadPoolExecutor(4))
    chat_pb2_grpc.add_ChatServicer_to_server(vendor, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield vendor, f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def vendor(_listening: tuple[Vendor, str]) -> Iterator[Vendor]:
    """The servicer in its initial state."""
    yield _listening[0]
    _listening[0].error = False


@pytest.fixture
async def chat(_listening: tuple[Vendor, str], vendor: Vendor, colour: str) -> AsyncIterator[Any]:
    """A chat of the client under test, closed afterwards."""
    client: Any = (Client if colour == "sync" else AsyncClient)(
        api_key="k", api_host=_listening[1], use_insecure_channel=True
    )
    yield client.chat.create(model="grok-4", messages=[system("be brief"), user("2+2?")], temperature=0.5)
    await resolve(client.close())


async def items(stream: Any) -> list[Any]:
    return [item async for item in stream] if hasattr(stream, "__anext__") else list(stream)


async def only(spans: InMemorySpanExporter) -> dict[str, Any]:
    """Return the attributes of the only span, after dropped streams have ended."""
    for _ in range(3):
        gc.collect()
        await asyncio.sleep(0.002)
    assert llmtrace.flush()
    (span,) = spans.get_finished_spans()
    return dict(span.attributes or {})


@COLOURS
@pytest.mark.parametrize("method", ["sample", "parse", "stream"])
async def test_each_method_is_one_span_with_the_stated_cost(
    spans: InMemorySpanExporter, chat: Any, method: str
) -> None:
    """Reasoning is part of the output, the cost is what xAI states, and the result is the library's."""
    result = await resolve(chat.parse(Answer) if method == "parse" else getattr(chat, method)())
    got = await items(result) if method == "stream" else [result]
    response = got[-1] if method == "sample" else got[-1][0]
    assert response.content == '{"answer": 4}'
    assert method != "parse" or result[1] == Answer(answer=4)
    found = await only(spans)
    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.provider.name"] == "x_ai"
    assert (found["gen_ai.request.model"], found["gen_ai.response.model"]) == ("grok-4", MODEL)
    assert found["gen_ai.request.temperature"] == 0.5
    assert "gen_ai.request.max_tokens" not in found
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (1234, 67)
    assert found["gen_ai.usage.cache_read.input_tokens"] == 1000
    assert found["gen_ai.usage.reasoning.output_tokens"] == 7
    assert found["gen_ai.response.finish_reasons"] == ("stop",)
    assert Decimal(found["llmtrace.cost.exact"]) == cost()
    assert found["llmtrace.cost.source"] == ("provider" if STATES_COST else "catalog")
    assert "llmtrace.cost.approximate" not in found
    assert found.get("llmtrace.stream.end") == ("exhausted" if method == "stream" else None)
    assert "2+2" not in str(found)


@COLOURS
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_content_is_recorded(content_spans: InMemorySpanExporter, chat: Any, stream: bool) -> None:
    """The messages of the request and of the response are on the span."""
    await (items(chat.stream()) if stream else resolve(chat.sample()))
    found = await only(content_spans)
    assert '"content":"2+2?"' in found["gen_ai.input.messages"]
    expected = {"text": '{"answer": 4}', "reasoning": "" if stream else "Hm", "tools": []}
    assert output_messages(found) == [expected]


@COLOURS
@NATIVE
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_usage_is_on_one_span(
    monkeypatch: pytest.MonkeyPatch, exported: Exported, chat: Any, native: str, stream: bool
) -> None:
    """In ``replace`` the only span is ours; in ``keep`` the library's span has the usage, and ours the cost."""
    for module in (sync_chat, aio_chat):  # whose tracer is that of the application's provider
        monkeypatch.setattr(module, "tracer", exported.provider.get_tracer(module.__name__))
    with llmtrace.instrument(tracer_provider=exported.provider, native_spans=native, strict=True):
        await (items(chat.stream()) if stream else resolve(chat.sample()))
        gc.collect()
        ours, theirs = exported.take()
    assert len(theirs) == (native == "keep")
    assert len(ours) == 1
    with_usage = [span for span in (*ours, *theirs) if "gen_ai.usage.input_tokens" in (span.attributes or {})]
    assert with_usage == (theirs or ours)
    assert (ours[0].attributes or {})["llm.cost.total"] == float(cost())
    await resolve(chat.sample())
    ours, theirs = exported.take()
    assert (len(ours), len(theirs)) == (0, 1)


@COLOURS
@pytest.mark.parametrize("end", ["closed", "dropped"])
async def test_stream_left_early_is_ended_once(spans: InMemorySpanExporter, chat: Any, colour: str, end: str) -> None:
    """A stream that is closed or dropped keeps what is known by then, and the context of its creation."""
    with llmtrace.tag(feature="sums"):
        stream = chat.stream()
    await anext(stream) if colour == "async" else next(stream)
    if end == "closed":
        await stream.aclose() if colour == "async" else stream.close()
    del stream
    found = await only(spans)
    assert (found["llmtrace.stream.end"], found["llmtrace.outcome"]) == (end, "ok")
    assert found["llmtrace.feature"] == "sums"
    assert "gen_ai.usage.output_tokens" not in found


@COLOURS
async def test_error_is_the_librarys(spans: InMemorySpanExporter, vendor: Vendor, chat: Any) -> None:
    """An error of the server reaches the caller as it is."""
    vendor.error = True
    with pytest.raises(grpc.RpcError) as caught:
        await resolve(chat.sample())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await only(spans))["llmtrace.outcome"] == "error"


@COLOURS
async def test_budget_refuses_before_the_request_is_sent(
    request: pytest.FixtureRequest, spans: InMemorySpanExporter, chat: Any
) -> None:
    """A spent budget raises its own exception through the library."""
    name = request.node.name
    llmtrace.budget(name, usd="0.0001", per="total", action="block", match={"tag": name})
    with llmtrace.tag(tags=(name,)):
        await resolve(chat.sample())
        assert await only(spans)
        with pytest.raises(BudgetExceeded):
            await resolve(chat.sample())
        with pytest.raises(BudgetExceeded):
            await items(chat.stream())
