"""Real servers that fork, recycle and terminate their workers: the span of every call arrives once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from serving import free_port, programs

from .backend import Backend, request_tags
from .conftest import SOURCE

pytestmark = [pytest.mark.exhaustive, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]

CALLS = """
import llmtrace, openai, os
llmtrace.instrument(clients=["openai"])

def ask(number):
    with openai.OpenAI(base_url=os.environ["VENDOR"], api_key="x", max_retries=0, timeout=20) as client:
        with llmtrace.tag(request=str(number)):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
"""
WEB = (
    CALLS
    + """
def app(environ, start_response):
    ask(environ["PATH_INFO"].strip("/"))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
)
QUEUE = (
    CALLS
    + """
from celery import Celery
app = Celery(broker_url="filesystem://", task_ignore_result=True)
app.conf.broker_transport_options = {
    "data_folder_in": os.environ["QUEUE"], "data_folder_out": os.environ["QUEUE"]}
ask = app.task(name="ask")(ask)
"""
)

Serve = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def serve(backend: Backend, spool: Path, tmp_path: Path, replay: Any) -> Iterator[Serve]:
    """Starts a server in a folder that has ``program.py``."""
    backend.up()
    with programs() as running:

        def start_server(code: str, *command: str, **variables: str) -> subprocess.Popen[str]:
            (tmp_path / "program.py").write_text(code, encoding="utf-8")
            environ = {
                **os.environ,
                "PYTHONPATH": f"{SOURCE}{os.pathsep}{tmp_path}",
                "OTEL_EXPORTER_OTLP_ENDPOINT": backend.url,
                "LLMTRACE_SPOOL": str(spool),
                "VENDOR": f"{replay.url}/v1",
                **variables,
            }
            process = subprocess.Popen(
                command, env=environ, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            running.append(process)
            return process

        yield start_server


def get(port: int, number: int) -> None:
    give_up = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}", timeout=30) as answer:
                assert answer.read() == b"ok"
                return
        except urllib.error.HTTPError:
            raise
        except OSError:  # it is not up yet, or a worker is being replaced
            assert time.monotonic() < give_up
            time.sleep(0.05)


def wait_for(backend: Backend, count: int) -> None:
    give_up = time.monotonic() + 120
    while len(request_tags(backend)) < count and time.monotonic() < give_up:
        time.sleep(0.02)


def terminate(process: subprocess.Popen[str]) -> str:
    """Have it end by SIGTERM, as a supervisor would."""
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=180)
    assert "Traceback" not in out, out
    return out


@pytest.mark.skipif(find_spec("gunicorn") is None, reason="needs gunicorn")
@pytest.mark.parametrize("more", [[], ["--preload"], ["--max-requests", "2"]], ids=["prefork", "preload", "recycled"])
def test_gunicorn_workers_export_each_call_once(more: list[str], backend: Backend, serve: Serve) -> None:
    """Two workers, loaded before or after the fork, replaced after two requests each, and ended by SIGTERM."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{port}", *more, "program:app"]
    server = serve(WEB, *command)
    for number in range(8):
        get(port, number)
    terminate(server)  # with spans that are younger than the interval
    assert request_tags(backend) == Counter(map(str, range(8)))


@pytest.mark.skipif(find_spec("celery") is None, reason="needs celery")
@pytest.mark.parametrize("more", [[], ["--max-tasks-per-child", "2"]], ids=["prefork", "recycled"])
def test_celery_workers_export_each_call_once(more: list[str], backend: Backend, serve: Serve, tmp_path: Path) -> None:
    """A prefork pool, whose workers are replaced after two tasks each, and which is ended by SIGTERM."""
    queue = tmp_path / "queue"
    queue.mkdir()
    send = "import program\nfor number in range(8): program.ask.delay(number)\n"
    sender = serve(QUEUE, sys.executable, "-c", send, QUEUE=str(queue))
    out, _ = sender.communicate(timeout=180)
    assert sender.returncode == 0, out
    command = [sys.executable, "-m", "celery", "-A", "program", "worker", "-c", "2", "-P", "prefork", "-l", "ERROR"]
    worker = serve(QUEUE, *command, "--without-gossip", "--without-mingle", *more, QUEUE=str(queue))
    wait_for(backend, 6)
    out = terminate(worker)
    wait_for(backend, 8)
    assert request_tags(backend) == Counter(map(str, range(8))), out


@pytest.mark.skipif(find_spec("uwsgi") is None and not (Path(sys.executable).parent / "uwsgi").exists(), reason="uwsgi")
@pytest.mark.parametrize("more", [[], ["--lazy-apps"]], ids=["prefork", "lazy"])
def test_uwsgi_workers_export_each_call_once(more: list[str], backend: Backend, serve: Serve) -> None:
    """Two workers with threads on, which uWSGI makes after or before it loads the program.

    It runs no exit handlers in a worker that SIGTERM finds in a request, and one is until its log line is written.
    """
    port = free_port()
    command = [str(Path(sys.executable).parent / "uwsgi"), "--http-socket", f"127.0.0.1:{port}", "-p", "2"]
    command += ["--master", "--enable-threads", "--die-on-term", "-w", "program:app", "-H", sys.prefix, *more]
    server = serve(WEB, *command)
    for number in range(8):
        get(port, number)
    wait_for(backend, 8)
    out = terminate(server)
    assert request_tags(backend) == Counter(map(str, range(8))), out
