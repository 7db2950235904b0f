"""Public records of a finished call, its cost and its context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from .document import Document
from .usage import Usage

INFERENCE_OPERATIONS = frozenset({"chat", "generate_content", "text_completion"})
"""Operations in which a model generates a response."""
BILLED_OPERATIONS = frozenset({*INFERENCE_OPERATIONS, "embeddings", "rerank", "moderation", "invoke_agent"})
"""Operations that are billed. Fetching a response, counting tokens and managing caches are free."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Exact cost of one call."""

    total: Decimal
    """Total cost in ``currency``."""
    parts: Mapping[str, Decimal] = field(default_factory=dict)
    """Cost by class: ``input`` (neither cached nor audio), ``cache_read``, ``cache_write``, ``audio_input``,
    ``output``, ``reasoning``, ``audio_output``, ``image_output``, ``web_search``, ``request`` and others. The parts
    add up to ``total``. Empty if only a total was stated."""
    currency: str = "USD"
    source: str = "catalog"
    """Source of the price: ``catalog``, ``override``, or ``provider`` if the response stated the cost."""
    catalog_version: str | None = None
    model: str | None = None
    """Name of the model whose price was used."""
    approximate: bool = False
    """True if a property of the call that may change the price had no price of its own."""


@dataclass(frozen=True, slots=True)
class PromptUse:
    """Named prompt that a call used."""

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
    """Context of a call, set by the enclosing blocks and captured when the call starts."""

    feature: str | None = None
    user: str | None = None
    session: str | None = None
    tenant: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    prompt: PromptUse | None = None
    documents: tuple[Document, ...] = ()
    """Retrieved documents that went into the call."""
    agent: str | None = None
    """Name of the innermost enclosing agent."""
    capture_content: str | None = None
    """Content mode that overrides the setting ``capture_content``, if a block sets one."""
    collectors: tuple[Any, ...] = ()
    """Enclosing ``collect()`` blocks, outermost first."""

    def without_content(self) -> CallContext:
        """Return a copy without document contents, prompt template and variables, and collectors."""
        prompt = self.prompt
        if prompt is None and not self.documents and not self.collectors:
            return self
        return replace(
            self,
            collectors=(),
            documents=tuple(document.without_content() for document in self.documents),
            prompt=None if prompt is None else replace(prompt, template=None, variables=None),
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One finished call to a model."""

    trace_id: str
    """Trace id, 32 hexadecimal digits."""
    span_id: str
    """Span id, 16 hexadecimal digits."""
    client: str
    """Name of the client library: ``openai``, ``anthropic``, ``google_genai`` and others."""
    operation: str
    provider: str
    request_model: str | None
    response_model: str | None
    response_id: str | None
    finish_reasons: tuple[str, ...]
    """Finish reasons in the terms of the OpenTelemetry convention, one per choice."""
    usage: Usage
    cost: Cost | None
    unpriced_reason: str | None
    """Reason for a missing cost, ``None`` for a priced call."""
    feature: str | None
    user: str | None
    session: str | None
    tenant: str | None
    tags: tuple[str, ...]
    metadata: Mapping[str, str | int | float | bool]
    prompt: PromptUse | None
    document_ids: tuple[str, ...]
    started_at: datetime
    """Start time, aware and in UTC."""
    duration: float
    """Duration in seconds."""
    time_to_first_token: float | None
    """Seconds from the start to the first token of a stream, ``None`` without a stream."""
    streamed: bool
    outcome: str
    """Outcome: ``ok``, ``error``, ``cancelled`` or ``blocked``."""
    error_type: str | None
