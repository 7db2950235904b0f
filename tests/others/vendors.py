"""A loopback server that responds as OpenAI, Anthropic and Gemini do, with 7 input and 3 output tokens each."""

from __future__ import annotations

import json
from typing import Any

from answers import CHAT, CHAT_CHUNKS, MESSAGE, MESSAGE_EVENTS, RESPONSE, RESPONSE_EVENTS, sse
from loopback import Loopback, ReceivedRequest, ServerResponse, json_answer, stream_answer

__all__ = ["CLAUDE", "EMBEDDING_MODEL", "GEMINI", "GPT", "Vendors"]

GPT, EMBEDDING_MODEL, CLAUDE, GEMINI = "gpt-4o", "text-embedding-3-small", "claude-sonnet-4-6", "gemini-2.5-flash"
_GENERATED = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hé"}]}, "finishReason": "STOP"}],
    "modelVersion": GEMINI,
    "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10},
}
_EMBEDDINGS = {
    "object": "list",
    "model": EMBEDDING_MODEL,
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}


def _renamed(events: list[dict[str, Any]], key: str, model: str) -> list[dict[str, Any]]:
    return [{**event, key: {**event[key], "model": model}} if key in event else event for event in events]


_COMPLETE: dict[str, Any] = {
    "/chat/completions": {**CHAT, "model": GPT},
    "/embeddings": _EMBEDDINGS,
    "/responses": {**RESPONSE, "model": GPT},
    "/messages": {**MESSAGE, "model": CLAUDE},
    ":generateContent": _GENERATED,
}
_STREAMED: dict[str, list[bytes]] = {
    "/chat/completions": sse([{**chunk, "model": GPT} for chunk in CHAT_CHUNKS], done=True),
    "/responses": sse(_renamed(RESPONSE_EVENTS, "response", GPT)),
    "/messages": sse(_renamed(MESSAGE_EVENTS, "message", CLAUDE)),
    ":streamGenerateContent": [b"data: %s\n\n" % json.dumps(_GENERATED).encode()],
}


class Vendors(Loopback):
    """Server that chooses the response by the path, and counts the requests that are calls of a model."""

    def next_answer(self, received: ReceivedRequest) -> ServerResponse:
        """Return the response to a request of a vendor's client, and ``{}`` to what an instrumentation sends."""
        path = received.path.partition("?")[0]
        streamed = "stream" in path or (isinstance(received.body, dict) and received.body.get("stream"))
        for end, body in (_STREAMED if streamed else _COMPLETE).items():
            if path.endswith(end):
                self.received.append(received)
                return stream_answer(body) if isinstance(body, list) else json_answer(body)
        return json_answer({})
