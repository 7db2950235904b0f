"""A loopback server that responds like Gemini, and the client that calls it."""

from __future__ import annotations

import inspect
import json
import ssl
from collections.abc import Callable
from functools import cache
from http.server import ThreadingHTTPServer
from typing import Any

from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from serving import QuietHandler

__all__ = ["Gemini", "answer", "collect", "resolve", "step"]


def answer(*parts: Any, reason: str | None = "STOP", usage: Any = None, **more: Any) -> dict[str, Any]:
    """Return one response or one chunk."""
    made = [{"text": part} if isinstance(part, str) else part for part in parts]
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": made}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    found = {"candidates": [candidate], "modelVersion": "gemini-test-001", "responseId": "r1", **more}
    return found if usage is None else {**found, "usageMetadata": usage}


class _Handler(QuietHandler):
    server: Gemini

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        server = self.server
        server.received.append((self.command, self.path, json.loads(body) if body else None))
        status, passed = server.next()
        streamed = isinstance(passed, list)
        self.send_response(status)
        self.send_header("content-type", "text/event-stream" if streamed else "application/json")
        if not streamed:
            data = passed if isinstance(passed, bytes) else json.dumps(passed).encode()
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        for chunk in passed:
            if callable(chunk):
                chunk()
                continue
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n")
            self.wfile.flush()

    do_GET = do_POST = do_PATCH = do_DELETE = _answer


class Gemini(ThreadingHTTPServer):
    """Server that sends the given responses in order, the last one repeatedly: objects or lists of chunks."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, str, Any]] = []
        self._answers: list[tuple[int, Any]] = []

    def next(self) -> tuple[int, Any]:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def will(self, *answers: Any, status: int = 200) -> None:
        self.received.clear()
        self._answers = [one if isinstance(one, tuple) else (status, one) for one in answers]

    def client(self, *, vertex: bool = False, **more: Any) -> Any:
        known = types.HttpOptions.model_fields
        # To load the certificates takes longer than all the rest of a test.
        more |= {name: {"verify": _trust()} for name in ("client_args", "async_client_args") if name in known}
        options = types.HttpOptions(base_url=f"http://127.0.0.1:{self.server_port}", **more)
        if not vertex:
            return genai.Client(api_key="x", http_options=options)
        return genai.Client(
            vertexai=True, project="p", location="l", credentials=Credentials(token="x"), http_options=options
        )


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


async def resolve(value: Any) -> Any:
    """Return ``value``, awaited if it is awaitable."""
    return await value if inspect.isawaitable(value) else value


async def step(stream: Any) -> Any:
    """Return the next item of a synchronous or asynchronous iterator."""
    return await anext(stream) if hasattr(stream, "__anext__") else next(stream)


async def collect(stream: Any, each: Callable[[Any], Any] = lambda item: item) -> list[Any]:
    """Return all items of a synchronous or asynchronous iterable."""
    if hasattr(stream, "__aiter__"):
        return [each(item) async for item in stream]
    return [each(item) for item in stream]
