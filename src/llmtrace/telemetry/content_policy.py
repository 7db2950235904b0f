"""Content policy: decides whether, where and how much content is recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .._compat.span_attributes import value_limit
from .._settings import ConfigError, content_mode, environment
from ..model import CallContext
from . import names
from .redact import Redactor, load
from .truncate import dumps, map_text, truncate

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_HIDE_VARIABLES = {
    "OPENINFERENCE_HIDE_INPUTS": "inputs",
    "OPENINFERENCE_HIDE_OUTPUTS": "outputs",
    "OPENINFERENCE_HIDE_INPUT_MESSAGES": "inputs",
    "OPENINFERENCE_HIDE_OUTPUT_MESSAGES": "outputs",
    "OPENINFERENCE_HIDE_INPUT_TEXT": "input_text",
    "OPENINFERENCE_HIDE_OUTPUT_TEXT": "output_text",
    "OPENINFERENCE_HIDE_INPUT_IMAGES": "images",
    "OPENINFERENCE_HIDE_PROMPTS": "prompts",
    "OPENINFERENCE_HIDE_LLM_PROMPTS": "prompts",
    "OPENINFERENCE_HIDE_CHOICES": "choices",
    "OPENINFERENCE_HIDE_LLM_TOOLS": "tools",
    "OPENINFERENCE_HIDE_LLM_INVOCATION_PARAMETERS": "parameters",
    "OPENINFERENCE_HIDE_EMBEDDINGS_TEXT": "embeddings",
    "OPENINFERENCE_HIDE_EMBEDDING_TEXT": "embeddings",
}


@dataclass(frozen=True, slots=True)
class ContentPolicy:
    """Rules for the content of one call."""

    span: bool = False
    """True if content is written on spans."""
    event: bool = False
    """True if content is written on the event."""
    emit_event: bool = False
    """True if an event is emitted for the call, with or without content."""
    upload: bool = False
    """True if content is uploaded and a reference to it is written on span and event."""
    redact: Redactor | None = None
    """Function that redacts every text, ``None`` for no redaction."""
    max_bytes: int = 65536
    """Maximum bytes of one content attribute."""
    inline: bool = False
    """True if binary data that fits is written completely, as base64."""
    error_messages: bool = False
    """True if exception messages and stack traces are recorded even with content off."""
    hidden: frozenset[str] = frozenset()
    """Kinds of content that OpenInference's variables exclude, such as ``inputs`` or ``images``."""
    forbidden: bool = False
    """True if a variable forbids all content; a block cannot override it."""

    @property
    def records_nothing(self) -> bool:
        """True if no content is recorded anywhere and no event is emitted."""
        return not (self.span or self.event or self.upload or self.emit_event)

    def limited_to(self, span: Any) -> ContentPolicy:
        """Return this policy with ``max_bytes`` lowered to the attribute length limit of ``span``.

        The SDK truncates longer values at any character, which would leave invalid JSON.
        """
        limit = value_limit(span)
        if limit is None or limit >= self.max_bytes:
            return self
        return replace(self, max_bytes=limit)

    def wants(self, context: CallContext) -> bool:
        """Return True if a call with that context must keep its content until it ends."""
        policy = self.with_mode(context.capture_content)
        return policy.span or policy.event or policy.upload

    def records_on_span(self, mode: str | None) -> bool:
        """Return True if content is written on spans under the content mode of the enclosing block."""
        return (self if mode is None else self.with_mode(mode)).span

    def json(self, value: Any) -> str:
        """Return plain values as JSON, redacted and within ``max_bytes``."""
        if isinstance(value, list):
            return truncate(value, self.max_bytes, self.redact).text
        # Redact the keys of a single object too: the application chose them.
        return truncate([value], self.max_bytes + 2, self.redact, are_messages=False).text[1:-1] or "null"

    def text(self, value: str) -> str:
        """Return one text, redacted and within ``max_bytes``."""
        texts = truncate([value], self.max_bytes, self.redact).value
        return str(texts[0]) if texts else ""

    def label(self, value: Any) -> Any:
        """Return a name, a tag or a list of them redacted: they are recorded even with content off."""
        return value if self.redact is None else _redacted(value, self.redact)

    def clean(self, attributes: dict[str, Any]) -> None:
        """Redact, in place, free text that is not content, and attribute names that the application chose."""
        redact = self.redact
        if redact is None:
            return
        for name in [name for name in attributes if _is_free_text(name)]:
            value = attributes.pop(name)
            prefix = next((prefix for prefix in names.FREE_NAMES if name.startswith(prefix)), None)
            # Skip the values of prompt variables: they have been redacted as content.
            redacted = value if prefix == names.PROMPT_VARIABLE else _redacted(value, redact)
            attributes[name if prefix is None else prefix + redact(name[len(prefix) :])] = redacted
        for name in (names.METADATA, names.REQUEST_PARAMETERS):
            if name in attributes:
                attributes[name] = dumps(_redacted(json.loads(attributes[name]), redact))
        if names.RETRIEVED in attributes:
            documents = json.loads(attributes[names.RETRIEVED])
            attributes[names.RETRIEVED] = dumps([_with_clean_id(document, redact) for document in documents])

    def with_mode(self, mode: str | None) -> ContentPolicy:
        """Return the policy for a block with the content mode ``mode``, or this one if that is ``None``."""
        if mode is None or self.forbidden:
            return self
        span, event = mode in ("span_only", "span_and_event"), mode in ("event_only", "span_and_event")
        upload = self.upload and (span or event)
        return replace(self, span=span, event=event, upload=upload, emit_event=self.emit_event or event)


def _is_free_text(name: str) -> bool:
    return name in names.FREE_TEXT or name.startswith(names.FREE_NAMES) or name.endswith(".document.id")


def _redacted(value: Any, redact: Redactor) -> Any:
    plain = list(value) if isinstance(value, tuple) else value
    return map_text(plain, redact, lambda blob: blob, are_messages=False)  # numbers too: a card number may be an int


def _with_clean_id(document: Any, redact: Redactor) -> Any:
    """Return a document with its id redacted; its other fields are redacted as content."""
    if not isinstance(document, dict) or "id" not in document:
        return document
    return {**document, "id": _redacted(document["id"], redact)}


NO_CONTENT = ContentPolicy()
"""Policy that records no content and redacts nothing."""


def load_policy(
    *,
    capture_content: str | None = None,
    redact: object = None,
    redact_setting: str = "redact",
    max_bytes: int = 65536,
    blobs: str = "placeholder",
    error_messages: bool = False,
    upload: bool = False,
    environ: Mapping[str, str] | None = None,
) -> ContentPolicy:
    """Return the policy from the settings and the environment variables of other libraries; the strictest wins.

    The variables are OpenTelemetry's ``OTEL_INSTRUMENTATION_GENAI_*``, OpenInference's ``OPENINFERENCE_HIDE_*`` and
    Traceloop's ``TRACELOOP_TRACE_CONTENT``.

    Args:
        capture_content: The content mode; ``None`` reads OpenTelemetry's variable.
        redact: Setting of the redactor: ``none``, ``builtin``, ``module:callable`` or a function.
        redact_setting: Name of that setting for error messages.
        max_bytes: Maximum bytes of one content attribute.
        blobs: ``inline`` to write binary data that fits, ``placeholder`` to write its size and hash only.
        error_messages: Record exception messages and stack traces even with content off.
        upload: Content is uploaded to a store.
        environ: Environment variables, those of the process by default.

    Raises:
        ConfigError: If a variable has an invalid value.
    """
    variables = environment.variables() if environ is None else environ
    mode = capture_content
    if mode is None:
        name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
        value = variables.get(name, "").strip()
        mode = content_mode(name, value) if value else "no_content"
    emit_event = variables.get("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "").strip().lower()
    if emit_event and emit_event not in _TRUE | _FALSE:
        raise ConfigError(f"OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT={emit_event!r} is not accepted; use true or false")
    hidden = (kind for name, kind in _HIDE_VARIABLES.items() if variables.get(name, "").strip().lower() in _TRUE)
    policy = ContentPolicy(
        redact=load(redact_setting, redact),
        max_bytes=max_bytes,
        inline=blobs == "inline",
        error_messages=error_messages,
        hidden=frozenset(hidden),
    ).with_mode(mode)
    if upload:
        # Upload in any mode: the mode controls spans and events, the upload path controls uploads.
        policy = replace(policy, upload=True)
    if emit_event:
        policy = replace(policy, emit_event=emit_event in _TRUE, event=policy.event and emit_event in _TRUE)
    if variables.get("TRACELOOP_TRACE_CONTENT", "").strip().lower() in _FALSE:
        policy = replace(policy, span=False, event=False, upload=False, error_messages=False, forbidden=True)
    return policy
