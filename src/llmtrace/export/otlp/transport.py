"""Interface of a transport, which sends one encoded request to one destination, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ..signals import Signal
from .destination import Destination
from .payload import Encoder, Payload

__all__ = ["Outcome", "Transport", "read_response"]


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


def read_response(signal: Signal, response: Any) -> Outcome:
    """Return the outcome of an accepted OTLP request, with the items that the backend rejected."""
    partial = response.partial_success
    return Outcome("accepted", partial.error_message[:200], rejected=max(0, getattr(partial, signal.rejected)))


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
