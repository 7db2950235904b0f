"""Texts of responses and chunks, from which tokens are estimated when no usage is reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .._read import get, get_text, iter_list
from ..model.wire_format import Texts


def _json(value: Any) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), default=str)
    except (TypeError, ValueError, RecursionError):
        return ""


def tool_call_texts(name: str | None, arguments: Any) -> Iterator[tuple[str, bool]]:
    if name is not None:
        yield name, True
    if arguments:
        yield arguments if isinstance(arguments, str) else _json(arguments), False


_MESSAGE_FIELDS = ("content", "refusal", "reasoning_content")
_TOOL_CALL_FIELDS = ("name", "arguments", "input")


def chat_texts(response: Any) -> Texts:
    for choice in iter_list(response, "choices"):
        message = get(choice, "delta")
        if message is None:
            message = get(choice, "message")
        if message is None:
            if text := get_text(choice, "text"):
                yield text, False
            continue
        for name in _MESSAGE_FIELDS if get(message, "reasoning_content") else (*_MESSAGE_FIELDS, "reasoning"):
            if text := get_text(message, name):
                yield text, False
        calls = (get(call, "function") or get(call, "custom") for call in iter_list(message, "tool_calls"))
        for function in (*calls, get(message, "function_call")):
            for name in _TOOL_CALL_FIELDS:
                if text := get_text(function, name):
                    yield text, name == "name"


_DELTA_FIELDS = ("text", "partial_json", "thinking", "completion")


def message_texts(response: Any) -> Texts:
    for source in (get(response, "delta"), response):
        for name in _DELTA_FIELDS:
            if text := get_text(source, name):
                yield text, False
    if tool_name := get_text(get(response, "content_block"), "name"):
        yield tool_name, True
    for block in iter_list(response, "content"):
        for name in ("text", "thinking"):
            if text := get_text(block, name):
                yield text, False
        yield from tool_call_texts(get_text(block, "name"), get(block, "input"))


def response_texts(response: Any) -> Texts:
    kind = get_text(response, "type") or ""
    if kind.endswith(".delta") and "audio.delta" not in kind and (text := get_text(response, "delta")):
        yield text, False
    elif kind == "response.output_item.added" and (name := get_text(get(response, "item"), "name")):
        yield name, True
    for item in iter_list(response, "output"):
        for part in (*iter_list(item, "content"), *iter_list(item, "summary")):
            if text := get_text(part, "text") or get_text(part, "refusal"):
                yield text, False
        yield from tool_call_texts(get_text(item, "name"), get(item, "arguments") or get_text(item, "input"))


def generate_texts(response: Any) -> Texts:
    body = getattr(response, "body", None)
    if isinstance(body, str):  # a chunk as the SDK passes it on
        if "usageMetadata" in body or "usage_metadata" in body:
            return  # the reported counts are exact
        response = json.loads(body)
    for candidate in iter_list(response, "candidates"):
        for part in iter_list(get(candidate, "content"), "parts"):
            if text := get_text(part, "text"):
                yield text, False
            call = get(part, "functionCall") or get(part, "function_call")
            yield from tool_call_texts(get_text(call, "name"), get(call, "args"))


def interaction_texts(response: Any) -> Texts:
    if (get_text(response, "event_type") or "").endswith(".delta"):
        delta = get(response, "delta")
        for source, name in ((delta, "text"), (delta, "arguments"), (get(delta, "content"), "text")):
            if text := get_text(source, name):
                yield text, False
    for step in (*iter_list(response, "steps"), *iter_list(response, "outputs"), get(response, "step")):
        for part in (step, *iter_list(step, "content"), *iter_list(step, "summary")):
            if text := get_text(part, "text"):
                yield text, False
        if get_text(step, "type") == "function_call":
            yield from tool_call_texts(get_text(step, "name"), get(step, "arguments"))


def no_texts(_: Any) -> Texts:
    """Return no texts, for responses such as vectors: only input tokens can be estimated."""
    return ()
