"""Programs that make calls through the ``openai`` client to a loopback vendor, for tests that start processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import llmtrace
from serving import QuietHandler, serving

SOURCE = Path(llmtrace.__file__).parents[1]

CALLS = """
import os, sys, time
import llmtrace, openai

clients = {}

def client(kind):
    key = kind, os.getpid()
    if key not in clients:
        clients[key] = kind(base_url=os.environ["VENDOR"], api_key="x", max_retries=0, timeout=20)
    return clients[key]

def ask(number=0, **more):
    with llmtrace.tag(request=str(number)):
        return client(openai.OpenAI).chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], **more)

async def ask_async(number=0):
    with llmtrace.tag(request=str(number)):
        return await client(openai.AsyncOpenAI).chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
"""
"""Not instrumented yet."""

_CHAT = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip
_CHUNK = {
    "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini",
    "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}],
}  # fmt: skip


class _Vendor(QuietHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body.get("stream"):
            events = [json.dumps(_CHUNK).encode()] * 3 + [b"[DONE]"]
            data, kind = b"".join(b"data: " + event + b"\n\n" for event in events), "text/event-stream"
        else:
            data, kind = json.dumps(_CHAT).encode(), "application/json"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Ignore clients that were killed."""


@contextmanager
def vendor() -> Iterator[str]:
    """Serve chat completions; gives the base URL."""
    with serving(_Server(("127.0.0.1", 0), _Vendor)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"


def environment(vendor_url: str, **variables: str) -> dict[str, str]:
    """Return the variables of a program that imports llmtrace from here."""
    return {**os.environ, "PYTHONPATH": str(SOURCE), "VENDOR": vendor_url, **variables}


def run(path: Path, code: str, variables: dict[str, str], *, status: int = 0, timeout: float = 180) -> str:
    """Run a program from a file to its end and return what it printed."""
    path.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(path)], env=variables, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def threads(prefix: str = "llmtrace-") -> list[Any]:
    """Return the running threads of llmtrace in this process."""
    return [each for each in threading.enumerate() if each.name.startswith(prefix)]
