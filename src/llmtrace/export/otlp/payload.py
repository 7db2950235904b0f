"""Encoded requests, in the form in which they are sent and spooled."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

ENCODINGS = ("none", "gzip", "deflate")
_COMPRESSION_LEVEL = 6


class Unencodable(ValueError):
    """Items that cannot be encoded. ``reason`` is the drop reason that ``ExportStats`` counts them under."""

    def __init__(self, reason: str, items: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.items = items


@dataclass(frozen=True, slots=True, eq=False)
class Payload:
    """One encoded request. It is also the entry of a queue in memory, compared by identity."""

    body: bytes
    encoding: str
    """Compression of ``body``: one of ``ENCODINGS``."""
    items: int
    """Number of spans, data points, log records or scores in the request."""

    def load(self) -> Payload:
        """Return the request itself; the records of a segment, the entries of a queue on disk, are read here."""
        return self

    def raw(self) -> bytes:
        """Return the body, uncompressed."""
        if self.encoding == "gzip":
            return gzip.decompress(self.body)
        return zlib.decompress(self.body) if self.encoding == "deflate" else self.body

    def encoded(self, encoding: str) -> Payload:
        """Return the same request, compressed with ``encoding``."""
        return self if encoding == self.encoding else pack(self.raw(), encoding, self.items)


def pack(raw: bytes, encoding: str, items: int) -> Payload:
    """Compress ``raw`` with ``encoding`` and return it as a payload of ``items`` items."""
    if encoding == "gzip":
        return Payload(gzip.compress(raw, _COMPRESSION_LEVEL, mtime=0), encoding, items)
    if encoding == "deflate":
        return Payload(zlib.compress(raw, _COMPRESSION_LEVEL), encoding, items)
    return Payload(raw, "none", items)


class Encoder(Protocol):
    """The request format of one destination."""

    def encode(self, batch: Sequence[Any], limit: int, encoding: str) -> Iterator[Payload | Unencodable]:
        """Encode a batch as requests of at most ``limit`` bytes each before compression."""
        ...

    def join(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """Merge payloads of the same encoding into one request, or return them unchanged."""
        return payloads

    def split(self, payload: Payload) -> list[Payload]:
        """Split a request that was refused for its size. Return nothing if it cannot be made smaller."""
        return []
