"""A loopback server that imitates the vendors whose libraries the programs of the documentation use."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aws_frames import aws_frame
from serving import serving

TEXT = "The sky is blue because air scatters blue light."


class Vendor(BaseHTTPRequestHandler):
    """Handler of the paths that the documentation uses. Every response has the same text."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("upgrade") == "websocket":
            from docs_sockets import serve_socket

            serve_socket(self)
        elif self.path.endswith("/results"):
            self._lines(
                [
                    {
                        "custom_id": "first",
                        "result": {"type": "succeeded", "message": _message({"model": "claude-sonnet-4-5"})},
                    }
                ]
            )
        elif "/messages/batches/" in self.path:
            self._json({"id": "b", "results_url": f"http://{self.headers['host']}{self.path}/results"})
        else:
            self._json({"status": "ok"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        path = self.path.partition("?")[0]
        if path.endswith("/chat/completions"):
            chunks = _mistral_chunks if path.startswith("/mistral/") else _chat_chunks
            self._events(chunks(body)) if body.get("stream") else self._json(_completion(body))
        elif path == "/v2/chat":
            self._events(_cohere_events())
        elif path == "/api/chat":
            self._lines(_ollama_chunks(body))
        elif path.endswith("/messages"):
            self._events(_message_events(body)) if body.get("stream") else self._json(_message(body))
        elif path.endswith(":generateContent"):
            self._json(_gemini(path))
        elif path.endswith(":streamGenerateContent"):
            self._events([("", _gemini(path))])
        elif path.endswith("/converse-stream"):
            self._frames(_converse_events())
        else:  # an OTLP endpoint accepts everything
            plain = (respond(body) for end, respond in PLAIN.items() if path.endswith(end))
            self._json(next(plain, {}))

    def log_message(self, format: str, *args: Any) -> None: ...

    def _json(self, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _lines(self, items: Any) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.send_header("connection", "close")
        self.end_headers()
        for item in items:
            self.wfile.write(json.dumps(item).encode() + b"\n")

    def _frames(self, events: list[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/vnd.amazon.eventstream")
        self.send_header("connection", "close")
        self.end_headers()
        for event in events:
            for kind, body in event.items():
                self.wfile.write(aws_frame(kind, body))

    def _events(self, events: Any) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for name, data in events:
            time.sleep(0.002)
            text = data if isinstance(data, str) else json.dumps(data)
            self.wfile.write((f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode())
            self.wfile.flush()


def _usage() -> dict[str, Any]:
    details = {"cached_tokens": 0}
    return {"prompt_tokens": 14, "completion_tokens": 11, "total_tokens": 25, "prompt_tokens_details": details}


def _head(body: Any, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-docs", "object": kind, "created": 1_750_000_000, "model": body["model"]}


def _completion(body: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": TEXT}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return {**_head(body, "chat.completion"), "choices": choices, "usage": _usage()}


def _chat_chunks(body: Any) -> Iterator[tuple[str, Any]]:
    head = _head(body, "chat.completion.chunk")
    for word in TEXT.split(" "):
        delta = {"role": "assistant", "content": word + " "}
        yield "", {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield "", {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield "", {**head, "choices": [], "usage": _usage()}
    yield "", "[DONE]"


def _mistral_chunks(body: Any) -> Iterator[tuple[str, Any]]:
    *chunks, (_, last), end = _chat_chunks(body)
    yield from (*chunks, ("", {**last, "usage": _usage()}), end)


def _cohere_events() -> Iterator[tuple[str, Any]]:
    yield "message-start", {"type": "message-start", "id": "docs", "delta": {"message": {"role": "assistant"}}}
    for word in TEXT.split(" "):
        delta = {"message": {"content": {"text": word + " "}}}
        yield "content-delta", {"type": "content-delta", "index": 0, "delta": delta}
    usage = {"billed_units": {"input_tokens": 6, "output_tokens": 11}}
    yield "message-end", {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}}
    yield "", "[DONE]"


def _ollama_chunks(body: Any) -> Iterator[dict[str, Any]]:
    for word in TEXT.split(" "):
        yield {"model": body["model"], "message": {"role": "assistant", "content": word + " "}, "done": False}
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 14, "eval_count": 11}
    yield {"model": body["model"], "message": {"role": "assistant", "content": ""}, **end}


def _response(body: Any) -> dict[str, Any]:
    text = {"type": "output_text", "text": TEXT, "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    return {
        **{"id": "resp_docs", "object": "response", "created_at": 1_750_000_000, "model": body["model"]},
        **{"status": "completed", "output": [message], "parallel_tool_calls": True, "tool_choice": "auto", "tools": []},
        "usage": {"input_tokens": 14, "output_tokens": 11, "total_tokens": 25, **details},
    }


def _embeddings(body: Any) -> dict[str, Any]:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [{"object": "embedding", "index": n, "embedding": [0.1, 0.2, 0.3]} for n, _ in enumerate(texts)]
    head = {"id": "emb-docs", "object": "list", "model": body["model"]}
    return {**head, "data": data, "usage": {"prompt_tokens": 8, "total_tokens": 8}}


def _message(body: Any) -> dict[str, Any]:
    return {
        **{"id": "msg_docs", "type": "message", "role": "assistant", "model": body["model"]},
        **{"content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"input_tokens": 14, "output_tokens": 11},
    }


def _message_events(body: Any) -> Iterator[tuple[str, Any]]:
    start = {**_message(body), "content": [], "stop_reason": None, "usage": {"input_tokens": 14, "output_tokens": 1}}
    yield "message_start", {"type": "message_start", "message": start}
    block = {"type": "text", "text": ""}
    yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}
    for word in TEXT.split(" "):
        delta = {"type": "text_delta", "text": word + " "}
        yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield "message_delta", {"type": "message_delta", "delta": end, "usage": {"output_tokens": 11}}
    yield "message_stop", {"type": "message_stop"}


def _converse() -> dict[str, Any]:
    message = {"role": "assistant", "content": [{"text": TEXT}]}
    usage = {"inputTokens": 14, "outputTokens": 11, "totalTokens": 25}
    metrics = {"latencyMs": 5}
    return {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": metrics}


def _converse_events() -> list[dict[str, Any]]:
    response = _converse()
    texts = [{"contentBlockIndex": 0, "delta": {"text": word + " "}} for word in TEXT.split(" ")]
    deltas = [{"contentBlockDelta": text} for text in texts]
    end = {"usage": response["usage"], "metrics": response["metrics"]}
    return [
        {"messageStart": {"role": "assistant"}},
        *deltas,
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": end},
    ]


def _gemini(path: str) -> dict[str, Any]:
    model = path.rpartition("/")[2].partition(":")[0]
    content = {"role": "model", "parts": [{"text": TEXT}]}
    usage = {"promptTokenCount": 14, "candidatesTokenCount": 11, "totalTokenCount": 25}
    candidates = [{"content": content, "finishReason": "STOP"}]
    return {"candidates": candidates, "usageMetadata": usage, "modelVersion": model, "responseId": "docs"}


def _rerank(body: Any) -> dict[str, Any]:
    ranked = [{"index": 0, "relevance_score": 0.9}]
    return {"id": "docs", "results": ranked, "data": ranked, "model": body["model"], "usage": _usage()}


PLAIN: dict[str, Callable[[Any], Any]] = {
    "/responses": _response,
    "/embeddings": _embeddings,
    "/v2/embed": lambda body: {"id": "docs", "response_type": "embeddings_by_type", "embeddings": {"float": [[0.1]]}},
    "/api/embed": lambda body: {"model": body["model"], "embeddings": [[0.1, 0.2]], "prompt_eval_count": 4},
    "/rerank": _rerank,
    "/converse": lambda body: _converse(),
    "/invoke": lambda body: {"embedding": [0.1, 0.2, 0.3], "inputTextTokenCount": 8},
}
"""Functions from a request to its response, by the end of the path."""


@contextmanager
def vendors() -> Iterator[str]:
    """Run the server and yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    server.daemon_threads = True
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"
