"""A vendor on this machine, so that the examples need no network, no key and no money."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Answering(BaseHTTPRequestHandler):
    answers: list[Any]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def vendor(*answers: Any) -> Iterator[str]:
    """The address of a server that gives ``answers`` one after the other, and the last one from then on."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Vendor", (_Answering,), {"answers": list(answers)}))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def completion(said: str, *, model: str = "gpt-4.1-mini-2025-04-14", prompt: int = 12, cached: int = 0) -> Any:
    """An answer of OpenAI's."""
    usage = {"prompt_tokens": prompt, "completion_tokens": 64, "total_tokens": prompt + 64}
    return {
        "id": "chatcmpl-example",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
        "usage": {**usage, "prompt_tokens_details": {"cached_tokens": cached}},
    }
