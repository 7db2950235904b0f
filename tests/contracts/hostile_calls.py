"""Endpoints that are called with and without llmtrace, and what their callers see."""

from __future__ import annotations

import asyncio
import json
from asyncio import sleep
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from hostile import Broken, blame, dump, traced
from mistralai.client import Mistral
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmtrace.providers.registry import PROVIDERS
from stainless_clients import COMPATIBLE

QUESTION = [{"role": "user", "content": "hello"}]


class Kind(SimpleNamespace):
    """Endpoint of one vendor."""

    vendor: str
    path: str
    routes: list[tuple[str, str]]
    """Keys of its wire formats, if they are not of the path."""
    call: Callable[..., Any]


class MistralChat:
    """Mistral's client with the interface of the others: one method, and ``close``."""

    def __init__(self, url: str, colour: str) -> None:
        self._client = Mistral(api_key="k", server_url=url, timeout_ms=20_000)
        self._suffix = "" if colour == "sync" else "_async"

    def create(self, *, stream: bool = False) -> Any:
        method = getattr(self._client.chat, ("stream" if stream else "complete") + self._suffix)
        return method(model="m", messages=QUESTION)

    def close(self) -> Any:
        return self._client.__aexit__(None, None, None) if self._suffix else self._client.__exit__(None, None, None)


class BedrockRuntime:
    """Bedrock's client with the interface of the others. A body is read, and a stream is a block."""

    def __init__(self, url: str, colour: str) -> None:
        options = {"endpoint_url": url, "aws_access_key_id": "a", "aws_secret_access_key": "b"}
        options |= {"service_name": "bedrock-runtime", "region_name": "us-east-1"}
        config: Any = {"retries": {"max_attempts": 0}, "read_timeout": 20}
        if colour == "sync":
            self._client: Any = boto3.session.Session().client(**options, config=boto3.session.Config(**config))
        else:
            self._options: Any = {**options, "config": AioConfig(**config)}
            self._opening: Any = None
            self._client = None

    def converse(self) -> Any:
        arguments = {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "hello"}]}]}
        return self._call("converse", arguments)

    def invoke(self, *, stream: bool = False) -> Any:
        arguments = {"modelId": "m", "body": json.dumps({"anthropic_version": "v", "messages": QUESTION})}
        method = "invoke_model_with_response_stream" if stream else "invoke_model"
        return self._call(method, arguments)

    def _call(self, method: str, arguments: Any) -> Any:
        if hasattr(self, "_opening"):
            return self._ask(method, arguments)
        return _plain(getattr(self._client, method)(**arguments))

    async def _ask(self, method: str, arguments: Any) -> Any:
        if self._client is None:
            self._opening = get_session().create_client(**self._options)
            self._client = await self._opening.__aenter__()
        result = _plain(await getattr(self._client, method)(**arguments))
        return await result if hasattr(result, "__await__") else result

    def close(self) -> Any:
        if not hasattr(self, "_opening"):
            return self._client.close()
        return asyncio.sleep(0) if self._opening is None else self._opening.__aexit__(None, None, None)


class _Events:
    """Event stream as a block, like the streams of other clients."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __enter__(self) -> Any:
        return self._stream

    async def __aenter__(self) -> Any:
        return self._stream

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    async def __aexit__(self, *_: object) -> None:
        self._stream.close()

    def __iter__(self) -> Any:
        return iter(self._stream)

    def __aiter__(self) -> Any:
        return self._stream.__aiter__()

    def close(self) -> Any:
        self._stream.close()
        return sleep(0) if hasattr(self._stream, "__anext__") else None


def _plain(result: dict[str, Any]) -> Any:
    """Return a result without its metadata, which has the time of the response."""
    del result["ResponseMetadata"]
    body = result.get("body")
    return result if body is None else body.read() if hasattr(body, "read") else _Events(body)


KINDS = {
    "chat": Kind(
        vendor="openai",
        path="/chat/completions",
        call=lambda client, **more: client.chat.completions.create(model="m", messages=QUESTION, **more),
    ),
    "responses": Kind(
        vendor="openai",
        path="/responses",
        call=lambda client, **more: client.responses.create(model="m", input="hello", **more),
    ),
    "embeddings": Kind(
        vendor="openai",
        path="/embeddings",
        call=lambda client, **more: client.embeddings.create(model="m", input="hello", **more),
    ),
    "messages": Kind(
        vendor="anthropic",
        path="/v1/messages",
        call=lambda client, **more: client.messages.create(model="m", max_tokens=9, messages=QUESTION, **more),
    ),
    "mistral": Kind(
        vendor="mistral",
        path="/v1/chat/completions",
        call=lambda client, **more: client.create(**more),
    ),
    "converse": Kind(
        vendor="bedrock",
        routes=[("bedrock-runtime", "Converse")],
        call=lambda client: client.converse(),
    ),
    "invoke": Kind(
        vendor="bedrock",
        routes=[("bedrock-runtime", "InvokeModel"), ("bedrock-runtime", "InvokeModelWithResponseStream")],
        call=lambda client, **more: client.invoke(**more),
    ),
}
COMPATIBLE_KINDS = {
    provider.name: Kind(
        vendor=provider.name,
        routes=[route for route in provider.routes if route[1].endswith("/chat/completions")],
        call=KINDS["chat"].call,
    )
    for provider in PROVIDERS
    if provider.name in COMPATIBLE
}
"""Chat completions of the other libraries that Stainless generates."""
if find_spec("openai.resources.responses") is None:  # the first releases have no responses
    del KINDS["responses"]
STREAMED = tuple(kind for kind in ("chat", "responses", "messages", "mistral", "invoke") if kind in KINDS)
STAINLESS = tuple(kind for kind in KINDS if KINDS[kind].vendor in ("openai", "anthropic"))
"""Endpoints of clients that Stainless generates, which have raw responses and parsers of the caller."""
STAINLESS_STREAMED = tuple(kind for kind in STREAMED if kind in STAINLESS)


def count_spans(exporter: InMemorySpanExporter) -> int:
    """Return the number of finished spans, and read their attributes, most of which are set lazily."""
    return sum(bool(span.attributes) for span in exporter.get_finished_spans())


def observe(clients: Any, kind: Kind, colour: str, *, stream: bool = False, call: Any = None) -> list[Any]:
    """Return everything a call passes to its caller: result, chunks, exception."""
    client = clients.made[kind.vendor, colour]
    more = {"stream": True} if stream else {}
    make = call or (lambda client: kind.call(client, **more))
    observed: list[Any] = []

    async def read() -> None:
        result = await make(client)
        if not stream:
            observed.append(dump(result))
            return
        async with result:
            async for chunk in result:
                observed.append(dump(chunk))

    try:
        if colour == "async":
            clients.run(read())
        elif not stream:
            observed.append(dump(make(client)))
        else:
            with make(client) as chunks:
                observed.extend(dump(chunk) for chunk in chunks)
    except BaseException as error:
        observed.append(blame(error))
    return observed


def compare(clients: Any, kind: Kind, colour: str, *, stream: bool = False, call: Any = None) -> Any:
    """Make a call with and without llmtrace, assert that both give the same, and return the span."""
    bare = observe(clients, kind, colour, stream=stream, call=call)
    with traced() as exporter:
        observed = observe(clients, kind, colour, stream=stream, call=call)
    assert observed == bare
    (span,) = exporter.get_finished_spans()
    assert span.attributes  # which is when most of them are made, and a fault would be counted
    return span


def chunk(**more: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], **more}


def choice(index: Any, reason: Any = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": reason}


def tool(index: Any) -> dict[str, Any]:
    return {"index": index, "id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "input_tokens": 7, "output_tokens": 3}
GOOD: dict[str, Any] = {
    "id": "i",
    "model": "m",
    "usage": USAGE,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "data": [{"embedding": [0.5], "index": 0, "object": "embedding"}],
    "output": {"message": {"role": "assistant", "content": []}},
    "content": [{"type": "text", "text": "hi"}],
    "role": "assistant",
    "type": "message",
    "stop_reason": "end_turn",
    "status": "completed",
}
MESSAGE_EVENTS = [
    {"type": "message_start", "message": GOOD},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
]
GOOD_CHUNKS: dict[str, list[Any]] = {
    "chat": [chunk(choices=[choice(0, content="hi")]), chunk(choices=[choice(0, "stop")]), chunk(usage=USAGE)],
    "mistral": [chunk(choices=[choice(0, content="hi")]), chunk(choices=[choice(0, "stop")], usage=USAGE)],
    "responses": [
        {"type": "response.output_text.delta", "delta": "hi", "output_index": 0},
        {"type": "response.completed", "response": GOOD},
    ],
    "messages": MESSAGE_EVENTS,
    "invoke": MESSAGE_EVENTS,
}


def _routes(kind: Kind) -> list[tuple[str, str]]:
    return getattr(kind, "routes", None) or [("POST", kind.path)]


def sabotage(monkeypatch: pytest.MonkeyPatch, kind: Kind, **readers: Any) -> None:
    (provider,) = (provider for provider in PROVIDERS if provider.name == kind.vendor)
    for route in _routes(kind):
        monkeypatch.setitem(provider.routes, route, replace(provider.routes[route], **readers))


def break_events(monkeypatch: pytest.MonkeyPatch, kind: Kind, *where: str) -> None:
    (provider,) = (provider for provider in PROVIDERS if provider.name == kind.vendor)
    inner = provider.routes[_routes(kind)[-1]].accumulator
    assert inner is not None
    sabotage(monkeypatch, kind, accumulator=lambda: Broken(inner(), *where))
