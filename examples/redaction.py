"""Redact what is recorded: built-in detectors, presidio or datafog. Run ``python examples/redaction.py``, offline."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import openai

import llmtrace


def presidio() -> Callable[[str], str]:
    """Names and places too: pip install presidio-analyzer presidio-anonymizer, and a language model of spaCy."""
    from presidio_analyzer import AnalyzerEngine
    from presidio_anonymizer import AnonymizerEngine

    analyzer, anonymizer = AnalyzerEngine(), AnonymizerEngine()
    return lambda text: anonymizer.anonymize(text, analyzer.analyze(text, language="en")).text


def datafog() -> Callable[[str], str]:
    """pip install datafog."""
    from datafog import sanitize

    return lambda text: str(sanitize(text))


class Vendor(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "I have written to jane@example.com."}
        answer = {"id": "1", "model": "gpt-4.1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        body = json.dumps({**answer, "object": "chat.completion", "created": 0}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


if __name__ == "__main__":
    import os

    os.environ["OTEL_TRACES_EXPORTER"] = "console"
    llmtrace.instrument(capture_content=True, redact="builtin")  # or redact=presidio(), or redact=datafog()
    server = HTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none") as client:
        question = "Write to jane@example.com, her card is 4111 1111 1111 1111."
        print(client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": question}]).id)
    llmtrace.shutdown()
    server.shutdown()
