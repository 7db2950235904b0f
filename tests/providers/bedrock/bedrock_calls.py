"""The clients of boto3 and aiobotocore under test, and small responses of Bedrock."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
from functools import cache
from typing import Any

import boto3
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from loopback import ServerResponse, json_answer, stream_answer

import llmtrace
from aws_frames import aws_frame, aws_frames

COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])
SONNET = "anthropic.claude-3-5-sonnet-20240620-v1:0"
NOVA = "amazon.nova-lite-v1:0"
MESSAGES = [{"role": "user", "content": [{"text": "hi"}]}]
USAGE = {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}
CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hé"}]}},
    "stopReason": "end_turn",
    "usage": USAGE,
    "metrics": {"latencyMs": 5},
}
EVENTS: list[dict[str, Any]] = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "hé"}}},
    {"contentBlockStop": {"contentBlockIndex": 0}},
    {"messageStop": {"stopReason": "end_turn"}},
    {"metadata": {"usage": USAGE, "metrics": {"latencyMs": 5}}},
]
STREAM = "application/vnd.amazon.eventstream"


def frames(events: list[dict[str, Any]]) -> list[bytes]:
    """Return events in frames of AWS; the key of an event is its type."""
    return [aws_frame(kind, body) for event in events for kind, body in event.items()]


def events_answer(events: list[dict[str, Any]], *end: Any, **more: Any) -> ServerResponse:
    return stream_answer([*frames(events), *end], kind=STREAM, **more)


def converse_answer(*, stream: bool, usage: dict[str, Any] = USAGE, **more: Any) -> ServerResponse:
    if stream:
        return events_answer([*EVENTS[:-1], {"metadata": {"usage": usage, "metrics": {"latencyMs": 5}, **more}}])
    return json_answer({**CONVERSE, "usage": usage, **more})


# A session reads the descriptions of its services once, which takes longer than most tests.
_boto_session = cache(boto3.session.Session)
_aio_session = cache(get_session)


class Side:
    """Client under test, sync (boto3) or async (aiobotocore)."""

    def __init__(self, colour: str, url: str, service: str = "bedrock-runtime", **config: Any) -> None:
        self.colour = colour
        self._entered: Any = None
        config = {"retries": {"max_attempts": 0}, **config}
        options: dict[str, Any] = {
            "service_name": service,
            "region_name": "us-east-1",
            "endpoint_url": url,
            "aws_access_key_id": "a",
            "aws_secret_access_key": "b",
        }
        if colour == "sync":
            self.client = _boto_session().client(**options, config=boto3.session.Config(**config))
        else:
            self._entered = _aio_session().create_client(**options, config=AioConfig(**config))

    async def __aenter__(self) -> Side:
        if self._entered is not None:
            self.client = await self._entered.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._entered is None:
            self.client.close()
        else:
            await self._entered.__aexit__(None, None, None)

    async def call(self, method: str, **arguments: Any) -> Any:
        """Call a method. A stream is returned unread."""
        result = getattr(self.client, method)(**arguments)
        return await result if inspect.isawaitable(result) else result

    def needs(self, shape: str, *members: str) -> None:
        """Skip the test if this release of botocore does not know a field of the responses or requests."""
        try:
            known = self.client.meta.service_model.shape_for(shape).members
        except Exception:
            known = {}
        if not set(members) <= set(known):
            pytest.skip(f"this release has no {', '.join(members)}")

    async def converse(self, *, stream: bool = False, **more: Any) -> Any:
        method = "converse_stream" if stream else "converse"
        return await self.call(method, **{"modelId": NOVA, "messages": MESSAGES, **more})

    async def invoke(self, body: Any, *, stream: bool = False, model: str = SONNET, **more: Any) -> Any:
        method = "invoke_model_with_response_stream" if stream else "invoke_model"
        return await self.call(method, modelId=model, body=json.dumps(body), **more)


def stream_of(result: Any) -> Any:
    """Return the stream of events or bytes in a result, ``None`` if there is none."""
    return next((result[name] for name in ("stream", "body", "completion") if name in result), None)


async def read(result: Any) -> Any:
    """Return what the caller gets: events, the parsed body, or the result without its metadata."""
    stream = stream_of(result)
    if stream is None:
        return {name: value for name, value in result.items() if name != "ResponseMetadata"}
    if not hasattr(stream, "read"):
        return [event async for event in stream] if hasattr(stream, "__anext__") else list(stream)
    data = stream.read()
    return json.loads(await data if inspect.isawaitable(data) else data)


async def next_event(stream: Any) -> Any:
    """Return the next event, and leave the loop that reads them."""
    if hasattr(stream, "__anext__"):
        async for event in stream:
            return event
    return next(iter(stream))


async def only(spans: Any) -> dict[str, Any]:
    """Return the attributes of the only span, after dropped streams have ended."""
    for _ in range(3):
        gc.collect()
        await asyncio.sleep(0.002)
    assert llmtrace.flush()
    (span,) = spans.get_finished_spans()
    return dict(span.attributes or {})


def vendor_answer(body: Any, *, stream: bool) -> ServerResponse:
    """Return a vendor's response of ``InvokeModel``: one body, or a list of events."""
    return stream_answer(aws_frames(body), kind=STREAM) if stream else json_answer(body)
