"""A loopback vendor for the examples, which therefore need no network and no API key."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    responses: list[Any]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"] or 0))
        response = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        is_stream = isinstance(response, list)
        events = [f"data: {json.dumps(event)}\n\n" for event in response if is_stream]
        body = ("".join([*events, "data: [DONE]\n\n"]) if is_stream else json.dumps(response)).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if is_stream else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, *_: object) -> None: ...


@contextmanager
def vendor(*responses: Any) -> Iterator[str]:
    """Serve ``responses`` one after the other, then the last one again, and yield the address of the server.

    A list is served as a stream of events.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Vendor", (_Handler,), {"responses": list(responses)}))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def completion(text: str, *, model: str = "gpt-4.1-mini-2025-04-14", prompt: int = 12, cached: int = 0) -> Any:
    """Return a chat completion with this text."""
    usage = {"prompt_tokens": prompt, "completion_tokens": 64, "total_tokens": prompt + 64}
    return {
        "id": "chatcmpl-example",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {**usage, "prompt_tokens_details": {"cached_tokens": cached}},
    }


def tool_request(name: str, arguments: Any) -> Any:
    """Return a chat completion that requests a call of a tool."""
    response = completion("")
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {**response, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}


def tool_chunks(name: str, arguments: Any) -> list[Any]:
    """Return the chunks of a streamed chat completion that requests a call of a tool, and its usage."""
    call = {"index": 0, "id": "call_1", "type": "function"}
    call["function"] = {"name": name, "arguments": json.dumps(arguments)}
    first, *_, end, usage = chunks("a b")
    first["choices"][0]["delta"] = {"role": "assistant", "tool_calls": [call]}
    end["choices"][0]["finish_reason"] = "tool_calls"
    return [first, end, usage]


def print_tree(spans: Any, under: Any = None, indent: str = "") -> None:
    """Print the names of the spans as a tree, with the cost of each call."""
    for span in sorted(spans, key=lambda span: span.start_time):
        if (span.parent.span_id if span.parent else None) == under:
            cost = span.attributes.get("llm.cost.total")
            print(indent + span.name, "" if cost is None else f"{cost:.7f} USD")
            print_tree(spans, span.context.span_id, indent + "  ")


def chunks(text: str, *, model: str = "gpt-4.1-mini-2025-04-14") -> list[Any]:
    """Return the chunks of a streamed chat completion with this text, and its usage."""
    head = {"id": "chatcmpl-example", "object": "chat.completion.chunk", "created": 0, "model": model}
    deltas = [{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None} for word in text.split()]
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 12, "completion_tokens": len(deltas), "total_tokens": 12 + len(deltas)}
    return [*({**head, "choices": [choice]} for choice in (*deltas, end)), {**head, "choices": [], "usage": usage}]
