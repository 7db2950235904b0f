"""A loopback vendor that records its requests, and readers of finished spans."""

from __future__ import annotations

import json
import threading
from http.server import ThreadingHTTPServer
from typing import Any

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serving import QuietHandler

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 0,
    "model": "gpt-4.1-mini-2025-04-14",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Blue."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14},
}
CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 0,
    "model": "gpt-4.1-mini-2025-04-14",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Blue "}, "finish_reason": None}],
}


class _Handler(QuietHandler):
    server: Vendor

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((dict(self.headers.items()), body.decode()))
        request = json.loads(body)
        self.send_response(200)
        if request.get("stream"):
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            self._stream()
            self.close_connection = True
            return
        response = json.dumps({**ANSWER, "id": f"chatcmpl-{request.get('user', '1')}"}).encode()
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)

    def _stream(self) -> None:
        """Two chunks, then the rest when the test sets ``go_on``."""
        event = f"data: {json.dumps(CHUNK)}\n\n".encode()
        try:
            self.wfile.write(event * 2)
            self.wfile.flush()
            self.server.go_on.wait(20)
            end = {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            self.wfile.write(event + f"data: {json.dumps(end)}\n\ndata: [DONE]\n\n".encode())
        except OSError:
            self.server.cut.set()


class Vendor(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[dict[str, str], str]] = []
        self.go_on = threading.Event()
        self.cut = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_: object) -> None: ...


def by_name(exporter: InMemorySpanExporter, start: str) -> list[Any]:
    return [span for span in exporter.get_finished_spans() if span.name.startswith(start)]


def only(exporter: InMemorySpanExporter, start: str) -> dict[str, Any]:
    (span,) = by_name(exporter, start)
    return dict(span.attributes)
