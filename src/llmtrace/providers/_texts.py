"""Texts of responses and chunks, from which tokens are estimated when no usage is reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .._read import get, get_text, iter_list
from .._text import compact_json
from ..model.wire_format import Texts


def tool_call_texts(name: str | None, arguments: Any) -> Iterator[tuple[str, bool]]:
    if name is not None:
        yield name, True
    if arguments:
        yield arguments if isinstance(arguments, str) else compact_json(arguments), False


def _texts(source: Any, *names: str) -> Iterator[tuple[str, bool]]:
    for name in names:
        if text := get_text(source, name):
            yield text, name == "name"


def chat_texts(response: Any) -> Texts:
    for choice in iter_list(response, "choices"):
        message = get(choice, "delta")
        if message is None:
            message = get(choice, "message")
        if message is None:
            yield from _texts(choice, "text")
            continue
        thought = "reasoning_content" if get(message, "reasoning_content") else "reasoning"
        yield from _texts(message, "content", "refusal", thought)
        calls = (get(call, "function") or get(call, "custom") for call in iter_list(message, "tool_calls"))
        for function in (*calls, get(message, "function_call")):
            yield from _texts(function, "name", "arguments", "input")


def message_texts(response: Any) -> Texts:
    for source in (get(response, "delta"), response):
        yield from _texts(source, "text", "partial_json", "thinking", "completion")
    yield from _texts(get(response, "content_block"), "name")
    for block in iter_list(response, "content"):
        yield from _texts(block, "text", "thinking")
        yield from tool_call_texts(get_text(block, "name"), get(block, "input"))


def response_texts(response: Any) -> Texts:
    kind = get_text(response, "type") or ""
    if kind.endswith(".delta") and "audio.delta" not in kind:
        yield from _texts(response, "delta")
    elif kind == "response.output_item.added":
        yield from _texts(get(response, "item"), "name")
    for item in iter_list(response, "output"):
        for part in (*iter_list(item, "content"), *iter_list(item, "summary")):
            yield from _texts(part, "text" if get_text(part, "text") else "refusal")
        yield from tool_call_texts(get_text(item, "name"), get(item, "arguments") or get_text(item, "input"))


def generate_texts(response: Any) -> Texts:
    body = getattr(response, "body", None)
    if isinstance(body, str):  # a chunk as the SDK passes it on
        if "usageMetadata" in body or "usage_metadata" in body:
            return  # the reported counts are exact
        response = json.loads(body)
    for candidate in iter_list(response, "candidates"):
        for part in iter_list(get(candidate, "content"), "parts"):
            yield from _texts(part, "text")
            call = get(part, "functionCall") or get(part, "function_call")
            yield from tool_call_texts(get_text(call, "name"), get(call, "args"))


def interaction_texts(response: Any) -> Texts:
    if (get_text(response, "event_type") or "").endswith(".delta"):
        delta = get(response, "delta")
        yield from (*_texts(delta, "text", "arguments"), *_texts(get(delta, "content"), "text"))
    for step in (*iter_list(response, "steps"), *iter_list(response, "outputs"), get(response, "step")):
        for part in (step, *iter_list(step, "content"), *iter_list(step, "summary")):
            yield from _texts(part, "text")
        if get_text(step, "type") == "function_call":
            yield from tool_call_texts(get_text(step, "name"), get(step, "arguments"))


def no_texts(_: Any) -> Texts:
    """Return no texts, for responses such as vectors: only input tokens can be estimated."""
    return ()
