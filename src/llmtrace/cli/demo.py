"""``llmtrace demo``: the real vendor SDKs, a server on the loopback interface, and the spans that come of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ._vendor_server import serve

__all__ = ["run"]

_WIDTH = 80
_COLUMNS = (("ms", 8), ("in", 6), ("out", 6), ("first", 8), ("chunks", 7))
_NAME = _WIDTH - sum(width for _, width in _COLUMNS) - 12


def run() -> int:
    missing = [name for name in ("openai", "anthropic") if find_spec(name) is None]
    if missing:
        print(f"llmtrace demo needs the vendor SDKs: pip install {' '.join(missing)}", file=sys.stderr)
        return 2

    import llmtrace

    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with serve() as url:
        llmtrace.instrument(tracer_provider=provider)
        try:
            for name in ("openai", "anthropic"):  # outside the span, which should not show the time it takes
                import_module(name)
            with provider.get_tracer("llmtrace.demo").start_as_current_span("rag assistant"):
                _ask(url)
        finally:
            llmtrace.uninstrument()
    llmtrace.flush()
    spans = exporter.get_finished_spans()
    provider.shutdown()
    for line in _tree(spans):
        print(line)
    return 0


def _ask(url: str) -> None:
    """What a small assistant over support documents does for one question."""
    import anthropic
    import openai

    question = "How do I rotate a signing key, and is the key service up?"
    # No proxy between us and the loopback interface; Anthropic's client reads the variables itself, hence the mount.
    direct = openai.DefaultHttpxClient(trust_env=False, mounts={"all://127.0.0.1": None})
    with openai.OpenAI(api_key="demo", base_url=f"{url}/v1", max_retries=0, http_client=direct) as client:
        client.embeddings.create(model="text-embedding-3-small", input=question, encoding_format="float")
        stream = client.chat.completions.create(
            model="gpt-4.1-mini",
            messages=[
                {"role": "system", "content": "Answer from the support documents only."},
                {"role": "user", "content": f"Document: Keys, rotation.\n\n{question}"},
            ],
            stream=True,
            stream_options={"include_usage": True},
        )
        for _ in stream:
            pass
    other = anthropic.DefaultHttpxClient(trust_env=False, mounts={"all://127.0.0.1": None})
    with anthropic.Anthropic(api_key="demo", base_url=url, max_retries=0, http_client=other) as claude:
        schema = {"type": "object", "properties": {"service": {"type": "string"}}, "required": ["service"]}
        tools: Any = [{"name": "service_status", "description": "Status of a service", "input_schema": schema}]
        messages: Any = [{"role": "user", "content": question}]
        model = "claude-sonnet-4-5"
        first = claude.messages.create(model=model, max_tokens=256, tools=tools, messages=messages)
        calls = [block for block in first.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "up since Monday"} for call in calls]
        messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
        claude.messages.create(model=model, max_tokens=256, tools=tools, messages=messages)


def _tree(spans: Sequence[ReadableSpan]) -> Iterator[str]:
    yield f"{'span':<{_NAME}}{''.join(f'{title:>{width}}' for title, width in _COLUMNS)}  finish"
    known = {span.context.span_id for span in spans if span.context is not None}
    children: dict[int | None, list[ReadableSpan]] = {}
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        parent = span.parent.span_id if span.parent is not None and span.parent.span_id in known else None
        children.setdefault(parent, []).append(span)

    def walk(parent: int | None, indent: str) -> Iterator[str]:
        group = children.get(parent, [])
        for span in group:
            last = span is group[-1]
            yield _line(span, "" if parent is None else indent + ("`- " if last else "|- "))
            if span.context is not None:
                yield from walk(span.context.span_id, "" if parent is None else indent + ("   " if last else "|  "))

    yield from walk(None, "")


def _line(span: ReadableSpan, branch: str) -> str:
    told = span.attributes or {}
    first = told.get("llmtrace.stream.time_to_first_token")
    reasons = told.get("gen_ai.response.finish_reasons")
    cells = (
        f"{((span.end_time or 0) - (span.start_time or 0)) / 1e6:.1f}",
        _plain(told.get("gen_ai.usage.input_tokens")),
        _plain(told.get("gen_ai.usage.output_tokens")),
        f"{first * 1000:.1f}" if isinstance(first, (int, float)) else "-",
        _plain(told.get("llmtrace.stream.chunks")),
    )
    name = branch + span.name
    if len(name) >= _NAME:
        name = name[: _NAME - 3] + ".."
    numbers = "".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, _COLUMNS, strict=True))
    ending = ",".join(map(str, reasons)) if isinstance(reasons, (list, tuple)) else _plain(reasons)
    return f"{name:<{_NAME}}{numbers}  {ending}"[:_WIDTH].rstrip()


def _plain(value: object) -> str:
    return "-" if value is None else str(value)
