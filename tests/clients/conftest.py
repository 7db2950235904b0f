"""Fixtures of the tests that make calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from loopback import Loopback, json_answer


@pytest.fixture(scope="session")
def _loopback() -> Iterator[Loopback]:
    server = Loopback()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def loopback(_loopback: Loopback) -> Loopback:
    """The loopback server, answering ``{}`` until told otherwise."""
    _loopback.will(json_answer({}))
    return _loopback
