"""Calls and operations of every span type that llmtrace records, with all that a provider can report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import ThreadingHTTPServer
from typing import Any

import anthropic
import openai

import llmtrace
from serving import QuietHandler, serving

DETAILS = {
    **{"cached_tokens": 400, "cache_write_tokens": 100},
    **{"text_tokens": 700, "image_tokens": 200, "audio_tokens": 100},
}
USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "total_tokens": 1200,
    "prompt_tokens_details": DETAILS,
    "completion_tokens_details": {"reasoning_tokens": 50, "text_tokens": 100, "audio_tokens": 50},
}
QUESTION: Any = [{"role": "user", "content": "Why is the sky blue?"}]
TOOLS: Any = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


class _Vendor(QuietHandler):
    def do_GET(self) -> None:
        body = {"id": "resp_1", "object": "response", "status": "completed", "model": "gpt-5", "service_tier": "flex"}
        self._answer({**body, "output": [], "instructions": "Be brief.", "tools": []})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path.endswith("/embeddings"):
            vector = {"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}
            self._answer({"object": "list", "model": body["model"], "data": [vector],
                          "usage": {"prompt_tokens": 8, "total_tokens": 8}})  # fmt: skip
        elif self.path.endswith("/runs"):
            self._answer({"id": "run_1", "object": "thread.run", "status": "completed", "assistant_id": "asst_1",
                          "thread_id": "thread_1", "model": "gpt-5", "usage": USAGE})  # fmt: skip
        elif self.path.endswith("/messages"):
            usage = {"input_tokens": 500, "output_tokens": 200, "cache_read_input_tokens": 400,
                     "cache_creation_input_tokens": 100}  # fmt: skip
            self._answer({"id": "m1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6",
                          "content": [{"type": "text", "text": "Scattering."}], "stop_reason": "end_turn",
                          "usage": usage})  # fmt: skip
        elif self.path.endswith("/moderations"):
            self._answer({"id": "modr-1", "model": body["model"], "results": []})
        elif body["model"] == "broken":
            self._answer({"error": {"message": "no", "code": "rate_limit"}}, 429)
        else:
            self._chat(body)

    def _chat(self, body: dict[str, Any]) -> None:
        head: dict[str, Any] = {"id": "c1", "created": 0, "model": "gpt-4o-2024-08-06", "service_tier": "flex"}
        head["system_fingerprint"] = "fp"
        if body.get("stream"):
            delta = {"index": 0, "delta": {"role": "assistant", "content": "Scattering."}, "finish_reason": None}
            end = {"index": 0, "delta": {}, "finish_reason": "stop"}
            events = [{**head, "object": "chat.completion.chunk", "choices": [choice]} for choice in (delta, end)]
            events.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": USAGE})
            text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
            self._answer(text.encode(), kind="text/event-stream")
            return
        choice = {"index": 0, "message": {"role": "assistant", "content": "Scattering."}, "finish_reason": "stop"}
        self._answer({**head, "object": "chat.completion", "choices": [choice], "usage": USAGE})

    def _answer(self, body: Any, status: int = 200, kind: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def _vendor() -> Iterator[str]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), _Vendor)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@llmtrace.tool("look")
def _look(up: bool) -> dict[str, str]:
    """Look at the sky."""
    return {"colour": "blue"}


def play() -> None:
    """Make the calls, inside an instrumentation that the caller has started."""
    with (
        _vendor() as url,
        openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client,
        anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as claude,
        llmtrace.tag(feature="sky", session="s1"),
        llmtrace.workflow("answer"),
        llmtrace.agent("guide"),
    ):
        with llmtrace.retrieval("physics", query="sky", top_k=1) as search:
            search.add([llmtrace.Document("d1", 0.9, "Rayleigh", {"page": 1})])
        with llmtrace.rerank("ranker", query="sky") as ranked:
            ranked.add(["d1"])
        _look(up=True)
        with llmtrace.tool("look", arguments={"up": False}, call_id="call_1"):
            pass
        with llmtrace.prompt("sky", version="2", template="Why {x}?", variables={"x": "blue"}):
            _call_openai(client)
            client.embeddings.create(model="text-embedding-3-small", input="sky", dimensions=2, encoding_format="float")
        claude.messages.create(
            model="claude-sonnet-4-6", max_tokens=9, system="Be brief.", messages=QUESTION, extra_body={"top_k": 5}
        )
        llmtrace.score("clear", 1, label="good", explanation="short")


def _call_openai(client: openai.OpenAI) -> None:
    chat = client.chat.completions
    chat.create(model="gpt-4o", messages=QUESTION, temperature=1, top_p=1, max_tokens=9, seed=7, n=2, stop=["."],
                frequency_penalty=0, presence_penalty=0, reasoning_effort="low", service_tier="flex", tools=TOOLS,
                response_format={"type": "json_object"})  # fmt: skip
    for _ in chat.create(model="gpt-4o", messages=QUESTION, stream=True, stream_options={"include_usage": True}):
        pass
    with suppress(openai.RateLimitError):
        chat.create(model="broken", messages=QUESTION)
    client.moderations.create(model="omni-moderation-latest", input="sky")
    client.responses.retrieve("resp_1")
    client.beta.threads.runs.create("thread_1", assistant_id="asst_1", model="gpt-5", instructions="Be brief.")
