"""What was said in one exchange, in one vocabulary for all vendors.

Messages and parts are plain dictionaries in the convention's form, since they end as JSON; ``Blob`` stands in them for
binary data, which is never read before the call has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Blob", "Message", "Part", "RequestContent"]

Part = dict[str, Any]
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Blob:
    """Binary data as it was sent: base64 text or bytes."""

    modality: str
    """``image``, ``audio``, ``video`` or ``document``."""
    mime_type: str | None
    data: str | bytes


@dataclass(slots=True)
class RequestContent:
    """The content of one request."""

    system: list[Part] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """What an embedding was asked of."""
    variables: dict[str, str] = field(default_factory=dict)
    """Of a prompt that the provider keeps."""
    complete: bool = True
    """False where the caller handed over an iterator, which is not ours to drain."""
