"""What was said in a call, as attributes: behind the gate, redacted, then cut, then written as JSON."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.util.types import AttributeValue

from ..model import Blob, Message, RequestContent, normalize_finish_reason
from . import names
from .content_policy import ContentPolicy
from .redact import REDACTED
from .truncate import truncate
from .upload import UntruncatedContent

__all__ = ["Content", "describe_content", "exception_texts", "label_of"]

_TEXTS = 32
_VARIABLES = 16


_SHORT = 32
_LONGEST_LABEL = 256
_LABEL = re.compile(r"\S{1,256}|(?:[\w.:/-]+ ){0,5}[\w.:/-]+")
_QUOTING = re.compile(r"[{}\[\]\"'<>]")


def label_of(text: str | None) -> str | None:
    """Return ``text`` of a server unless it is a sentence: some put a message, or the prompt, where a label belongs."""
    if text is None or len(text) <= _SHORT:
        return text
    if len(text) > _LONGEST_LABEL or _QUOTING.search(text) is not None or _LABEL.fullmatch(text) is None:
        return None
    return text


@dataclass(slots=True)
class Content:
    """Content that may leave: for the span as JSON text, for the event as values."""

    attributes: dict[str, AttributeValue] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    whole: dict[str, UntruncatedContent] = field(default_factory=dict)
    """What is to be uploaded, as it was said."""
    cut: bool = False
    size: int = 0

    def put(self, name: str, items: list[Any], gate: ContentPolicy, *, veiled: bool = False) -> None:
        if not items:
            return
        redact = _hide if veiled else gate.redact
        if gate.upload:
            self.whole[name] = UntruncatedContent(items, redact, gate.inline)
        if not (gate.span or gate.event):
            return
        fitted = truncate(items, gate.max_bytes, redact, inline=gate.inline)
        self.attributes[name] = fitted.text
        self.values[name] = fitted.value
        if fitted.cut:
            self.cut = True
            self.size += fitted.size

    def put_text(self, name: str, text: str, gate: ContentPolicy) -> None:
        if not (gate.span or gate.event):
            return
        # The text inside the quotation marks of JSON is not longer than the JSON.
        found = truncate([text], gate.max_bytes, gate.redact)
        self.attributes[name] = self.values[name] = found.value[0] if found.value else ""
        if found.cut:
            self.cut = True
            self.size += found.size

    def close(self) -> Content:
        if self.cut:
            self.attributes[names.CONTENT_TRUNCATED] = self.values[names.CONTENT_TRUNCATED] = True
            self.attributes[names.CONTENT_SIZE] = self.values[names.CONTENT_SIZE] = self.size
        return self


def _hide(_: str) -> str:
    return REDACTED


def describe_content(
    asked: RequestContent | None,
    said: list[Message],
    gate: ContentPolicy,
    *,
    operation: str = "chat",
    partial: bool = False,
) -> Content:
    """The content of one call, as far as ``gate`` lets it pass.

    ``partial`` says that the answer did not reach its end, which decides the finish reason where none was told.
    """
    found = Content()
    hidden = gate.hidden
    legacy = operation == "text_completion"
    if asked is not None and "inputs" not in hidden and not (legacy and "prompts" in hidden):
        veiled = "input_text" in hidden
        found.put(names.SYSTEM_INSTRUCTIONS, _shown(asked.system, hidden), gate, veiled=veiled)
        found.put(names.INPUT_MESSAGES, [_message(message, hidden) for message in asked.messages], gate, veiled=veiled)
        for key, value in list(asked.variables.items())[:_VARIABLES]:
            found.put_text(names.PROMPT_VARIABLE + key, value, gate)
        if "embeddings" not in hidden:
            for index, text in enumerate(asked.texts[:_TEXTS]):
                found.put_text(f"{names.OI_EMBEDDINGS}{index}.embedding.text", text, gate)
    if "outputs" not in hidden and not (legacy and "choices" in hidden):
        reason = "error" if partial else "stop"
        messages = [_output_message(message, hidden, reason) for message in said]
        found.put(names.OUTPUT_MESSAGES, messages, gate, veiled="output_text" in hidden)
    if asked is not None and "tools" not in hidden:
        found.put(names.TOOL_DEFINITIONS, asked.tools, gate)
    return found.close()


def _shown(parts: list[Any], hidden: frozenset[str]) -> list[Any]:
    shown = [{"type": "text", "content": part} if isinstance(part, str) else part for part in parts]
    return [part for part in shown if not _image(part)] if "images" in hidden else shown


def _image(part: Any) -> bool:
    return (part.modality if isinstance(part, Blob) else part.get("modality")) == "image"


def _message(message: Message, hidden: frozenset[str]) -> Message:
    return {**message, "parts": _shown(message["parts"], hidden)}


def _output_message(message: Message, hidden: frozenset[str], reason: str) -> Message:
    # One message without a reason, and Phoenix shows none of them.
    told = message.get("finish_reason")
    return {
        **_message(message, hidden),
        "finish_reason": normalize_finish_reason(label_of(told) or "_other") if told else reason,
    }


def exception_texts(error: BaseException, gate: ContentPolicy) -> tuple[str, str] | None:
    """Message and stack trace of an exception, which may echo a prompt; ``None`` where they must not be written."""
    if not (gate.error_messages or gate.span):
        return None
    trace = "".join(traceback.format_exception(error))
    return gate.text(str(error)), gate.text(trace)
