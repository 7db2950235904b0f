"""Where a request is bound for, said without any credential."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from urllib.parse import urlsplit, urlunsplit

__all__ = ["Destination", "make_destination"]

_NOT_IDENTITY = frozenset({"user-agent", "content-type", "content-encoding", "content-length", "accept",
                           "accept-encoding", "connection"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Destination:
    """What a segment is bound to: its requests go nowhere else."""

    signal: str
    protocol: str
    endpoint: str
    """Without user name, password and query, which may be credentials."""
    sender: str
    """A 32-bit fingerprint of headers and credentials: enough to tell two accounts apart, useless to guess a key."""

    @property
    def key(self) -> str:
        """Names the destination in the spool folder."""
        return f"{self.signal}-{hashlib.blake2b(repr(astuple(self)).encode(), digest_size=6).hexdigest()}"


def make_destination(signal: str, protocol: str, endpoint: str, headers: Mapping[str, str]) -> Destination:
    """The destination of requests that carry these headers to this endpoint."""
    url = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    account, _, host = url.netloc.rpartition("@")
    clean = urlunsplit((url.scheme, host, url.path, "", ""))
    told = sorted((name.lower(), value) for name, value in headers.items() if name.lower() not in _NOT_IDENTITY)
    secret = repr((told, account, url.query)).encode()
    return Destination(signal, protocol, clean.removeprefix("//"), hashlib.blake2b(secret, digest_size=4).hexdigest())
