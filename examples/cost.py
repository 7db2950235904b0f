"""What calls cost, and a budget that stops them, without a network: the vendor is a local stand-in.

Run it with ``python examples/cost.py`` after ``pip install "llmtrace-otel[openai]"``.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

USAGE = {
    "prompt_tokens": 1200,
    "completion_tokens": 64,
    "total_tokens": 1264,
    "prompt_tokens_details": {"cached_tokens": 1024},
}
SAID = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Rayleigh scattering."}}
ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [SAID],
    "usage": USAGE,
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

    def log_message(self, *_: object) -> None:
        pass


server = HTTPServer(("127.0.0.1", 0), Vendor)
threading.Thread(target=server.serve_forever, daemon=True).start()
spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
llmtrace.instrument(tracer_provider=provider)
llmtrace.budget("demo", usd="0.00025", per="total", by=None, action="block")

client = openai.OpenAI(api_key="none", base_url=f"http://127.0.0.1:{server.server_port}/v1")
for _ in range(3):
    try:
        client.chat.completions.create(
            model="gpt-4o-mini", max_tokens=64, messages=[{"role": "user", "content": "Why is the sky blue?"}]
        )
    except llmtrace.BudgetExceeded as refusal:
        print("refused:", refusal)
llmtrace.flush()
for span in spans.get_finished_spans():
    print({name: value for name, value in (span.attributes or {}).items() if "cost" in name or "budget" in name})
