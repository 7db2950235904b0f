"""What it takes to send one encoded request to one destination, and what may come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from .destination import Destination
from .payload import Encoder, Payload

__all__ = ["Outcome", "Transport"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt."""

    kind: Literal["accepted", "retry", "too_large", "refused"]
    message: str = ""
    after: float | None = None
    """Seconds the backend asks us to wait."""
    rejected: int = 0
    """Spans and the like of an accepted request that the backend did not take."""
    poison: bool = False
    """The failure may be the fault of this very request."""


class Transport(Protocol):
    """The way to one destination."""

    destination: Destination
    form: Encoder
    unit: str
    """What is counted on this way, in the plural: spans, data points, log records or scores."""
    encoding: str
    """How payloads are compressed on this way."""
    timeout: float
    limit: int
    """Bytes a request may have before compression."""

    def send(self, payload: Payload, timeout: float) -> Outcome:
        """Send it, once, in about ``timeout`` seconds. Raises nothing."""
        ...

    def after_fork(self) -> None:
        """Forget connections, which belong to the parent."""
        ...

    def close(self) -> None: ...
