"""Function calling, offline. Each request and each tool is a span: ``python examples/gemini_functions.py``."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from google import genai
from google.genai import types
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

import llmtrace


def answer(part: dict[str, Any], prompt: int, output: int) -> dict[str, Any]:
    content = {"role": "model", "parts": [part]}
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": output, "totalTokenCount": prompt + output}
    return {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": usage}


ANSWERS = [
    answer({"functionCall": {"name": "weather", "args": {"city": "Paris"}}}, 10, 3),
    answer({"text": "It is sunny in Paris."}, 20, 6),
]


class Gemini(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(ANSWERS.pop(0)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def show(span: ReadableSpan) -> str:
    return f"{span.name}: {(span.attributes or {}).get('gen_ai.usage.input_tokens', '-')} tokens in\n"


def weather(city: str) -> str:
    """The weather in a city."""
    return "sunny"


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=show)))
llmtrace.instrument(tracer_provider=provider)
server = HTTPServer(("127.0.0.1", 0), Gemini)
threading.Thread(target=server.serve_forever, daemon=True).start()
options = types.HttpOptions(base_url=f"http://127.0.0.1:{server.server_port}")
client = genai.Client(api_key="none", http_options=options)
chat = client.chats.create(model="gemini-3-flash", config={"tools": [weather]})
print(chat.send_message("What is the weather in Paris?").text)
server.shutdown()
