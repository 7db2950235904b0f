"""The handshake of a WebSocket that an SDK keeps open, from which its server is read."""

from __future__ import annotations

from typing import Any

__all__ = ["handshake_uri"]


def handshake_uri(socket: Any) -> Any:
    """Return the ``WebSocketURI`` that a connection was opened with, ``None`` if it cannot be read.

    It has the attributes ``host``, ``port`` and ``query``.
    """
    protocol = getattr(socket, "protocol", None)
    return getattr(protocol, "uri", None) or getattr(protocol, "wsuri", None)
