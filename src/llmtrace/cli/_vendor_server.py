"""Local server that imitates OpenAI and Anthropic for the demo. All texts are invented."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PLAN = "x-demo-plan"
"""Request header with the demo's wishes for the response, as JSON: ``input``, ``cached``, ``output`` (tokens),
``pause`` (seconds), ``status`` (of an error response), ``finish``, ``tool``."""
_Event = tuple[str | None, dict[str, Any] | str]
_WORDS = (
    "To rotate ", "a signing key, ", "open Settings, ", "choose Keys ", "and press Rotate. ", "The old key ",
    "stays valid ", "for 24 hours.",
)  # fmt: skip
_PLAIN: dict[str, Any] = {"input": 182, "cached": 0, "output": 31, "pause": 0.01, "status": 200, "finish": "stop"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer a request as its ``x-demo-plan`` header specifies."""
        try:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            plan = {**_PLAIN, **json.loads(self.headers.get(PLAN) or "{}")}
        except ValueError:
            body = None
        path = self.path.partition("?")[0]
        routes = {
            "/v1/chat/completions": self._chat,
            "/v1/embeddings": self._embeddings,
            "/v1/messages": self._messages,
        }
        if not isinstance(body, dict):
            self._json(400, {"error": {"type": "invalid_request_error", "message": "the body is not a JSON object"}})
        elif path not in routes:
            self._json(404, {"error": {"type": "not_found_error", "message": f"unknown path: {path}"}})
        elif plan["status"] != 200:
            error = {"type": "rate_limit_error", "message": "slow down", "code": "rate_limit_exceeded"}
            self._json(plan["status"], {"type": "error", "error": error})
        else:
            routes[path](body, plan)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the demo prints a report only."""

    def _chat(self, body: dict[str, Any], plan: dict[str, Any]) -> None:
        model = f"{body.get('model')}-2025-04-14"
        metadata = {"id": "chatcmpl-demo-1", "created": 1_750_000_000, "model": model}
        usage = {
            "prompt_tokens": plan["input"],
            "completion_tokens": plan["output"],
            "total_tokens": plan["input"] + plan["output"],
            "prompt_tokens_details": {"cached_tokens": plan["cached"]},
        }
        if not body.get("stream"):
            time.sleep(4 * plan["pause"])
            message = {"role": "assistant", "content": "".join(_WORDS)}
            choice = {"index": 0, "message": message, "finish_reason": plan["finish"]}
            self._json(200, {**metadata, "object": "chat.completion", "choices": [choice], "usage": usage})
            return

        def events() -> Iterator[_Event]:
            chunk = {**metadata, "object": "chat.completion.chunk"}
            for position, piece in enumerate(_WORDS):
                delta = {"content": piece} if position else {"role": "assistant", "content": piece}
                yield None, {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
            yield None, {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": plan["finish"]}]}
            if (body.get("stream_options") or {}).get("include_usage"):
                yield None, {**chunk, "choices": [], "usage": usage}
            yield None, "[DONE]"

        self._stream(events(), plan["pause"])

    def _embeddings(self, body: dict[str, Any], plan: dict[str, Any]) -> None:
        data = [{"object": "embedding", "index": 0, "embedding": [0.12, -0.05, 0.31, 0.08]}]
        usage = {"prompt_tokens": plan["input"], "total_tokens": plan["input"]}
        self._json(200, {"object": "list", "data": data, "model": body.get("model"), "usage": usage})

    def _messages(self, body: dict[str, Any], plan: dict[str, Any]) -> None:
        block: dict[str, Any] = {"type": "text", "text": "".join(_WORDS)}
        if plan.get("tool"):
            block = {"type": "tool_use", "id": "toolu_demo_1", "name": plan["tool"], "input": {"service": "keys"}}
        usage = {
            "input_tokens": plan["input"] - plan["cached"],
            "cache_read_input_tokens": plan["cached"],
            "output_tokens": plan["output"],
        }
        message: dict[str, Any] = {
            "id": "msg_demo_1",
            "type": "message",
            "role": "assistant",
            "model": body.get("model"),
            "content": [block],
            "stop_reason": "tool_use" if plan.get("tool") else "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }
        time.sleep(8 * plan["pause"])
        self._json(200, message)

    def _json(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: Iterable[_Event], pause: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        with suppress(ConnectionError):  # the client may disconnect early
            for name, data in events:
                time.sleep(pause)
                head = f"event: {name}\n" if name else ""
                text = data if isinstance(data, str) else json.dumps(data)
                self.wfile.write(f"{head}data: {text}\n\n".encode())
                self.wfile.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of clients that disconnect early."""


@contextmanager
def serve() -> Iterator[str]:
    """Run the server in a thread and yield its base URL."""
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="llmtrace-demo", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(2.0)
