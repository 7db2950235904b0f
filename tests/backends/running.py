"""Backends: how they are started, and what they are asked."""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

SCENE = Path(__file__).parent / "scene.py"
DOCS = Path(__file__).parents[2] / "docs" / "how-to" / "backends"
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


def make_certificate(folder: Path) -> None:
    """Write ``server.pem``, a certificate of its own authority for 127.0.0.1, and ``server.key``."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "server.key", "-out", "server.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip


@contextmanager
def relay(url: str) -> Iterator[tuple[str, list[bytes]]]:
    """Pass OTLP requests on to ``url``; yield the address and the bodies as they come."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            names = ("content-type", "content-encoding")
            headers = {name: self.headers[name] for name in names if name in self.headers}
            with urlopen(Request(url, body, headers), timeout=60) as answer:
                data = answer.read()
                bodies.append(gzip.decompress(body) if "content-encoding" in headers else body)
                self.send_response(answer.status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", bodies
    finally:
        server.shutdown()
        server.server_close()


def documented(page: str, title: str, **replacements: Any) -> str:
    """Return a configuration that a page of ``docs/how-to/backends`` includes.

    Args:
        page: The page.
        title: The name of the file.
        **replacements: Ports by the port in the documentation, such as ``p4318=50001``, and files by name.
    """
    text = (DOCS / page / title).read_text(encoding="utf-8")
    for name, value in replacements.items():
        pattern = rf":{name[1:]}\b" if name[1:].isdecimal() else re.escape(name)
        text, count = re.subn(pattern, f":{value}" if name[1:].isdecimal() else str(value), text)
        assert count, f"{title} does not have {name}"
    return text


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
    health_url: str = ""
    """Base URL of ``health`` and of queries, if that is not ``url``."""
    secure_ports: tuple[int, int] = (0, 0)
    """OTLP over TLS, with HTTP and with gRPC."""
    certificate: str = ""


class Backend:
    """A backend that was started."""

    def __init__(self, command: Command) -> None:
        self.url = command.url
        self._command = command
        self.process = subprocess.Popen(
            command.line, env={**os.environ, **command.environ}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    @property
    def query_url(self) -> str:
        return self._command.health_url or self.url

    @property
    def grpc_url(self) -> str:
        return f"http://127.0.0.1:{self._command.grpc_port}"

    @property
    def secure(self) -> dict[str, str]:
        """Variables for OTLP over HTTP with TLS and a password."""
        return {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"https://127.0.0.1:{self._command.secure_ports[0]}/v1/traces",
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": self._command.certificate,
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "authorization=Basic%20c2hvcDpzZWNyZXQ=",
        }

    @property
    def secure_grpc(self) -> dict[str, str]:
        """Variables for OTLP over gRPC with TLS and a password."""
        return {
            **self.secure,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"https://127.0.0.1:{self._command.secure_ports[1]}",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
        }

    def ready(self) -> Backend:
        """Itself, as soon as it answers."""
        name = self._command.line[0]

        def answers() -> bool:
            assert self.process.poll() is None, f"{name} ended"
            with urlopen(self.query_url + self._command.health, timeout=10) as answer:
                return bool(answer.status == 200)

        assert until(answers), f"{name} does not answer"
        return self

    def play(self, **more: str) -> str:
        """Send the scene from a process of its own, as a program would; gives the trace's id."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "LLMTRACE_"))}
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # requests prefers these to the variable of OpenTelemetry
            environ.pop(name, None)
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
