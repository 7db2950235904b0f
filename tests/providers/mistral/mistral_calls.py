"""The mistralai client under test, its methods, and small responses of each."""

from __future__ import annotations

import asyncio
import gc
import inspect
from dataclasses import dataclass
from typing import Any

import pytest
from answers import CHAT, CHAT_CHUNKS, CHAT_USAGE, QUESTION, RESPONSE, RESPONSE_EVENTS, sse
from loopback import ServerResponse, json_answer, stream_answer
from mistralai.client import Mistral
from mistralai.client.utils import BackoffStrategy, RetryConfig

import llmtrace

COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])
# Mistral reports the usage with the finish reason.
CHUNKS = [*CHAT_CHUNKS[:2], {**CHAT_CHUNKS[2], "usage": CHAT_USAGE}]
DETAILS = {"input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}}
COMPLETE_RESPONSE = {**RESPONSE, "usage": {**RESPONSE["usage"], **DETAILS}}


@dataclass(frozen=True)
class Method:
    """Method of the client, its arguments, and what a server responds: plain, and as events."""

    name: str
    operation: str
    arguments: dict[str, Any]
    body: Any
    events: list[Any]
    stream: str = ""
    """The method that streams, if it is another one."""


METHODS = {
    "chat": Method("chat.complete", "chat", {"model": "m", "messages": QUESTION}, CHAT, CHUNKS, "chat.stream"),
    "agents": Method(
        "agents.complete", "invoke_agent", {"agent_id": "ag_1", "messages": QUESTION}, CHAT, CHUNKS, "agents.stream"
    ),
    "fim": Method(
        "fim.complete", "text_completion", {"model": "m", "prompt": "def f", "suffix": "1"}, CHAT, CHUNKS, "fim.stream"
    ),
    "responses": Method(
        "responses.create",
        "chat",
        {"model": "m", "input": "hi"},
        COMPLETE_RESPONSE,
        [*RESPONSE_EVENTS[:-1], {**RESPONSE_EVENTS[-1], "response": COMPLETE_RESPONSE}],
    ),
    "embeddings": Method(
        "embeddings.create",
        "embeddings",
        {"model": "m", "inputs": ["a", "b"]},
        {
            "id": "emb-1",
            "object": "list",
            "model": "m-1",
            "data": [{"object": "embedding", "index": index, "embedding": [0.5, 0.25]} for index in (0, 1)],
            "usage": {"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": 0},
        },
        [],
    ),
}
if "responses" not in Mistral.__annotations__:  # the first releases have no responses
    del METHODS["responses"]


class Side:
    """Client under test, sync or async."""

    def __init__(self, colour: str, url: str, **options: Any) -> None:
        self.colour = colour
        self.client = Mistral(api_key="k", server_url=url, timeout_ms=20_000, **options)

    async def ask(self, name: str = "chat", *, stream: bool = False, **more: Any) -> Any:
        """Make a call. A stream is returned unread."""
        method = METHODS[name]
        path = (method.stream if stream else "") or method.name
        if stream and not method.stream:
            more["stream"] = True
        function: Any = self.client
        for step in (path if self.colour == "sync" else f"{path}_async").split("."):
            function = getattr(function, step)
        result = function(**{**method.arguments, **more})
        return await result if inspect.isawaitable(result) else result

    async def close(self) -> None:
        """Close the HTTP client that was used."""
        if self.colour == "sync":
            self.client.__exit__(None, None, None)
        else:
            await self.client.__aexit__(None, None, None)


def good(name: str = "chat", *, stream: bool = False) -> ServerResponse:
    """Return what Mistral responds to a method."""
    method = METHODS[name]
    done = name != "responses"  # whose last event is the end
    return stream_answer(sse(method.events, done=done)) if stream else json_answer(method.body)


async def read(result: Any) -> list[Any]:
    """Return what the caller gets: the items of a stream, or the one response."""
    if hasattr(result, "__anext__"):
        return [item.model_dump() async for item in result]
    return [item.model_dump() for item in result] if hasattr(result, "__next__") else [result.model_dump()]


async def next_item(stream: Any) -> Any:
    return await anext(stream) if hasattr(stream, "__anext__") else next(stream)


async def collect_garbage() -> None:
    """Collect dropped streams, those of the event loop too."""
    for _ in range(3):
        gc.collect()
        await asyncio.sleep(0.002)


async def only(spans: Any) -> dict[str, Any]:
    """Return the attributes of the only span, after dropped streams have ended."""
    await collect_garbage()
    assert llmtrace.flush()
    (span,) = spans.get_finished_spans()
    return dict(span.attributes or {})


def retries(seconds: float) -> RetryConfig:
    """Return a configuration that retries at once, for so many seconds."""
    return RetryConfig("backoff", BackoffStrategy(1, 1, 1.0, int(1000 * seconds)), retry_connection_errors=True)
