"""A stand-in for OpenAI and Anthropic on the loopback interface, for the demo. All texts are invented."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["serve"]

_PAUSE = 0.02
_Event = tuple[str | None, dict[str, Any] | str]
_ANSWER = (
    "To rotate ",
    "a signing key, ",
    "open Settings, ",
    "choose Keys ",
    "and press Rotate. ",
    "The old key ",
    "stays valid ",
    "for 24 hours.",
)
_STATUS = ("All services ", "are up; ", "the key service ", "was last restarted ", "on Monday.")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        try:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
        except ValueError:
            body = None
        path = self.path.partition("?")[0]
        if not isinstance(body, dict):
            self._json(400, {"error": {"type": "invalid_request_error", "message": "the body is not a JSON object"}})
        elif path == "/v1/chat/completions":
            self._chat(body)
        elif path == "/v1/embeddings":
            self._embeddings(body)
        elif path == "/v1/messages":
            self._messages(body)
        else:
            self._json(404, {"error": {"type": "not_found_error", "message": f"no such path: {path}"}})

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the demo's output is its spans."""

    def _chat(self, body: dict[str, Any]) -> None:
        about = {"id": "chatcmpl-demo-1", "created": 1_750_000_000, "model": body.get("model", "gpt-4.1-mini")}
        usage = {"prompt_tokens": 182, "completion_tokens": 31, "total_tokens": 213}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(_ANSWER)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._json(200, {**about, "object": "chat.completion", "choices": [choice], "usage": usage})
            return

        def events() -> Iterator[_Event]:
            chunk = {**about, "object": "chat.completion.chunk"}
            for position, piece in enumerate(_ANSWER):
                delta = {"content": piece} if position else {"role": "assistant", "content": piece}
                yield None, {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
            yield None, {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            if (body.get("stream_options") or {}).get("include_usage"):
                yield None, {**chunk, "choices": [], "usage": usage}
            yield None, "[DONE]"

        self._stream(events())

    def _embeddings(self, body: dict[str, Any]) -> None:
        given = body.get("input")
        count = len(given) if isinstance(given, list) else 1
        vector = [0.12, -0.05, 0.31, 0.08]
        data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)]
        usage = {"prompt_tokens": 9 * count, "total_tokens": 9 * count}
        self._json(200, {"object": "list", "data": data, "model": body.get("model"), "usage": usage})

    def _messages(self, body: dict[str, Any]) -> None:
        answered = any(
            isinstance(block, dict) and block.get("type") == "tool_result"
            for message in body.get("messages") or ()
            if isinstance(message, dict) and isinstance(message.get("content"), list)
            for block in message["content"]
        )
        block: dict[str, Any]
        if answered:
            block, stop, tokens = {"type": "text", "text": "".join(_STATUS)}, "end_turn", (468, 22)
        else:
            call = {"type": "tool_use", "id": "toolu_demo_1", "name": "service_status"}
            block, stop, tokens = {**call, "input": {"service": "keys"}}, "tool_use", (391, 47)
        usage = {"input_tokens": tokens[0], "output_tokens": tokens[1]}
        message: dict[str, Any] = {
            "id": "msg_demo_2" if answered else "msg_demo_1",
            "type": "message",
            "role": "assistant",
            "model": body.get("model", "claude-sonnet-4-5"),
            "content": [block],
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": usage,
        }
        if not body.get("stream"):
            time.sleep(2 * _PAUSE)
            self._json(200, message)
            return

        def events() -> Iterator[_Event]:
            start = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
            yield "message_start", {"type": "message_start", "message": start}
            empty = {**block, "text": ""} if answered else {**block, "input": {}}
            yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": empty}
            pieces = _STATUS if answered else (json.dumps(block["input"]),)
            for piece in pieces:
                delta = (
                    {"type": "text_delta", "text": piece}
                    if answered
                    else {"type": "input_json_delta", "partial_json": piece}
                )
                yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
            yield "content_block_stop", {"type": "content_block_stop", "index": 0}
            end = {"stop_reason": stop, "stop_sequence": None}
            yield "message_delta", {"type": "message_delta", "delta": end, "usage": {"output_tokens": tokens[1]}}
            yield "message_stop", {"type": "message_stop"}

        self._stream(events())

    def _json(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: Iterable[_Event]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for name, data in events:
            time.sleep(_PAUSE)
            head = f"event: {name}\n" if name else ""
            text = data if isinstance(data, str) else json.dumps(data)
            self.wfile.write(f"{head}data: {text}\n\n".encode())
            self.wfile.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up early is no news."""


@contextmanager
def serve() -> Iterator[str]:
    """Run the server in a thread; the value is its base URL."""
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="llmtrace-demo", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(2.0)
