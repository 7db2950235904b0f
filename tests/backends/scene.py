"""One trace with everything a backend can show, made through the real client libraries."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import openai
from opentelemetry import context as otel
from opentelemetry.sdk.trace import TracerProvider

import llmtrace
from llmtrace.facts import Scope
from llmtrace.scope.context import with_scope

USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "total_tokens": 1200,
    "prompt_tokens_details": {"cached_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 50},
}
CLAUDE_USAGE = {
    "input_tokens": 500,
    "output_tokens": 200,
    "cache_read_input_tokens": 400,
    "cache_creation_input_tokens": 100,
}
QUESTION = "What is the weather in Paris, and who wrote the guide?"
ANSWER = "It is 21 degrees in Paris; the guide is by Anna."
THOUGHT = "The user wants the weather, so the tool has to be asked."
SESSION = "session-7"
DOCUMENTS = [
    {"id": "doc-1", "score": 0.93, "content": "The guide to Paris was written by Anna.", "metadata": {"page": 3}},
    {"id": "doc-2", "content": "The guide to Rome was written by Bruno."},
]


class _Vendor(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path.endswith("/embeddings"):
            vector = {"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}
            answer: Any = {
                "object": "list",
                "model": body["model"],
                "data": [vector],
                "usage": {"prompt_tokens": 8, "total_tokens": 8},
            }
        elif self.path.endswith("/messages"):
            answer = _claude(body)
        else:
            answer = _gpt(body)
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


def _gpt(body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    asked = body["messages"][-1]["role"] == "user"
    if asked:
        function = {"name": "get_weather", "arguments": '{"city":"Paris"}'}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
        message["reasoning_content"] = THOUGHT
    else:
        message["content"] = ANSWER
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if asked else "stop"}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 0,
        "model": "gpt-4o-2024-08-06",
        "choices": [choice],
        "usage": USAGE,
    }


def _claude(body: dict[str, Any]) -> dict[str, Any]:
    head = {"id": "m1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929"}
    content = [{"type": "thinking", "thinking": THOUGHT, "signature": "s"}, {"type": "text", "text": ANSWER}]
    return {**head, "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": CLAUDE_USAGE}


@contextmanager
def vendor() -> Iterator[str]:
    """Both vendors on the loopback interface; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Vendor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


TOOL = {
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def play(provider: TracerProvider) -> str:
    """Make the calls, with content on and the bridges left to the exporter; gives the trace's id in hexadecimal."""
    tracer = provider.get_tracer("scene")
    scope = Scope(feature="travel", user="user-3", session=SESSION, tags=("demo",), metadata={"release": "r1"})
    with (
        llmtrace.instrument(tracer_provider=provider, capture_content=True, bridges="none", strict=True),
        vendor() as url,
        _scoped(scope),
        tracer.start_as_current_span(
            "invoke_agent guide", attributes={**_told(), **_kind("invoke_agent", "agent.name", "guide")}
        ) as root,
    ):
        with openai.OpenAI(base_url=url, api_key="k") as client:
            client.embeddings.create(model="text-embedding-3-small", input=QUESTION)
            _retrieve(tracer)
            messages: list[Any] = [
                {"role": "system", "content": "You are a guide."},
                {"role": "user", "content": QUESTION},
            ]
            answer = client.chat.completions.create(
                model="gpt-4o", messages=messages, tools=[{"type": "function", "function": TOOL}], temperature=0.2
            )
            _call_tool(tracer)
            messages += [
                answer.choices[0].message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": "call_1", "content": '{"degrees": 21}'},
            ]
            client.chat.completions.create(model="gpt-4o", messages=messages)
        with anthropic.Anthropic(base_url=url, api_key="k") as claude:
            claude.messages.create(
                model="claude-sonnet-4-5",
                max_tokens=99,
                system="You are a guide.",
                messages=[{"role": "user", "content": QUESTION}],
            )
        return f"{root.get_span_context().trace_id:032x}"


@contextmanager
def _scoped(scope: Scope) -> Iterator[None]:
    token = otel.attach(with_scope(otel.get_current(), scope))
    try:
        yield
    finally:
        otel.detach(token)


def _told() -> dict[str, Any]:
    return {"session.id": SESSION, "user.id": "user-3", "llmtrace.feature": "travel"}


def _kind(operation: str, name: str, value: str) -> dict[str, Any]:
    return {"gen_ai.operation.name": operation, f"gen_ai.{name}": value}


def _retrieve(tracer: Any) -> None:
    attributes = {**_told(), **_kind("retrieval", "data_source.id", "guides"), "gen_ai.retrieval.top_k": 2}
    attributes |= {"gen_ai.retrieval.query.text": QUESTION, "gen_ai.retrieval.documents": json.dumps(DOCUMENTS)}
    with tracer.start_as_current_span("retrieval guides", attributes=attributes):
        pass


def _call_tool(tracer: Any) -> None:
    attributes = {**_told(), **_kind("execute_tool", "tool.name", "get_weather"), "gen_ai.tool.call.id": "call_1"}
    attributes |= {"gen_ai.tool.call.arguments": '{"city":"Paris"}', "gen_ai.tool.call.result": '{"degrees":21}'}
    with tracer.start_as_current_span("execute_tool get_weather", attributes=attributes):
        pass
