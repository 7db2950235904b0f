"""Content of a call as attributes: filtered by the policy, redacted, truncated and encoded as JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.util.types import AttributeValue

from ..model import Blob, Message, RequestContent, normalize_finish_reason
from . import names
from .content_policy import ContentPolicy
from .redact import REDACTED
from .truncate import Truncated, truncate
from .upload import UntruncatedContent

_MAX_TEXTS = 32
_MAX_VARIABLES = 16
_SHORT_LABEL_CHARS = 32
"""Characters up to which a text is accepted as a label unchecked."""
_MAX_LABEL_CHARS = 256
_LABEL = re.compile(r"\S{1,256}|(?:[\w.:/-]+ ){0,5}[\w.:/-]+")
_QUOTED = re.compile(r"[{}\[\]\"'<>]")


def label_of(text: str | None) -> str | None:
    """Return ``text`` if it looks like a label, else ``None``.

    Some servers return a message, or even the prompt, in a field that should hold a short label.
    """
    if text is None or len(text) <= _SHORT_LABEL_CHARS:
        return text
    if len(text) > _MAX_LABEL_CHARS or _QUOTED.search(text) is not None or _LABEL.fullmatch(text) is None:
        return None
    return text


@dataclass(slots=True)
class Content:
    """Content that the policy allows: JSON text for the span, values for the event."""

    attributes: dict[str, AttributeValue] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    untruncated: dict[str, UntruncatedContent] = field(default_factory=dict)
    """Content to upload, before redaction and truncation."""
    cut: bool = False
    size: int = 0
    """Bytes of the truncated attributes before truncation."""

    def put(self, name: str, items: list[Any], policy: ContentPolicy, *, hide_text: bool = False) -> None:
        """Add messages, parts or tool definitions. ``hide_text`` replaces every text with the redaction token."""
        if not items:
            return
        redact = _replace_text if hide_text else policy.redact
        if policy.upload:
            self.untruncated[name] = UntruncatedContent(items, redact, policy.inline)
        if not (policy.span or policy.event):
            return
        truncated = truncate(items, policy.max_bytes, redact, inline=policy.inline)
        self.attributes[name], self.values[name] = truncated.text, truncated.value
        if truncated.cut:
            self._count_cut(truncated)

    def put_text(self, name: str, text: str, policy: ContentPolicy) -> None:
        """Add one redacted and truncated text as it is, without JSON quotes."""
        if not (policy.span or policy.event):
            return
        # Truncate the text as a list of one: the text is never longer than its JSON.
        truncated = truncate([text], policy.max_bytes, policy.redact)
        self.attributes[name] = self.values[name] = truncated.value[0] if truncated.value else ""
        if truncated.cut:
            self._count_cut(truncated)

    def _count_cut(self, truncated: Truncated) -> None:
        self.cut = True
        self.size += truncated.size

    def close(self) -> Content:
        """Add the attributes that report truncation, and return the content itself."""
        if self.cut:
            self.attributes[names.CONTENT_TRUNCATED] = self.values[names.CONTENT_TRUNCATED] = True
            self.attributes[names.CONTENT_SIZE] = self.values[names.CONTENT_SIZE] = self.size
        return self


def _replace_text(_: str) -> str:
    return REDACTED


def describe_content(
    request: RequestContent | None,
    output: list[Message],
    policy: ContentPolicy,
    *,
    operation: str = "chat",
    partial: bool = False,
) -> Content:
    """Return the content of one call that ``policy`` allows.

    Some variables hide only the content of text completions. In a ``partial`` response a message without a finish
    reason ended with an error.
    """
    content = Content()
    hidden = policy.hidden
    legacy = operation == "text_completion"
    if request is not None and "inputs" not in hidden and not (legacy and "prompts" in hidden):
        hide_text = "input_text" in hidden
        content.put(names.SYSTEM_INSTRUCTIONS, _visible_parts(request.system, hidden), policy, hide_text=hide_text)
        content.put(
            names.INPUT_MESSAGES,
            [_message(message, hidden) for message in request.messages],
            policy,
            hide_text=hide_text,
        )
        for key, value in list(request.variables.items())[:_MAX_VARIABLES]:
            content.put_text(names.PROMPT_VARIABLE + key, value, policy)
        if request.query is not None:
            content.put_text(names.RERANK_QUERY, request.query, policy)
            _put_texts(content, f"{names.RERANK_INPUT}%d.document.content", request.texts, policy)
        elif "embeddings" not in hidden:
            _put_texts(content, f"{names.OI_EMBEDDINGS}%d.embedding.text", request.texts, policy)
    if "outputs" not in hidden and not (legacy and "choices" in hidden):
        reason = "error" if partial else "stop"
        messages = [_output_message(message, hidden, reason) for message in output]
        content.put(names.OUTPUT_MESSAGES, messages, policy, hide_text="output_text" in hidden)
    if request is not None and "tools" not in hidden:
        content.put(names.TOOL_DEFINITIONS, request.tools, policy)
    return content.close()


def _put_texts(content: Content, name: str, texts: list[str], policy: ContentPolicy) -> None:
    for index, text in enumerate(texts[:_MAX_TEXTS]):
        content.put_text(name % index, text, policy)


def _visible_parts(parts: list[Any], hidden: frozenset[str]) -> list[Any]:
    wrapped = [{"type": "text", "content": part} if isinstance(part, str) else part for part in parts]
    return [part for part in wrapped if not _is_image(part)] if "images" in hidden else wrapped


def _is_image(part: Any) -> bool:
    return (part.modality if isinstance(part, Blob) else part.get("modality")) == "image"


def _message(message: Message, hidden: frozenset[str]) -> Message:
    return {**message, "parts": _visible_parts(message["parts"], hidden)}


def _output_message(message: Message, hidden: frozenset[str], default_reason: str) -> Message:
    # Set a reason on each message: Phoenix shows no message of a list if one lacks it.
    raw_reason = message.get("finish_reason")
    return {
        **_message(message, hidden),
        "finish_reason": normalize_finish_reason(label_of(raw_reason) or "_other") if raw_reason else default_reason,
    }
