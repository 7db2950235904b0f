"""Interface of the readers of message content, the counterpart of ``WireFormat`` for token counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from . import Message, RequestContent


class ContentAccumulator(Protocol):
    """Accumulator of the messages of one stream, created only if content is recorded."""

    def add(self, chunk: Any) -> str | None:
        """Add a chunk. Return its text if it held nothing else."""

    def messages(self) -> list[Message]:
        """Return the messages so far, one per choice, with the vendor's own ``finish_reason`` if reported."""


def no_messages(_: Any) -> list[Message]:
    """Return no messages, for responses without content."""
    return []


@dataclass(frozen=True, slots=True)
class ContentFormat:
    """Readers of the content of one wire format: request, response and, for streams, an accumulator."""

    request: Callable[[Any], RequestContent]
    response: Callable[[Any], list[Message]] = no_messages
    accumulator: Callable[[], ContentAccumulator] | None = None
