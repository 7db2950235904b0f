"""A backend that runs, and what it is asked."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

SCENE = Path(__file__).parent / "scene.py"
PATIENCE = 240.0


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def ask(url: str, body: Any = None) -> Any:
    """What the backend answers, as JSON."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"content-type": "application/json"}), timeout=60) as answer:
        return json.load(answer)


def until(find: Callable[[], Any]) -> Any:
    """What ``find`` finds, as soon as it finds anything."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            found = find()
        except (URLError, ConnectionError, TimeoutError):
            found = None
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


class Backend:
    """A running backend."""

    def __init__(self, url: str, headers: str = "") -> None:
        self.url = url
        self._headers = headers

    def play(self) -> str:
        """Send the scene from a process of its own, as a program would; gives the trace's id."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "LLMTRACE_"))}
        environ |= {
            "OTEL_SERVICE_NAME": "scene",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{self.url}/v1/traces",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": self._headers,
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "60",
            "LLMTRACE_SPOOL": "off",
        }
        done = subprocess.run(
            [sys.executable, str(SCENE)], env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def tool_of(variable: str) -> str:
    """The command of a backend, or a skip where there is none."""
    command = os.environ.get(variable, "")
    if not command:
        pytest.skip(f"{variable} names no command; run nox -s backends")
    return command
