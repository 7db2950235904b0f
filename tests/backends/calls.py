"""A program that makes calls to a vendor on the loopback interface: cheap, expensive, failing and scored ones."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai

import llmtrace

FEATURES = {"cheap": "gpt-4o-mini", "expensive": "gpt-4", "failing": "gpt-4o-mini", "scored": "gpt-4o-mini"}
"""Model of each feature. Each call is one trace, in the span of a workflow."""


class _Vendor(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        failing = body["messages"][0]["content"] == "failing"
        answer = {"error": {"message": "no"}} if failing else chat(body["model"])
        data = json.dumps(answer).encode()
        self.send_response(429 if failing else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


def chat(model: str) -> dict[str, object]:
    message = {"role": "assistant", "content": "yes"}
    usage = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return {"id": "c", "object": "chat.completion", "created": 0, "model": model, "choices": choices, "usage": usage}


def main(count: int) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Vendor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pause = float(os.environ.get("CALL_PAUSE", "0"))
    features = list(FEATURES)
    with (
        llmtrace.instrument(strict=True),
        openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}", api_key="k", max_retries=0) as client,
    ):
        for number in range(count):
            feature = features[number % len(features)]
            with llmtrace.tag(feature=feature), llmtrace.workflow("answer"), suppress(openai.RateLimitError):
                client.chat.completions.create(model=FEATURES[feature], messages=[{"role": "user", "content": feature}])
                if feature == "scored":
                    llmtrace.score("thumbs", 1)
            time.sleep(pause)
        assert llmtrace.flush(120)
    server.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
