"""Whether what was said may be written, where, and how much of it: one gate for all content."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .._settings import ConfigError, content_mode
from ..model import CallContext
from . import names
from .redact import Redactor, load
from .truncate import dumps, map_text, truncate

__all__ = ["NO_CONTENT", "ContentPolicy", "load_policy"]

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_HIDDEN = {
    "OPENINFERENCE_HIDE_INPUTS": ("inputs",),
    "OPENINFERENCE_HIDE_OUTPUTS": ("outputs",),
    "OPENINFERENCE_HIDE_INPUT_MESSAGES": ("inputs",),
    "OPENINFERENCE_HIDE_OUTPUT_MESSAGES": ("outputs",),
    "OPENINFERENCE_HIDE_INPUT_TEXT": ("input_text",),
    "OPENINFERENCE_HIDE_OUTPUT_TEXT": ("output_text",),
    "OPENINFERENCE_HIDE_INPUT_IMAGES": ("images",),
    "OPENINFERENCE_HIDE_PROMPTS": ("prompts",),
    "OPENINFERENCE_HIDE_LLM_PROMPTS": ("prompts",),
    "OPENINFERENCE_HIDE_CHOICES": ("choices",),
    "OPENINFERENCE_HIDE_LLM_TOOLS": ("tools",),
    "OPENINFERENCE_HIDE_LLM_INVOCATION_PARAMETERS": ("parameters",),
    "OPENINFERENCE_HIDE_EMBEDDINGS_TEXT": ("embeddings",),
    "OPENINFERENCE_HIDE_EMBEDDING_TEXT": ("embeddings",),
}


@dataclass(frozen=True, slots=True)
class ContentPolicy:
    """What may be written of one call."""

    span: bool = False
    event: bool = False
    """Whether content goes onto the event."""
    emit_event: bool = False
    """Whether there is an event at all."""
    upload: bool = False
    """Whether content goes to a store, and a reference to it onto span and event."""
    redact: Redactor | None = None
    max_bytes: int = 65536
    inline: bool = False
    """Whether binary data that fits is written whole."""
    error_messages: bool = False
    """Whether exception messages and stack traces may be written with content off."""
    hidden: frozenset[str] = frozenset()
    """What OpenInference's variables ask to leave out."""
    forbidden: bool = False
    """Whether a variable forbids content altogether, whatever a block says."""

    @property
    def records_nothing(self) -> bool:
        """Whether nothing that was said is written anywhere, nor an event of the call."""
        return not (self.span or self.event or self.upload or self.emit_event)

    def limited_to(self, span: Any) -> ContentPolicy:
        """Within what the SDK keeps of one attribute too: it would cut JSON anywhere."""
        limit = getattr(getattr(span, "_limits", None), "max_span_attribute_length", None)
        if type(limit) is not int or limit >= self.max_bytes:
            return self
        return replace(self, max_bytes=limit)

    def wants(self, scope: CallContext) -> bool:
        """Whether what is said in a call of that scope is to be kept for its end."""
        gate = self.with_mode(scope.capture_content)
        return gate.span or gate.event or gate.upload

    def open(self, mode: str | None) -> bool:
        """Whether content is written on spans, where the block around says ``mode``."""
        return self.with_mode(mode).span

    def hides(self, side: str) -> bool:
        """Whether a variable asks to leave out ``inputs`` or ``outputs``."""
        return side in self.hidden

    def json(self, value: Any) -> str:
        """Plain values as JSON, redacted, within the cap."""
        if isinstance(value, list):
            return truncate(value, self.max_bytes, self.redact).text
        # A single object, all of it the user's own, down to the names in it.
        return truncate([value], self.max_bytes + 2, self.redact, are_messages=False).text[1:-1] or "null"

    def text(self, value: str) -> str:
        """One text, redacted, within the cap."""
        found = truncate([value], self.max_bytes, self.redact).value
        return str(found[0]) if found else ""

    def label(self, value: Any) -> Any:
        """Redact a name, a tag or a list of them, which are written with content off too."""
        return value if self.redact is None else _redacted(value, self.redact)

    def clean(self, attributes: dict[str, Any]) -> None:
        """Redact, in place, the attributes that are no content but free text, and the names the application gave."""
        redact = self.redact
        if redact is None:
            return
        for name in [name for name in attributes if _is_free(name)]:
            value = attributes.pop(name)
            prefix = next((prefix for prefix in names.FREE_NAMES if name.startswith(prefix)), None)
            # Variables are redacted already, as content; their names are not.
            cleaned = value if prefix == names.PROMPT_VARIABLE else _redacted(value, redact)
            attributes[name if prefix is None else prefix + redact(name[len(prefix) :])] = cleaned
        for name in (names.METADATA, names.REQUEST_PARAMETERS):
            if name in attributes:
                attributes[name] = dumps(_redacted(json.loads(attributes[name]), redact))
        if names.RETRIEVED in attributes:
            documents = json.loads(attributes[names.RETRIEVED])
            attributes[names.RETRIEVED] = dumps([_with_clean_id(document, redact) for document in documents])

    def with_mode(self, mode: str | None) -> ContentPolicy:
        """The gate of a block that says ``mode``."""
        if mode is None or self.forbidden:
            return self
        span, event = mode in ("span_only", "span_and_event"), mode in ("event_only", "span_and_event")
        upload = self.upload and (span or event)
        return replace(self, span=span, event=event, upload=upload, emit_event=self.emit_event or event)


def _is_free(name: str) -> bool:
    return name in names.FREE_TEXT or name.startswith(names.FREE_NAMES) or name.endswith(".document.id")


def _redacted(value: Any, redact: Redactor) -> Any:
    plain = list(value) if isinstance(value, tuple) else value
    return map_text(plain, redact, lambda blob: blob, known=False)  # with numbers, among which cards may be


def _with_clean_id(document: Any, redact: Redactor) -> Any:
    """Redact the id of a document: all else in it is redacted as content."""
    if not isinstance(document, dict) or "id" not in document:
        return document
    return {**document, "id": _redacted(document["id"], redact)}


NO_CONTENT = ContentPolicy()


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
    """The gate that the settings and the variables of other libraries ask for; the strictest of these wins.

    Raises:
        ConfigError: A variable has a wrong value.
    """
    variables = os.environ if environ is None else environ
    mode = capture_content
    if mode is None:
        name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
        told = variables.get(name, "").strip()
        mode = content_mode(name, told) if told else "no_content"
    emit = variables.get("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "").strip().lower()
    if emit and emit not in _TRUE | _FALSE:
        raise ConfigError(f"OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT={emit!r} is not accepted; use true or false")
    gate = ContentPolicy(
        redact=load(redact_setting, redact),
        max_bytes=max_bytes,
        inline=blobs == "inline",
        error_messages=error_messages,
        hidden=_hidden(variables),
    ).with_mode(mode)
    if upload:
        # The mode speaks of spans and events; who names a store has asked for what is put there.
        gate = replace(gate, upload=True)
    if emit:
        gate = replace(gate, emit_event=emit in _TRUE, event=gate.event and emit in _TRUE)
    if variables.get("TRACELOOP_TRACE_CONTENT", "").strip().lower() in _FALSE:
        gate = replace(gate, span=False, event=False, upload=False, error_messages=False, forbidden=True)
    return gate


def _hidden(variables: Mapping[str, str]) -> frozenset[str]:
    found: set[str] = set()
    for name, parts in _HIDDEN.items():
        if variables.get(name, "").strip().lower() in _TRUE:
            found.update(parts)
    return frozenset(found)
