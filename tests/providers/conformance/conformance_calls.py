"""Both vendors' clients behind one interface, and checks of their spans."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import StatusCode

import llmtrace

DONE = object()
QUESTION = [{"role": "user", "content": "What is the capital of France?"}, {"role": "assistant", "content": "Paris"}]


@dataclass(frozen=True)
class Vendor:
    """Differences between two SDKs with the same base client."""

    module: Any
    name: str
    path: str
    arguments: dict[str, Any]
    plain: tuple[str, int, int]  # cassette, input tokens, output tokens
    streamed: tuple[str, int, int]
    text: str
    final: str

    def kind(self, name: str, colour: str) -> Any:
        return getattr(self.module, name if colour == "sync" else f"Async{name}")


OPENAI = Vendor(
    module=openai,
    name="OpenAI",
    path="/v1",
    arguments={"model": "gpt-5"},
    plain=("openai-chat-completions-sync-plain-b05d82", 23, 6),
    streamed=("openai-chat-completions-stream-plain-daaac4", 13, 11),
    text="Paris.",
    final="get_final_completion",
)
ANTHROPIC = Vendor(
    module=anthropic,
    name="Anthropic",
    path="",
    arguments={"model": "claude-3-haiku-20240307", "max_tokens": 300},
    plain=("anthropic-messages-sync-plain-b17370", 213, 104),
    streamed=("anthropic-messages-stream-plain-e496f7", 19, 5),
    text="10",
    final="get_final_message",
)


class Sdk:
    """Client of one vendor, sync or async, connected to the replay server."""

    def __init__(self, vendor: Vendor, colour: str, url: str, **options: Any) -> None:
        self.vendor, self.colour = vendor, colour
        self.client = vendor.kind(vendor.name, colour)(
            base_url=url + vendor.path, api_key="x", max_retries=0, **options
        )
        self.stream_class = vendor.kind("Stream", colour)

    @property
    def resource(self) -> Any:
        return self.client.messages if self.vendor is ANTHROPIC else self.client.chat.completions

    def arguments(self, *, stream: bool, headers: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        cassette = (self.vendor.streamed if stream else self.vendor.plain)[0]
        out = {**self.vendor.arguments, "messages": QUESTION, **more}
        return {**out, "extra_headers": {"x-cassette-id": cassette, **(headers or {})}}

    async def create(self, *, stream: bool = True, headers: dict[str, str] | None = None, **more: Any) -> Any:
        extra = {"stream": True} if stream else {}
        return await resolve(self.resource.create(**self.arguments(stream=stream, headers=headers, **more), **extra))

    def helper(self, **more: Any) -> Any:
        resource = self.resource
        if not hasattr(resource, "stream"):
            resource = self.client.beta.chat.completions
        return resource.stream(**self.arguments(stream=True, **more))

    async def close(self) -> None:
        await resolve(self.client.close())


async def resolve(value: Any) -> Any:
    """Return ``value``, awaited if it is awaitable."""
    return await value if inspect.isawaitable(value) else value


async def step(stream: Any) -> Any:
    """Return the next item of a synchronous or asynchronous iterator, or ``DONE``."""
    return await anext(stream, DONE) if hasattr(stream, "__anext__") else next(stream, DONE)


async def take(stream: Any, count: int | None = None) -> list[Any]:
    """Return the items of a ``for`` statement that is left by ``break`` after ``count`` items."""
    items = []
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            items.append(item)
            if len(items) == count:
                break
    else:
        for item in stream:
            items.append(item)
            if len(items) == count:
                break
    return items


@contextlib.asynccontextmanager
async def entered(manager: Any) -> Any:
    """Enter a context manager by ``with`` or ``async with``."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


async def exported(spans: Any) -> list[Any]:
    """Return all spans after garbage collection and a flush of llmtrace."""
    for _ in range(2):
        gc.collect()
        await asyncio.sleep(0.01)
    llmtrace.flush(2)
    return list(spans.get_finished_spans())


async def only(spans: Any) -> Any:
    found = await exported(spans)
    assert len(found) == 1, [(span.name, dict(span.attributes)) for span in found]
    return found[0]


def ended(span: Any, end: str, chunks: int | None = None, outcome: str = "ok") -> None:
    got = span.attributes
    assert got["llmtrace.stream.end"] == end
    assert got["llmtrace.outcome"] == outcome
    assert got["llmtrace.stream.completed"] is (end == "exhausted")
    assert (span.status.status_code is StatusCode.ERROR) is (outcome == "error")
    if chunks is not None:
        assert got["llmtrace.stream.chunks"] == chunks
    if chunks:
        # Two clocks, one of them the wall's: they agree to a millisecond, not exactly.
        seconds = (span.end_time - span.start_time) / 1e9
        assert 0 < got["gen_ai.response.time_to_first_chunk"] < seconds + 0.001


def used(span: Any, expected: tuple[str, int, int]) -> None:
    _, tokens_in, tokens_out = expected
    assert span.attributes["gen_ai.usage.input_tokens"] == tokens_in
    assert span.attributes["gen_ai.usage.output_tokens"] == tokens_out


def exporting(spans: Any) -> TracerProvider:
    """Return another provider that exports to the same exporter."""
    provider = TracerProvider(resource=Resource.get_empty())
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider


EVERY = [(vendor, colour) for vendor in (OPENAI, ANTHROPIC) for colour in ("sync", "async")]
ASYNC = [pair for pair in EVERY if pair[1] == "async"]
NATIVE = [pair for pair in EVERY if pair[0] is ANTHROPIC]


def named(pair: tuple[Vendor, str]) -> str:
    return f"{pair[0].name.lower()}-{pair[1]}"


def sdks(pairs: list[tuple[Vendor, str]]) -> Any:
    return pytest.mark.parametrize("sdk", pairs, ids=named, indirect=True)
