"""The texts of answers and of their chunks: what tokens are estimated from where no usage is reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .._read import get, get_text, iter_list
from ..model.wire_format import TextFormat, Texts

__all__ = ["CHAT_WORDS", "GENERATE_WORDS", "INTERACTION_WORDS", "MESSAGE_WORDS", "NO_WORDS", "RESPONSE_WORDS"]


def _json(value: Any) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), default=str)
    except (TypeError, ValueError, RecursionError):
        return ""


def _called(name: str | None, arguments: Any) -> Iterator[tuple[str, bool]]:
    if name is not None:
        yield name, True
    if arguments:
        yield arguments if isinstance(arguments, str) else _json(arguments), False


_SAID = ("content", "refusal", "reasoning_content")
_CALLED = ("name", "arguments", "input")


def _chat(answer: Any) -> Texts:
    for choice in iter_list(answer, "choices"):
        said = get(choice, "delta")
        if said is None:
            said = get(choice, "message")
        if said is None:
            if word := get_text(choice, "text"):
                yield word, False
            continue
        for name in _SAID if get(said, "reasoning_content") else (*_SAID, "reasoning"):
            if word := get_text(said, name):
                yield word, False
        calls = (get(call, "function") or get(call, "custom") for call in iter_list(said, "tool_calls"))
        for function in (*calls, get(said, "function_call")):
            for name in _CALLED:
                if word := get_text(function, name):
                    yield word, name == "name"


def _quick_chat(chunk: Any) -> Any:
    (choice,) = chunk.choices
    return choice.delta.content


_GROWTH = ("text", "partial_json", "thinking", "completion")


def _messages(answer: Any) -> Texts:
    for source in (get(answer, "delta"), answer):
        for name in _GROWTH:
            if word := get_text(source, name):
                yield word, False
    if called := get_text(get(answer, "content_block"), "name"):
        yield called, True
    for block in iter_list(answer, "content"):
        for name in ("text", "thinking"):
            if word := get_text(block, name):
                yield word, False
        yield from _called(get_text(block, "name"), get(block, "input"))


def _quick_delta_text(event: Any) -> Any:
    return event.delta.text


def _responses(answer: Any) -> Texts:
    kind = get_text(answer, "type") or ""
    if kind.endswith(".delta") and "audio.delta" not in kind and (word := get_text(answer, "delta")):
        yield word, False
    elif kind == "response.output_item.added" and (name := get_text(get(answer, "item"), "name")):
        yield name, True
    for item in iter_list(answer, "output"):
        for part in (*iter_list(item, "content"), *iter_list(item, "summary")):
            if word := get_text(part, "text") or get_text(part, "refusal"):
                yield word, False
        yield from _called(get_text(item, "name"), get(item, "arguments") or get_text(item, "input"))


def _quick_delta(event: Any) -> Any:
    return event.delta


def _generate(answer: Any) -> Texts:
    body = getattr(answer, "body", None)
    if isinstance(body, str):  # a chunk as the SDK hands it on
        if "usageMetadata" in body or "usage_metadata" in body:
            return  # its own counts are exact
        answer = json.loads(body)
    for candidate in iter_list(answer, "candidates"):
        for part in iter_list(get(candidate, "content"), "parts"):
            if word := get_text(part, "text"):
                yield word, False
            call = get(part, "functionCall") or get(part, "function_call")
            yield from _called(get_text(call, "name"), get(call, "args"))


def _interactions(answer: Any) -> Texts:
    if (get_text(answer, "event_type") or "").endswith(".delta"):
        delta = get(answer, "delta")
        for source, name in ((delta, "text"), (delta, "arguments"), (get(delta, "content"), "text")):
            if word := get_text(source, name):
                yield word, False
    for step in (*iter_list(answer, "steps"), *iter_list(answer, "outputs"), get(answer, "step")):
        for part in (step, *iter_list(step, "content"), *iter_list(step, "summary")):
            if word := get_text(part, "text"):
                yield word, False
        if get_text(step, "type") == "function_call":
            yield from _called(get_text(step, "name"), get(step, "arguments"))


def _nothing(_: Any) -> Texts:
    return ()


def _never_quick(_: Any) -> None:
    return None


CHAT_WORDS = TextFormat(_chat, _quick_chat)
MESSAGE_WORDS = TextFormat(_messages, _quick_delta_text)
RESPONSE_WORDS = TextFormat(_responses, _quick_delta)
GENERATE_WORDS = TextFormat(_generate, _never_quick)
INTERACTION_WORDS = TextFormat(_interactions, _never_quick)
NO_WORDS = TextFormat(_nothing, _never_quick)
"""Of an answer that has none, such as vectors: the tokens of the input are all there is to estimate."""
