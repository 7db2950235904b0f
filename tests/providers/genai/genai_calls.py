"""The google-genai client under test, and its finished spans."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from google.genai import types
from google_server import answer, resolve
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import StatusCode

import llmtrace

USAGE = {"promptTokenCount": 8, "candidatesTokenCount": 2, "totalTokenCount": 10}
COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
# The first releases leave the connection of a stream to the collector.
leaky = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
# A retry within a test would wait for seconds; the first releases have none.
ONCE = {"retry_options": {"attempts": 1}} if "retry_options" in types.HttpOptions.model_fields else {}


class Side:
    """Client under test, sync or async."""

    def __init__(self, client: Any, colour: str) -> None:
        self.full = client
        self.client = client if colour == "sync" else client.aio
        self.colour = colour

    async def ask(self, *, stream: bool = False, **config: Any) -> Any:
        method = self.client.models.generate_content_stream if stream else self.client.models.generate_content
        return await resolve(method(model="gemini-test", contents="hello", config=config or None))


async def exported(spans: Any, *, left: bool = False) -> list[Any]:
    """Return all spans after a flush, and after collecting the garbage of ``left``."""
    for _ in range(4 if left else 0):
        gc.collect()
        await asyncio.sleep(0.002)
    assert llmtrace.flush()
    return list(spans.get_finished_spans())


async def only(spans: Any, *, left: bool = False) -> Any:
    (span,) = await exported(spans, left=left)
    return span


def tracer(spans: Any) -> trace.Tracer:
    """Return a tracer of the application that exports to the same exporter."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider(resource=Resource.get_empty())
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider.get_tracer("application")


CALL = {"functionCall": {"name": "weather", "args": {"city": "Paris"}}}
FIRST = answer(CALL, usage={"promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 13})
SECOND = answer(
    "Sunny.",
    usage={"promptTokenCount": 20, "candidatesTokenCount": 4, "thoughtsTokenCount": 100, "totalTokenCount": 124},
)


def ended(span: Any, end: str, outcome: str = "ok") -> None:
    assert span.attributes["llmtrace.stream.end"] == end
    assert span.attributes["llmtrace.outcome"] == outcome
    assert span.attributes["llmtrace.stream.completed"] is (end == "exhausted")
    assert (span.status.status_code is StatusCode.ERROR) is (outcome == "error")


CHUNKS = [answer("a", reason=None, usage={"promptTokenCount": 8}), answer("b", reason=None), answer("c", usage=USAGE)]
