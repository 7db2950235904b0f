"""Backends: how they are started, and what they are asked."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

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


def command_of(name: str) -> str:
    """The command that starts a backend, where the environment names one."""
    return os.environ.get(f"{name.upper()}_COMMAND", "")


@dataclass(frozen=True)
class Command:
    """How a backend is started, and where it answers then."""

    line: list[str]
    url: str
    health: str
    environ: dict[str, str]
    grpc_port: int = 0


class Backend:
    """A backend that was started."""

    def __init__(self, command: Command) -> None:
        self.url = command.url
        self._command = command
        self.process = subprocess.Popen(
            command.line, env={**os.environ, **command.environ}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    @property
    def grpc_url(self) -> str:
        return f"http://127.0.0.1:{self._command.grpc_port}"

    def ready(self) -> Backend:
        """Itself, as soon as it answers."""
        name = self._command.line[0]

        def answers() -> bool:
            assert self.process.poll() is None, f"{name} ended"
            with urlopen(self.url + self._command.health, timeout=10) as answer:
                return bool(answer.status == 200)

        assert until(answers), f"{name} does not answer"
        return self

    def play(self, **more: str) -> str:
        """Send the scene from a process of its own, as a program would; gives the trace's id."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "LLMTRACE_"))}
        environ |= {
            "OTEL_SERVICE_NAME": "scene",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{self.url}/v1/traces",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "60",
            "LLMTRACE_SPOOL": "off",
            **more,
        }
        done = subprocess.run(
            [sys.executable, str(SCENE)], env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
