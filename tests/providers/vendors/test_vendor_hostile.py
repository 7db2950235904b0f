"""Hostile responses to the libraries of Cohere, Hugging Face, Ollama and Voyage AI: each value replaced by another."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from loopback import CUT, Loopback, ServerResponse, json_answer, stream_answer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from vendor_calls import CALLS, Method, read

import llmtrace
from llmtrace import _errors

pytestmark = pytest.mark.exhaustive

VALUES: tuple[Any, ...] = (None, "x", [None], -1, {"x": 10**30})
ADDRESS = re.compile(r" at 0x\w+")
RAW = (b"<html>", b"", b'{"usage": ', b"[" * 9000 + b"]" * 9000)


def mutations(value: Any) -> Iterator[Any]:
    """Yield copies of a JSON value, in each of which one value inside is another one."""
    yield from VALUES
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        for other in mutations(inner):
            yield {**value, key: other} if isinstance(value, dict) else [*value[:key], other, *value[key + 1 :]]


def responses(method: Method, *, stream: bool) -> Iterator[ServerResponse]:
    """Yield hostile responses to a method: mutated, not JSON, and cut."""
    if not stream:
        yield from (json_answer(body) for body in mutations(method.body))
        yield from (ServerResponse([raw]) for raw in RAW)
        return
    for index, part in enumerate(method.parts):
        prefix, _, text = part.decode().rstrip("\n").rpartition("data: ")
        if text == "[DONE]":
            continue
        marker = "data: " if "data: " in part.decode() else ""
        end = "\n\n" if marker else "\n"
        for other in mutations(json.loads(text)):
            mutated = f"{prefix}{marker}{json.dumps(other)}{end}".encode()
            yield stream_answer([*method.parts[:index], mutated, *method.parts[index + 1 :]], kind=method.kind)
        yield stream_answer([*method.parts[:index], CUT], kind=method.kind)
    yield from (stream_answer([raw], kind=method.kind) for raw in RAW)


async def observe(loopback: Loopback, client: Any, method: Method, *, stream: bool) -> list[Any]:
    """Return what callers get of all hostile responses: items and exceptions."""
    seen: list[Any] = []
    for response in responses(method, stream=stream):
        loopback.will(response)
        try:
            seen.append(ADDRESS.sub("", repr(await read(await method.ask(client, stream=stream)))))
        except Exception as error:
            seen.append((type(error), type(error.__context__), type(error.__cause__)))
    return seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "stream", "colour"), [(*call.values, c) for c in ("sync", "async") for call in CALLS])
async def test_hostile_response_reaches_the_caller_unchanged(
    loopback: Loopback, client: Any, method: Method, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invalid responses reach the caller as without llmtrace, with one span each and no internal fault."""
    bare = await observe(loopback, client, method, stream=stream)
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    faults: Counter[str] = Counter()
    monkeypatch.setattr(_errors, "internal_errors", faults)
    with llmtrace.instrument(tracer_provider=provider, strict=False):
        seen = await observe(loopback, client, method, stream=stream)
    assert seen == bare
    spans = exporter.get_finished_spans()
    assert len(spans) == len(bare)
    assert all(span.attributes for span in spans)  # which is when most of them are made
    assert not faults
