"""A loopback model that requests a tool and then answers, and readers of the spans of such a run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serving import QuietHandler

INPUT, OUTPUT = 100, 20
"""Tokens that each response reports."""
USAGE = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
COST = INPUT * 15e-8 + OUTPUT * 60e-8
"""Cost of a response of gpt-4o-mini in USD."""
JSON = "application/json"
FIRST = {"id": "c", "created": 0, "model": "gpt-4o-mini"}


class _Handler(QuietHandler):
    server: AgentServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(request)
        if self.path.endswith("/embeddings"):
            texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
            rows = [{"object": "embedding", "index": row, "embedding": [0.1, 0.2]} for row in range(len(texts))]
            model = request["model"]
            body: Any = {
                "object": "list",
                "model": model,
                "data": rows,
                "usage": {"prompt_tokens": 1, "total_tokens": 1},
            }
        elif "enerateContent" in self.path:
            if "stream" in self.path and self.server.status == 200:
                self._stream_gemini(request)
                return
            error = {"error": {"code": self.server.status, "message": "not accepted"}}
            body = _gemini(request) if self.server.status == 200 else error
        elif self.server.status != 200:
            body = {"error": {"message": "not accepted"}}
        elif request.get("stream"):
            self._send("text/event-stream", "".join(f"data: {line}\n\n" for line in _chunks(request)).encode())
            return
        else:
            message, finish = _message(request)
            choice = {"index": 0, "finish_reason": finish, "message": message}
            body = {**FIRST, "object": "chat.completion", "choices": [choice], "usage": USAGE}
        self._send(JSON, json.dumps(body).encode())

    def _stream_gemini(self, request: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        response = _gemini(request)
        (candidate,) = response["candidates"]
        counts = {**response["usageMetadata"], "candidatesTokenCount": 1, "totalTokenCount": INPUT + 1}
        last = {
            **response,
            "candidates": [{"content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": "STOP"}],
        }
        with suppress(OSError):  # the client may have left
            for chunk in (
                {**response, "candidates": [{"content": candidate["content"]}], "usageMetadata": counts},
                last,
            ):
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                self.server.resumed.wait(10)

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(self.server.status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        # LangChain shares its asynchronous clients, whose connections belong to one event loop.
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


def _message(request: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Request the first tool until its result is among the messages, then answer. Request a required tool always."""
    required = isinstance(request.get("tool_choice"), dict)
    answered = any(message["role"] == "tool" for message in request["messages"])
    if not request.get("tools") or (answered and not required):
        return {"role": "assistant", "content": "sunny"}, "stop"
    function = request["tools"][0]["function"]
    arguments = dict.fromkeys(function["parameters"].get("required", ()), "Paris")
    call = {"name": function["name"], "arguments": json.dumps(arguments)}
    calls = [{"id": "call_1", "index": 0, "type": "function", "function": call}]
    return {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"


def _gemini(request: dict[str, Any]) -> dict[str, Any]:
    parts = [part for content in request["contents"] for part in content.get("parts", ())]
    function = {"name": "weather", "args": {"city": "Paris"}}
    part = {"text": "sunny"} if any("functionResponse" in part for part in parts) else {"functionCall": function}
    candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}
    usage = {"promptTokenCount": INPUT, "candidatesTokenCount": OUTPUT, "totalTokenCount": INPUT + OUTPUT}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}


def _chunks(request: dict[str, Any]) -> Iterator[str]:
    message, finish = _message(request)
    for delta, reason in ((message, None), ({}, finish)):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        yield json.dumps({**FIRST, "object": "chat.completion.chunk", "choices": [choice]})
    if (request.get("stream_options") or {}).get("include_usage"):
        yield json.dumps({**FIRST, "object": "chat.completion.chunk", "choices": [], "usage": USAGE})
    yield "[DONE]"


class AgentServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[dict[str, Any]] = []
        self.status = 200
        self.resumed = threading.Event()
        """Event that a stream of Gemini awaits after its first chunk."""
        self.resumed.set()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


def tree(spans: tuple[ReadableSpan, ...], *, under: int | None = None, depth: int = 0) -> list[str]:
    """Return the names of the spans, in the order of their starts, indented by their depth."""
    lines: list[str] = []
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        assert span.context is not None
        if (None if span.parent is None else span.parent.span_id) == under:
            lines += ["  " * depth + span.name, *tree(spans, under=span.context.span_id, depth=depth + 1)]
    return lines


def only(spans: tuple[ReadableSpan, ...], name: str) -> ReadableSpan:
    (span,) = [span for span in spans if span.name == name]
    return span


def check_money(spans: tuple[ReadableSpan, ...], calls: int, cost: float = COST) -> None:
    """Check that the spans are one trace, and that usage and cost are on its calls alone, each once."""
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    attributes = [span.attributes or {} for span in spans]
    assert sum(each.get("gen_ai.usage.input_tokens", 0) for each in attributes) == calls * INPUT
    assert sum(each.get("gen_ai.usage.output_tokens", 0) for each in attributes) == calls * OUTPUT
    assert abs(sum(each.get("llm.cost.total", 0) for each in attributes) - calls * cost) < 1e-12


def provider_and_exporter() -> tuple[TracerProvider, InMemorySpanExporter]:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def database(attributes: Any) -> dict[str, Any]:
    """Return the attributes of the conventions for databases, without their prefix."""
    return {name.removeprefix("db."): value for name, value in attributes.items() if name.startswith("db.")}
