"""Content of one exchange, in one form for all vendors.

Messages and parts are plain dictionaries in the form of the OpenTelemetry convention, because they are written as JSON.
Binary data in them is a ``Blob``, which is not read before the call has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Part = dict[str, Any]
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Blob:
    """Binary data of a message, as sent: base64 text or bytes."""

    modality: str
    """Modality: ``image``, ``audio``, ``video`` or ``document``."""
    mime_type: str | None
    data: str | bytes


@dataclass(slots=True)
class RequestContent:
    """Content of one request."""

    system: list[Part] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """Texts to embed or, with a query, to rank."""
    query: str | None = None
    token_count: int = 0
    """Number of input tokens that the caller passed as numbers."""
    variables: dict[str, str] = field(default_factory=dict)
    """Variables of a prompt stored at the provider."""
    complete: bool = True
    """False if the caller passed an iterator, which llmtrace must not drain."""


@dataclass(frozen=True, slots=True)
class CallContent:
    """Content of one call: its request, ``None`` if it cannot be read, and the messages that the model produced."""

    request: RequestContent | None
    output: list[Message]
