"""Bodies and streams that no server should send."""

from __future__ import annotations

from typing import Any

from hostile_calls import choice, chunk, tool

__all__ = ["COUNTS", "HOSTILE_CHUNKS", "PLAIN", "RAW"]

COUNTS: dict[str, Any] = {
    "text": "x",
    "list": [1],
    "negative": {"prompt_tokens": -1, "completion_tokens": -5, "input_tokens": -1, "output_tokens": -5},
    "huge": {"prompt_tokens": 10**30, "completion_tokens": 2**63, "input_tokens": 10**30, "output_tokens": 2**63},
    "float": {"prompt_tokens": 1.5, "completion_tokens": 2.0, "input_tokens": 1.5, "output_tokens": 2.0},
    "bool": {"prompt_tokens": True, "completion_tokens": False, "input_tokens": True, "output_tokens": False},
    "text-counts": {"prompt_tokens": "7", "completion_tokens": [], "input_tokens": {}, "output_tokens": None},
    "details": {
        "prompt_tokens": 1,
        "prompt_tokens_details": "x",
        "completion_tokens_details": [None],
        "input_tokens": 1,
        "input_tokens_details": 5,
        "output_tokens_details": "x",
        "cache_creation": [],
        "server_tool_use": "x",
    },
}
PLAIN: dict[str, Any] = {
    "choices-null-item": {"choices": [None]},
    "choices-text": {"choices": "x"},
    "choices-number": {"choices": 3},
    "choices-object": {"choices": {"0": {"finish_reason": "stop"}}},
    "choices-empty": {"choices": []},
    "choice-reason": {"choices": [{"finish_reason": {"a": 1}, "index": None, "message": []}, [], "x"]},
    "output-null-item": {"output": [None, "x", {"type": 3}], "status": "completed"},
    "output-text": {"output": "x", "status": ["completed"], "error": "x", "incomplete_details": "x"},
    "failed": {"status": "failed", "error": [], "output": None, "conversation": "x"},
    "data-null-item": {"data": [None]},
    "data-text": {"data": "x"},
    "vector": {"data": [{"embedding": {"a": 1}}, {"embedding": "not base64!"}]},
    "content-text": {"content": "x", "stop_reason": 4, "id": 5, "model": ["m"]},
    "content-null-item": {"content": [None, "x", {"type": None}], "role": 1},
    "unknown": {"zebra": {"a": [1]}, "id": "i", "choices": [{"stripe": 1}], "type": "zebra"},
    "names": {"id": "", "model": "\ud800", "service_tier": "\x00", "system_fingerprint": "f" * 5000},
    "empty": {},
    "list": [],
    "list-of-null": [None],
    "text": "x",
    "number": 3,
    "null": None,
    **{f"usage-{name}": {"usage": usage, "choices": []} for name, usage in COUNTS.items()},
}
BLOCK = {"type": "content_block_start", "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}}
HOSTILE_CHUNKS: dict[str, list[Any]] = {
    "choices-null-item": [chunk(choices=[None])],
    "choices-text": [chunk(choices="x")],
    "choices-null": [chunk(choices=None), {"choices": {}}],
    "tool-index-null": [chunk(choices=[choice(0, tool_calls=[tool(None)])]), chunk(choices=[choice(0, "tool_calls")])],
    "tools-sparse": [chunk(choices=[choice(0, tool_calls=[tool(9), None])]), chunk(choices=[choice(7, "tool_calls")])],
    "choice-index": [chunk(choices=[choice(index, "stop")]) for index in (None, -1, "x", 2**70, True, 1.5)],
    "interleaved": [
        chunk(choices=[choice(1, content="b")]),
        chunk(choices=[choice(0, content="a"), choice(1, "length")]),
        chunk(choices=[choice(0, "stop")]),
    ],
    "delta": [chunk(choices=[{"index": 0, "delta": delta}]) for delta in (None, "x", [], 3)],
    "groq": [chunk(x_groq="x", choices=[choice(0, "stop")]), chunk(x_groq={"usage": [1]}, choices=[choice(0, "stop")])],
    "not-objects": [None, 3, "x", [], [None], {}],
    "error": [chunk(), {"error": "x"}],
    "error-object": [{"error": {"message": "no", "type": [], "code": 4}}],
    "response-null": [{"type": "response.created", "response": None}, {"type": "response.completed", "response": "x"}],
    "response-list": [{"type": "response.completed", "response": [None]}],
    "response-end": [{"type": "response.failed", "response": {"status": "failed", "error": 3, "output": [None]}}],
    "response-error": [{"type": "error", "code": 3, "message": None}],
    "types": [{"type": kind} for kind in (None, 3, [], "zebra", "zebra.delta")],
    "message-null": [{"type": "message_start", "message": None}, {"type": "message_delta", "delta": None}],
    "message-text": [{"type": "message_start", "message": "x"}, {"type": "message_delta", "delta": [], "usage": "x"}],
    "block-index": [{**BLOCK, "index": None}, {**BLOCK, "index": 40}, {"type": "content_block_start"}],
    "block-delta": [{"type": "content_block_delta", "index": 9, "delta": "x"}, {"type": "message_stop", "zebra": 1}],
    **{
        f"usage-{name}": [
            chunk(usage=usage),
            {"type": "message_start", "message": {"usage": usage}},
            {"type": "message_delta", "delta": {}, "usage": usage},
            {"type": "response.completed", "response": {"usage": usage}},
        ]
        for name, usage in COUNTS.items()
    },
    "nothing": [],
}
RAW = {
    "not-json": b"<html>",
    "cut": b'{"id": "x", "usa',
    "empty": b"",
    "not-utf8": b'{"id": "\xff\xfe"}',
    "deep": b"[" * 20_000 + b"]" * 20_000,
    "nan": b'{"usage": {"prompt_tokens": NaN, "input_tokens": Infinity}}',
    "events-in-json": b'data: {"a":\n\ndata: 1}\n\n:\n\ndata\n\n',
    "bad-events": b"data: {\n\n",
    "odd-lines": b'\r\n\r\rdata: {"choices": []}\r\rid: \x00\nretry: x\ndata: [DONE]\n\n',
}
