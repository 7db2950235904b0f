"""Identity of a destination, without any credential."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from urllib.parse import urlsplit, urlunsplit

_NOT_IDENTITY = frozenset({"user-agent", "content-type", "content-encoding", "content-length", "accept",
                           "accept-encoding", "connection"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Destination:
    """The destination that a spool segment is bound to. Its requests are sent nowhere else."""

    signal: str
    protocol: str
    endpoint: str
    """The address without user name, password and query, which may be credentials."""
    sender: str
    """A 32-bit fingerprint of headers and credentials: it separates two accounts but does not reveal a key."""

    @property
    def key(self) -> str:
        """The name of the destination in the spool folder."""
        return f"{self.signal}-{hashlib.blake2b(repr(astuple(self)).encode(), digest_size=6).hexdigest()}"


def make_destination(signal: str, protocol: str, endpoint: str, headers: Mapping[str, str]) -> Destination:
    """Return the destination of requests that carry ``headers`` to ``endpoint``."""
    url = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    account, _, host = url.netloc.rpartition("@")
    public_url = urlunsplit((url.scheme, host, url.path, "", ""))
    identifying = sorted((name.lower(), value) for name, value in headers.items() if name.lower() not in _NOT_IDENTITY)
    secret = repr((identifying, account, url.query)).encode()
    return Destination(
        signal, protocol, public_url.removeprefix("//"), hashlib.blake2b(secret, digest_size=4).hexdigest()
    )
