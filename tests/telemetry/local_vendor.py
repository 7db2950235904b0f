"""Chat completions server on the loopback interface with a configurable response."""

from __future__ import annotations

import json
from http.server import ThreadingHTTPServer
from typing import Any

from serving import QuietHandler

ANSWER: Any = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
}  # fmt: skip


class LocalVendor(ThreadingHTTPServer):
    """Server that returns ``answer`` with ``status`` to every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Any = ANSWER
        self.status = 200
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(QuietHandler):
    server: LocalVendor

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        data = json.dumps(self.server.answer).encode()
        self.send_response(self.server.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
