"""Encoded requests, as they go over the wire and lie in the spool."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["ENCODINGS", "Encoder", "Payload", "Unencodable", "pack"]

ENCODINGS = ("none", "gzip", "deflate")
_LEVEL = 6


class Unencodable(ValueError):
    """What cannot be brought into a request: ``reason`` is the one of the ledger."""

    def __init__(self, reason: str, items: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.items = items


@dataclass(frozen=True, slots=True)
class Payload:
    """One request as it goes over the wire."""

    body: bytes
    encoding: str
    """How ``body`` is compressed: one of ``ENCODINGS``."""
    items: int
    """Spans, data points, log records or scores in it."""

    def raw(self) -> bytes:
        """The body, uncompressed."""
        if self.encoding == "gzip":
            return gzip.decompress(self.body)
        return zlib.decompress(self.body) if self.encoding == "deflate" else self.body

    def encoded(self, encoding: str) -> Payload:
        """The same request, compressed that way."""
        return self if encoding == self.encoding else pack(self.raw(), encoding, self.items)


def pack(raw: bytes, encoding: str, items: int) -> Payload:
    """A request of these bytes, compressed that way."""
    if encoding == "gzip":
        return Payload(gzip.compress(raw, _LEVEL, mtime=0), encoding, items)
    if encoding == "deflate":
        return Payload(zlib.compress(raw, _LEVEL), encoding, items)
    return Payload(raw, "none", items)


class Encoder(Protocol):
    """How a destination wants to be written to."""

    def encode(self, batch: Sequence[Any], limit: int, encoding: str) -> Iterator[Payload | Unencodable]:
        """Requests of at most ``limit`` bytes before compression, that together hold the batch."""
        ...

    def join(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """Return what ``payloads``, which are compressed alike, hold in one request, or unchanged."""
        ...

    def split(self, payload: Payload) -> list[Payload]:
        """What to send instead of a request that was refused for its size; nothing when there is no less of it."""
        ...
