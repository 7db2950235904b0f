"""The shape of a reader of content: what ``WireFormat`` is for counts, for what was said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from . import Message, RequestContent

__all__ = ["ContentAccumulator", "ContentFormat", "no_messages"]


class ContentAccumulator(Protocol):
    """Joins the chunks of one stream into the messages they add up to. Made only where content is wanted."""

    def add(self, chunk: Any) -> bool | None:
        """Take one chunk in; true when there was nothing in it but words."""

    def messages(self) -> list[Message]:
        """What was said so far, one message per choice. ``finish_reason`` is the vendor's own, where told."""


def no_messages(_: Any) -> list[Message]:
    return []


@dataclass(frozen=True, slots=True)
class ContentFormat:
    request: Callable[[Any], RequestContent]
    response: Callable[[Any], list[Message]] = no_messages
    accumulator: Callable[[], ContentAccumulator] | None = None
