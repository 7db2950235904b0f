"""One trace with everything a backend can show, made through the real client libraries."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import openai

import llmtrace

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
SESSION = os.environ.get("SCENE_SESSION", "session-7")
TEMPLATE = "You are a {role}."
SPANS = 9
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
    requested = body["messages"][-1]["role"] == "user"
    if requested:
        function = {"name": "get_weather", "arguments": '{"city":"Paris"}'}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
        message["reasoning_content"] = THOUGHT
    else:
        message["content"] = ANSWER
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if requested else "stop"}
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


def play() -> str:
    """Make the calls where the environment says, with content on; gives the trace's id in hexadecimal."""
    with (
        llmtrace.instrument(capture_content=True, strict=True),
        vendor() as url,
        llmtrace.tag(feature="travel", user="user-3", session=SESSION, tags=("demo",), release="r1"),
        llmtrace.collect() as calls,
        llmtrace.agent("guide") as guide,
    ):
        with openai.OpenAI(base_url=url, api_key="k") as client:
            client.embeddings.create(model="text-embedding-3-small", input=QUESTION)
            with llmtrace.retrieval("guides", query=QUESTION, top_k=2) as search:
                search.add([llmtrace.Document(**document) for document in DOCUMENTS])
            with llmtrace.rerank("ranker", query=QUESTION) as ranked:
                ranked.add(DOCUMENTS)
            with llmtrace.prompt("guide", version="3", template=TEMPLATE, variables={"role": "guide"}):
                _ask(client)
        with anthropic.Anthropic(base_url=url, api_key="k") as claude:
            claude.messages.create(
                model="claude-sonnet-4-5",
                max_tokens=99,
                system="You are a guide.",
                messages=[{"role": "user", "content": QUESTION}],
            )
        with suppress(LookupError), llmtrace.tool("get_author"):
            raise LookupError("no such guide")
        guide.result(ANSWER)
        llmtrace.score("helpful", 0.9, label="yes")
    assert llmtrace.flush(30.0)
    return calls[-1].trace_id


def _ask(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "system", "content": "You are a guide."}, {"role": "user", "content": QUESTION}]
    answer = client.chat.completions.create(
        model="gpt-4o",
        messages=messages,
        tools=[{"type": "function", "function": TOOL}],
        temperature=0.2,  # type: ignore[list-item]
    )
    with llmtrace.tool("get_weather", arguments={"city": "Paris"}, call_id="call_1") as tool:
        tool.result({"degrees": 21})
    messages.append(answer.choices[0].message.model_dump(exclude_none=True))
    messages.append({"role": "tool", "tool_call_id": "call_1", "content": '{"degrees": 21}'})
    client.chat.completions.create(model="gpt-4o", messages=messages)


if __name__ == "__main__":
    print(play())
