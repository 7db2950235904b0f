"""The two transports, each of which sends one encoded request to one destination, and the outcome of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..signals import Signal

if TYPE_CHECKING:
    from .grpc_transport import OtlpGrpcTransport
    from .http_transport import HttpTransport

Transport: TypeAlias = "HttpTransport | OtlpGrpcTransport"
"""A connection to one destination."""


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
