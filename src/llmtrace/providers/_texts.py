"""The texts of answers and of their chunks: what tokens are estimated from where no usage is reported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .._read import each, peek, text

__all__ = ["CHAT_WORDS", "GENERATE_WORDS", "INTERACTION_WORDS", "MESSAGE_WORDS", "NO_WORDS", "RESPONSE_WORDS", "Words"]

Texts = Iterable[tuple[str, bool]]
"""Texts; true for the name of a tool call."""


@dataclass(frozen=True, slots=True)
class Words:
    """How to read the texts of one wire format."""

    read: Callable[[Any], Texts]
    """Takes a whole answer or a chunk, as a model of the SDK or as parsed JSON."""
    quick: Callable[[Any], Any]
    """Takes a chunk: its one text, in the form that most chunks have. May raise for any other, or return ``None``."""


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
    for choice in each(answer, "choices"):
        said = peek(choice, "delta")
        if said is None:
            said = peek(choice, "message")
        if said is None:
            if word := text(choice, "text"):
                yield word, False
            continue
        for name in _SAID if peek(said, "reasoning_content") else (*_SAID, "reasoning"):
            if word := text(said, name):
                yield word, False
        calls = (peek(call, "function") or peek(call, "custom") for call in each(said, "tool_calls"))
        for function in (*calls, peek(said, "function_call")):
            for name in _CALLED:
                if word := text(function, name):
                    yield word, name == "name"


def _quick_chat(chunk: Any) -> Any:
    (choice,) = chunk.choices
    return choice.delta.content


_GROWTH = ("text", "partial_json", "thinking", "completion")


def _messages(answer: Any) -> Texts:
    for source in (peek(answer, "delta"), answer):
        for name in _GROWTH:
            if word := text(source, name):
                yield word, False
    if called := text(peek(answer, "content_block"), "name"):
        yield called, True
    for block in each(answer, "content"):
        for name in ("text", "thinking"):
            if word := text(block, name):
                yield word, False
        yield from _called(text(block, "name"), peek(block, "input"))


def _quick_delta_text(event: Any) -> Any:
    return event.delta.text


def _responses(answer: Any) -> Texts:
    kind = text(answer, "type") or ""
    if kind.endswith(".delta") and "audio.delta" not in kind and (word := text(answer, "delta")):
        yield word, False
    elif kind == "response.output_item.added" and (name := text(peek(answer, "item"), "name")):
        yield name, True
    for item in each(answer, "output"):
        for part in (*each(item, "content"), *each(item, "summary")):
            if word := text(part, "text") or text(part, "refusal"):
                yield word, False
        yield from _called(text(item, "name"), peek(item, "arguments") or text(item, "input"))


def _quick_delta(event: Any) -> Any:
    return event.delta


def _generate(answer: Any) -> Texts:
    body = getattr(answer, "body", None)
    if isinstance(body, str):  # a chunk as the SDK hands it on
        if "usageMetadata" in body or "usage_metadata" in body:
            return  # its own counts are exact
        answer = json.loads(body)
    for candidate in each(answer, "candidates"):
        for part in each(peek(candidate, "content"), "parts"):
            if word := text(part, "text"):
                yield word, False
            call = peek(part, "functionCall") or peek(part, "function_call")
            yield from _called(text(call, "name"), peek(call, "args"))


def _interactions(answer: Any) -> Texts:
    if (text(answer, "event_type") or "").endswith(".delta"):
        delta = peek(answer, "delta")
        for source, name in ((delta, "text"), (delta, "arguments"), (peek(delta, "content"), "text")):
            if word := text(source, name):
                yield word, False
    for step in (*each(answer, "steps"), *each(answer, "outputs"), peek(answer, "step")):
        for part in (step, *each(step, "content"), *each(step, "summary")):
            if word := text(part, "text"):
                yield word, False
        if text(step, "type") == "function_call":
            yield from _called(text(step, "name"), peek(step, "arguments"))


def _nothing(_: Any) -> Texts:
    return ()


def _never_quick(_: Any) -> None:
    return None


CHAT_WORDS = Words(_chat, _quick_chat)
MESSAGE_WORDS = Words(_messages, _quick_delta_text)
RESPONSE_WORDS = Words(_responses, _quick_delta)
GENERATE_WORDS = Words(_generate, _never_quick)
INTERACTION_WORDS = Words(_interactions, _never_quick)
NO_WORDS = Words(_nothing, _never_quick)
"""Of an answer that has none, such as vectors: the tokens of the input are all there is to estimate."""
