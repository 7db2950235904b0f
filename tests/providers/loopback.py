"""A loopback server with scripted responses, for cases that no recording covers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any

from serving import QuietHandler

CUT = object()
"""In place of a part of a body: the connection is closed there, without an end."""


@dataclass(frozen=True)
class ServerResponse:
    """HTTP response to send. A number among the parts is a pause in seconds, a callable is called."""

    parts: Sequence[Any] = ()
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def json_answer(body: Any, **more: Any) -> ServerResponse:
    return ServerResponse([json.dumps(body).encode()], **more)


def stream_answer(parts: Sequence[Any], **more: Any) -> ServerResponse:
    return ServerResponse([*parts, b""], **{"kind": "text/event-stream", **more})


@dataclass(frozen=True)
class ReceivedRequest:
    """HTTP request as the server received it."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class _Handler(QuietHandler):
    server: Loopback

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = json.loads(data)
        except ValueError:
            body = data
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.next_answer(ReceivedRequest(self.command, self.path, headers, body))
        try:
            self._send(answer)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST

    def _send(self, answer: ServerResponse) -> None:
        parts = list(answer.parts)
        while parts and not isinstance(parts[0], bytes) and parts[0] is not CUT:
            self._wait(parts.pop(0))
        self.send_response(answer.status)
        for name, value in {"content-type": answer.kind, **answer.headers}.items():
            self.send_header(name, value)
        chunked = len(parts) != 1 and answer.status != 204
        if chunked:
            self.send_header("transfer-encoding", "chunked")
        elif answer.status != 204:
            self.send_header("content-length", str(len(parts[0])))
        self.end_headers()
        for part in parts:
            if part is CUT:
                self.close_connection = True
                return
            if not isinstance(part, bytes):
                self._wait(part)
            elif part:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
                self.wfile.flush()
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _wait(self, pause: Any) -> None:
        if callable(pause):
            pause()
        else:
            time.sleep(pause)


class Loopback(ThreadingHTTPServer):
    """Server that sends the given responses in order, the last one repeatedly."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._answers: list[ServerResponse] = [json_answer({})]
        self._lock = threading.Lock()
        self.received: list[ReceivedRequest] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def will(self, *answers: ServerResponse) -> None:
        with self._lock:
            self._answers = list(answers)
            self.received = []

    def next_answer(self, received: ReceivedRequest) -> ServerResponse:
        with self._lock:
            self.received.append(received)
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def handle_error(self, *_: object) -> None:
        pass
