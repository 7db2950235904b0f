"""A loopback proxy that plays all vendors, and their own clients connected through it."""

from __future__ import annotations

import json
from http.server import ThreadingHTTPServer
from typing import Any

import anthropic
import openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from serving import QuietHandler

CHAT: Any = {"id": "c1", "object": "chat.completion", "created": 1, "choices": [
    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi."}}]}  # fmt: skip
MESSAGE: Any = {"id": "m1", "type": "message", "role": "assistant", "stop_reason": "end_turn", "stop_sequence": None,
           "content": [{"type": "text", "text": "Hi."}]}  # fmt: skip
PROMPT: Any = [{"role": "user", "content": "Hello"}]


class Vendor(ThreadingHTTPServer):
    """All vendors as one proxy server: clients send requests to the real host names."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ResponseHandler)
        self.response: Any = {}
        self.headers: dict[str, str] = {}
        """Additional headers of the next responses."""
        self.requests: list[tuple[str, Any]] = []
        self.clients: list[Any] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class ResponseHandler(QuietHandler):
    server: Vendor

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["content-length"]))
        body = json.loads(sent) if self.headers["content-type"] == "application/json" else None  # or a form
        self.server.requests.append((self.path, body))
        answer = self.server.response
        if callable(answer):
            answer = answer(body)
        status, content = (200, answer) if not isinstance(answer, tuple) else answer
        stream = isinstance(content, list)
        text = "".join(map(_event, content)) if stream else None
        if stream and "candidates" not in content[0]:
            text += "data: [DONE]\n\n"  # Gemini sends no such event.
        data = (text or json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("content-type", "text/event-stream" if stream else "application/json")
        self.send_header("content-length", str(len(data)))
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _event(content: Any) -> str:
    named = f"event: {content['type']}\n" if "type" in content else ""
    return f"{named}data: {json.dumps(content)}\n\n"


def make_http_client(vendor: Vendor, kind: Any) -> Any:
    vendor.clients.append(kind(proxy=vendor.url))
    return vendor.clients[-1]


def instrument_spans(**settings: Any) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    llmtrace.instrument(tracer_provider=provider, strict=True, **settings)
    return exporter


def make_openai(vendor: Vendor, host: str = "http://api.openai.com/v1") -> openai.OpenAI:
    http = make_http_client(vendor, openai.DefaultHttpxClient)
    return openai.OpenAI(api_key="k", base_url=host, max_retries=0, http_client=http)


def make_anthropic(vendor: Vendor, kind: Any = anthropic.Anthropic, **options: Any) -> Any:
    http = make_http_client(vendor, anthropic.DefaultHttpxClient)
    options = {"api_key": "k", "base_url": "http://api.anthropic.com", **options}
    return kind(max_retries=0, http_client=http, **{key: value for key, value in options.items() if value})


def make_chat(model: str, prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**CHAT, "model": model, "usage": usage, **more}


def make_message(model: str, **usage: Any) -> dict[str, Any]:
    return {**MESSAGE, "model": model, "usage": usage}


def cost_attributes(exporter: InMemorySpanExporter) -> dict[str, Any]:
    (span,) = exporter.get_finished_spans()
    return {key: value for key, value in (span.attributes or {}).items() if "cost" in key or "budget" in key}
