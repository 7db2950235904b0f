"""The handshake of a WebSocket that an SDK keeps open, from which its server is read."""

from __future__ import annotations

from typing import Any


def handshake_url(socket: Any) -> str:
    """Return the URL that a connection was opened with, without its path; empty if it cannot be read."""
    protocol = getattr(socket, "protocol", None)
    uri: Any = getattr(protocol, "uri", None) or getattr(protocol, "wsuri", None)
    host = getattr(uri, "host", None)
    if not host:
        return ""
    return f"wss://{f'[{host}]' if ':' in host else host}:{uri.port}?{uri.query}"
