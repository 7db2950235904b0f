"""One finished call, and what it cost, as observers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from .document import Document
from .usage import Usage

__all__ = ["BILLED_OPERATIONS", "Call", "CallContext", "Cost", "PromptUse"]

BILLED_OPERATIONS = frozenset(
    {"chat", "text_completion", "embeddings", "generate_content", "rerank", "moderation", "invoke_agent"}
)
"""Fetching a response again, counting tokens and managing caches bill nothing."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call cost, exactly."""

    total: Decimal
    parts: Mapping[str, Decimal] = field(default_factory=dict)
    """By class: ``input`` (neither cached nor audio), ``cache_read``, ``cache_write``, ``audio_input``, ``output``,
    ``reasoning``, ``audio_output``, ``image_output``, ``web_search``, ``request``...; they add up to ``total``. Empty
    when only a total was stated."""
    currency: str = "USD"
    source: str = "catalog"
    """``catalog``, ``override`` or ``provider`` (its own answer stated it)."""
    catalog_version: str | None = None
    model: str | None = None
    """The name that was priced."""
    approximate: bool = False
    """Something that may change the price had no row of its own."""


@dataclass(frozen=True, slots=True)
class PromptUse:
    """The named prompt a call was made with."""

    name: str
    version: str | None = None
    label: str | None = None
    hash: str | None = None
    """``sha256:`` and 12 hexadecimal digits of the template, not of the rendered text."""
    template: str | None = None
    variables: Mapping[str, Any] | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class CallContext:
    """What the blocks around a call say of it, taken at the moment the call is made."""

    feature: str | None = None
    user: str | None = None
    session: str | None = None
    tenant: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    prompt: PromptUse | None = None
    documents: tuple[Document, ...] = ()
    """The retrieved documents the call was given."""
    agent: str | None = None
    """The innermost agent at work."""
    capture_content: str | None = None
    """Overrides the setting of that name, when a block says so."""
    collectors: tuple[Any, ...] = ()
    """The ``collect()`` blocks around the call, outermost first."""

    def without_content(self) -> CallContext:
        """The same, without what is large and told only with content."""
        prompt = self.prompt
        if prompt is None and not self.documents and not self.collectors:
            return self
        return replace(
            self,
            collectors=(),
            documents=tuple(Document(document.id) for document in self.documents),
            prompt=None if prompt is None else replace(prompt, template=None, variables=None),
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One finished call to a model."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    client: str
    """The client library: ``openai``, ``anthropic``, ``google_genai``..."""
    operation: str
    provider: str
    request_model: str | None
    response_model: str | None
    response_id: str | None
    finish_reasons: tuple[str, ...]
    """In the convention's words, one per choice."""
    usage: Usage
    cost: Cost | None
    unpriced_reason: str | None
    """Why there is no cost, when there is none."""
    feature: str | None
    user: str | None
    session: str | None
    tenant: str | None
    tags: tuple[str, ...]
    metadata: Mapping[str, str | int | float | bool]
    prompt: PromptUse | None
    document_ids: tuple[str, ...]
    started_at: datetime
    """Aware, in UTC."""
    duration: float
    """Seconds."""
    time_to_first_token: float | None
    """Seconds, for a stream."""
    streamed: bool
    outcome: str
    """``ok``, ``error``, ``cancelled`` or ``blocked``."""
    error_type: str | None
