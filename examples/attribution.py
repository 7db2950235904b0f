"""Say what calls are for, and sum them up, offline. Run ``python examples/attribution.py``."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
from opentelemetry.sdk.trace import TracerProvider

import llmtrace
from llmtrace import ContextExecutor, collect, score, tag, tool, workflow

ANSWER = {
    "id": "chatcmpl-example",
    "object": "chat.completion",
    "created": 0,
    "model": "gpt-4.1-mini-2025-04-14",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Sunny."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14},
}


class Vendor(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


server = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none")
llmtrace.instrument(tracer_provider=TracerProvider())


@tool("weather")
def weather(city: str) -> str | None:
    messages = [{"role": "user", "content": f"What is the weather in {city}?"}]
    return client.chat.completions.create(model="gpt-4.1-mini", messages=messages).choices[0].message.content


with (
    collect() as calls,
    tag(feature="travel", user="u-17", plan="pro"),
    workflow("trip", rollup=True),
    ContextExecutor(2) as pool,
):
    print(list(pool.map(weather, ["Paris", "Rome"])))
score("helpful", 1, label="yes", on=calls[-1])
print(len(calls), "calls for", {call.user for call in calls}, calls.usage.input, "input tokens")
print("in one trace:", len({call.trace_id for call in calls}) == 1)
server.shutdown()
