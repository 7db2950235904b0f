"""Interface of a transport, which sends one encoded request to one destination, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from .destination import Destination
from .payload import Encoder, Payload

__all__ = ["Outcome", "Transport"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one attempt to send a request."""

    kind: Literal["accepted", "retry", "too_large", "refused"]
    message: str = ""
    retry_after: float | None = None
    """Seconds to wait, as requested by the backend."""
    rejected: int = 0
    """Number of items of an accepted request that the backend rejected."""
    poison: bool = False
    """True if this particular request may be the cause of the failure."""


class Transport(Protocol):
    """A connection to one destination."""

    destination: Destination
    encoder: Encoder
    unit: str
    """Plural name of the items that are sent: spans, data points, log records or scores."""
    encoding: str
    """Compression of the payloads: one of ``ENCODINGS``."""
    timeout: float
    """Seconds for one request."""
    limit: int
    """Maximum bytes of a request before compression."""

    def send(self, payload: Payload, timeout: float) -> Outcome:
        """Send the request once, within about ``timeout`` seconds. It raises nothing."""
        ...

    def after_fork(self) -> None:
        """Drop connections in a forked child: they belong to the parent."""
        ...

    def close(self) -> None:
        """Close the connections. The next ``send`` opens new ones."""
        ...
