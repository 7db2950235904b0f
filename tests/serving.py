"""Loopback servers and child processes that end with their test."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer
from typing import TypeVar

Served = TypeVar("Served", bound=BaseServer)


class QuietHandler(BaseHTTPRequestHandler):
    """Handler that keeps connections open, sends at once and logs nothing."""

    protocol_version = "HTTP/1.1"
    # Headers and body are written apart: with Nagle's algorithm the body waits 40 ms for an acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving(server: Served) -> Iterator[Served]:
    """Run ``server`` on a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def programs() -> Iterator[list[subprocess.Popen[str]]]:
    """Yield a list for started processes. Kill those that still run at the end."""
    running: list[subprocess.Popen[str]] = []
    try:
        yield running
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
            process.communicate()
