"""A vendor with one response, and what the tests of whole spans expect in common."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import Any

import openai
import pytest
from dirty_equals import IsFloat, IsInt
from google import genai

from serving import QuietHandler

PORT = IsInt(gt=0)
SECONDS = IsFloat(ge=0)
MESSAGES: Any = [{"role": "user", "content": "Why is the sky blue?"}]
PRICES = """
[[price]]
model = "*"
input = "1"
cache_read = "0.1"
cache_write_5m = "1.25"
output = "10"
web_search = "0.01"
"""
"""One price for every model, in USD per million tokens; a web search in USD per call."""


needs_responses = pytest.mark.skipif(not hasattr(openai.OpenAI, "responses"), reason="this release has no responses")
needs_interactions = pytest.mark.skipif(not hasattr(genai.Client, "interactions"), reason="no interactions yet")


class Vendor(ThreadingHTTPServer):
    """A loopback server that responds to every request with one body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = b""
        self.content_type = "application/json"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def respond(self, body: Any) -> None:
        """Respond with a JSON body from now on."""
        self.body, self.content_type = json.dumps(body).encode(), "application/json"

    def stream(self, *events: Any, done: bytes = b"") -> None:
        """Respond with server-sent events from now on."""
        chunks = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
        self.body, self.content_type = b"".join(chunks) + done, "text/event-stream"


class _Handler(QuietHandler):
    server: Vendor

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.send_header("content-type", self.server.content_type)
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)


Span = Callable[[], tuple[str, dict[str, Any]]]
