"""Fixtures of the tests of calls over WebSockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("websockets")

from socket_server import SocketServer, socket_server


@pytest.fixture
def server() -> Iterator[SocketServer]:
    """A loopback server with scripted answers."""
    with socket_server() as scripted:
        yield scripted
