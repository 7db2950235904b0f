"""A FastAPI application under a real ASGI server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import fastapi
import httpx
import openai
import uvicorn
from fastapi.responses import StreamingResponse
from loopback_vendor import Vendor, by_name
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace import prompt, tag, workflow, wrap


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@tag(tags="dependency")
async def dependency() -> AsyncIterator[str]:
    yield "value"


def application(client: openai.AsyncOpenAI, ended: asyncio.Event) -> fastapi.FastAPI:
    app = fastapi.FastAPI()

    async def chunks(stream: Any) -> AsyncIterator[str]:
        try:
            async for chunk in stream:
                yield chunk.choices[0].delta.content or ""
        finally:
            ended.set()

    @app.get("/made-in-the-handler")
    @tag(feature="answer")
    async def handler(user: str, value: Annotated[str, fastapi.Depends(dependency)]) -> StreamingResponse:
        assert value == "value"
        with workflow("chat"), tag(user=user), prompt("support", version="7"):
            stream = await client.chat.completions.create(model="gpt-4.1-mini", messages=[], stream=True)
        return StreamingResponse(chunks(stream))

    @app.get("/made-while-streaming")
    async def lazy(user: str) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            stream = await client.chat.completions.create(model="gpt-4.1-mini", messages=[], stream=True)
            async for text in chunks(stream):
                yield text

        with workflow("chat"), tag(feature="answer", user=user), prompt("support", version="7"):
            return StreamingResponse(wrap(body)())

    return app


def check(exporter: InMemorySpanExporter, end: str) -> None:
    (chat,), (workflow_span,) = by_name(exporter, "chat"), by_name(exporter, "invoke_workflow")
    assert chat.context.trace_id == workflow_span.context.trace_id
    assert chat.parent.span_id == workflow_span.context.span_id
    attributes = chat.attributes
    assert (attributes["llmtrace.feature"], attributes["user.id"]) == ("answer", "u1")
    assert (attributes["gen_ai.prompt.name"], attributes["gen_ai.prompt.version"]) == ("support", "7")
    assert attributes["llmtrace.stream.end"] == end
    assert chat.end_time is not None


async def test_stream_read_after_the_handler_keeps_its_trace_and_tags(
    spans: InMemorySpanExporter, vendor: Vendor
) -> None:
    """The call belongs to the handler's trace and tags though its stream is read when the handler has returned."""
    vendor.go_on.set()
    for path in ("made-in-the-handler", "made-while-streaming"):
        spans.clear()
        client = openai.AsyncOpenAI(base_url=vendor.url, api_key="x")
        app = application(client, asyncio.Event())
        async with client, httpx.AsyncClient() as browser, serving(app) as url:
            answer = await browser.get(f"{url}/{path}", params={"user": "u1"}, timeout=20)
        assert answer.text == "Blue Blue Blue "
        check(spans, "exhausted")
    assert not trace.get_current_span().get_span_context().is_valid


async def test_client_disconnect_ends_the_span_once(spans: InMemorySpanExporter, vendor: Vendor) -> None:
    """One ended span with the right tags when the browser disconnects while the vendor is still sending."""
    for path in ("made-in-the-handler", "made-while-streaming"):
        spans.clear()
        ended = asyncio.Event()
        client = openai.AsyncOpenAI(base_url=vendor.url, api_key="x")
        async with client, serving(application(client, ended)) as url:
            browser = httpx.AsyncClient(base_url=url, timeout=20)
            async with browser, browser.stream("GET", f"/{path}", params={"user": "u1"}) as answer:
                async for _ in answer.aiter_bytes():
                    break
            await asyncio.wait_for(ended.wait(), 20)
        assert llmtrace.flush(10)
        check(spans, "cancelled")


async def test_concurrent_requests_keep_their_own_users(spans: InMemorySpanExporter, vendor: Vendor) -> None:
    """Requests served by one loop at the same time keep their own users."""
    vendor.go_on.set()
    client = openai.AsyncOpenAI(base_url=vendor.url, api_key="x")
    async with client, httpx.AsyncClient(timeout=30) as browser, serving(application(client, asyncio.Event())) as url:
        where = f"{url}/made-in-the-handler"
        await asyncio.gather(*(browser.get(where, params={"user": str(number)}) for number in range(20)))
    flows = by_name(spans, "invoke_workflow")
    chats = by_name(spans, "chat")
    assert sorted(span.attributes["user.id"] for span in chats) == sorted(str(number) for number in range(20))
    assert len({span.context.trace_id for span in flows}) == 20
