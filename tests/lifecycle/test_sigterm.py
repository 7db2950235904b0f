"""Servers and pools that are ended by SIGTERM lose no call that ended 50 ms before, and end as ever."""

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

from export.backend import Backend, request_tags
from serving import free_port, programs

from .programs import CALLS, environment

pytestmark = [pytest.mark.exhaustive, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]

ROUNDS = int(os.environ.get("ROUNDS", "1"))
CALLS_EACH = 20
KEPT_SECONDS = 0.05
"""Within which a finished call is in the spool."""

ASGI = (
    CALLS
    + """
llmtrace.instrument()
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await ask_async(scope["path"].strip("/"))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
)
WSGI = (
    CALLS
    + """
llmtrace.instrument()
def app(environ, start_response):
    ask(environ["PATH_INFO"].strip("/"))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
)
SERVERS = {
    "uvicorn": (ASGI, "-m uvicorn program:app --log-level error --port {port}"),
    "gunicorn uvicorn": (ASGI, "-m gunicorn -w 2 -k uvicorn_worker.UvicornWorker -b 127.0.0.1:{port} program:app"),
    "gunicorn uvicorn preload": (
        ASGI,
        "-m gunicorn -w 2 --preload -k uvicorn_worker.UvicornWorker -b 127.0.0.1:{port} program:app",
    ),
    "gunicorn gthread": (WSGI, "-m gunicorn -w 2 -k gthread --threads 4 -b 127.0.0.1:{port} program:app"),
}
NEEDS = {"gunicorn uvicorn": "uvicorn_worker", "gunicorn gthread": "gunicorn", "uvicorn": "uvicorn"}

Serve = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(backend: Backend, spool: Path, tmp_path: Path, vendor: str) -> Iterator[Serve]:
    """Starts a program in a folder that has ``program.py``."""
    with programs() as running:

        def start_program(code: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
            (tmp_path / "program.py").write_text(code, encoding="utf-8")
            # Measuring coverage installs a SIGTERM handler of its own, which is not what these tests are about.
            settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": backend.url, "LLMTRACE_SPOOL": str(spool)}
            settings |= {"COVERAGE_PROCESS_CONFIG": "", **variables}
            environ = environment(vendor, **settings)
            environ["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
            command = [sys.executable, *(arguments or (str(tmp_path / "program.py"),))]
            process = subprocess.Popen(
                command, env=environ, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            running.append(process)
            return process

        yield start_program


def get(port: int, number: str) -> None:
    give_up = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}", timeout=30) as answer:
                assert answer.read() == b"ok"
                return
        except urllib.error.HTTPError:
            raise
        except OSError:  # it is not up yet
            assert time.monotonic() < give_up
            time.sleep(0.05)


def adopt(start: Serve, backend: Backend, spans: int) -> None:
    """Run the program's next start, which sends what was left."""
    code = CALLS + "llmtrace.instrument()\nask('restart')\nassert llmtrace.flush(30)\n"
    restart = start(code)
    out, _ = restart.communicate(timeout=180)
    assert restart.returncode == 0, out
    give_up = time.monotonic() + 120
    while len(request_tags(backend)) < spans + 1 and time.monotonic() < give_up:
        time.sleep(0.02)


@pytest.mark.parametrize("name", SERVERS)
def test_server_ended_by_sigterm_loses_no_call(name: str, backend: Backend, start: Serve) -> None:
    """Every call that was answered 50 ms before arrives once, and the exit status is that without llmtrace."""
    if find_spec(NEEDS[" ".join(name.split()[:2])]) is None:
        pytest.skip(f"needs {name}")
    code, arguments = SERVERS[name]
    statuses = {}
    for number in range(ROUNDS + 1):
        port = free_port()
        # The last round is without us.
        enabled = "true" if number < ROUNDS else "false"
        server = start(code, *arguments.format(port=port).split(), LLMTRACE_ENABLED=enabled)
        for call in range(CALLS_EACH):
            get(port, f"{number}.{call}")
        time.sleep(KEPT_SECONDS)
        server.send_signal(signal.SIGTERM)
        out, _ = server.communicate(timeout=180)
        assert "Traceback" not in out, out
        statuses[number] = server.returncode
    adopt(start, backend, ROUNDS * CALLS_EACH)
    expected = [f"{number}.{call}" for number in range(ROUNDS) for call in range(CALLS_EACH)]
    assert request_tags(backend) == Counter([*expected, "restart"])
    assert len(set(statuses.values())) == 1, statuses


POOL = (
    CALLS
    + """
import multiprocessing
llmtrace.instrument()
if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        pool.map(ask, [f"{sys.argv[2]}.{number}" for number in range(20)], chunksize=1)
        time.sleep(0.05)
"""
)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_pool_as_a_context_manager_loses_no_call(method: str, backend: Backend, start: Serve, tmp_path: Path) -> None:
    """The pool ends its workers by SIGTERM: what they have done arrives, now or with the next start."""
    for number in range(ROUNDS):
        # The workers that are ended get the time to send that a busy machine needs: what it cuts short is logged.
        arguments = (str(tmp_path / "program.py"), method, str(number))
        program = start(POOL, *arguments, LLMTRACE_FLUSH_TIMEOUT="60")
        out, _ = program.communicate(timeout=180)
        assert (program.returncode, out) == (0, "")
    adopt(start, backend, ROUNDS * 20)
    expected = [f"{number}.{call}" for number in range(ROUNDS) for call in range(20)]
    assert request_tags(backend) == Counter([*expected, "restart"])


PLAIN = (
    CALLS
    + """
import signal
llmtrace.instrument()
for number in range(20): ask(f"{sys.argv[1]}.{number}")
AFTER
print("done", flush=True)
WAIT
"""
)
WAITS = {"pause": "signal.pause()\nsys.exit(3)", "sleep": "time.sleep(60)"}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("mode", ["ok", "hang"])
def test_plain_process_ends_by_the_signal(wait: str, mode: str, backend: Backend, start: Serve, tmp_path: Path) -> None:
    """The status says SIGTERM, no further line of the program runs, and all calls arrive, in the end."""
    backend.mode = mode
    for number in range(ROUNDS):
        code = PLAIN.replace("AFTER", "").replace("WAIT", WAITS[wait])
        program = start(code, str(tmp_path / "program.py"), str(number), LLMTRACE_FLUSH_TIMEOUT="1")
        assert program.stdout is not None
        assert program.stdout.readline() == "done\n"
        time.sleep(KEPT_SECONDS)
        program.send_signal(signal.SIGTERM)
        assert program.wait(30) == -signal.SIGTERM
    backend.mode = "ok"
    adopt(start, backend, ROUNDS * 20)
    assert set(request_tags(backend)) == {"restart", *(f"{n}.{call}" for n in range(ROUNDS) for call in range(20))}


def test_kill_after_sigterm_loses_no_call(backend: Backend, start: Serve, tmp_path: Path) -> None:
    """A program that ignores SIGTERM while the backend hangs is killed: its calls arrive with the next start."""
    backend.mode = "hang"
    for number in range(ROUNDS):
        code = PLAIN.replace("AFTER", "signal.signal(signal.SIGTERM, signal.SIG_IGN)").replace("WAIT", WAITS["sleep"])
        program = start(code, str(tmp_path / "program.py"), str(number))
        assert program.stdout is not None
        assert program.stdout.readline() == "done\n"
        time.sleep(KEPT_SECONDS)
        program.send_signal(signal.SIGTERM)
        program.kill()
        assert program.wait(30) == -signal.SIGKILL
    backend.mode = "ok"
    adopt(start, backend, ROUNDS * 20)
    assert set(request_tags(backend)) == {"restart", *(f"{n}.{call}" for n in range(ROUNDS) for call in range(20))}


HANDLERS = {
    "before us": ("before", "raise SystemExit(7)", 7),
    "after us": ("after", "raise SystemExit(7)", 7),
    "after us, by os._exit": ("after", "os._exit(5)", 5),
    "nothing": ("after", "print('handled', flush=True)", -signal.SIGKILL),
}


@pytest.mark.parametrize("name", HANDLERS)
def test_handlers_of_the_application_still_run(name: str, backend: Backend, start: Serve, tmp_path: Path) -> None:
    """A handler installed before or after instrument() is called once, and decides what follows."""
    place, action, status = HANDLERS[name]
    install = (
        f"def handler(number, frame):\n    assert number == signal.SIGTERM and frame is not None\n"
        f"    print('handler', flush=True)\n    {action}\nsignal.signal(signal.SIGTERM, handler)\n"
    )
    before, after = (install, "") if place == "before" else ("", install + "ask('look')\nask('again')")
    code = PLAIN.replace("AFTER", after).replace("WAIT", WAITS["sleep"])
    if place == "before":
        code = code.replace("llmtrace.instrument()", before + "llmtrace.instrument()")
    program = start(code, str(tmp_path / "program.py"), "0")
    assert program.stdout is not None
    assert program.stdout.readline() == "done\n"
    program.send_signal(signal.SIGTERM)
    assert program.stdout.readline() == "handler\n"
    # What had ended was sent before the handler ran.
    assert len(request_tags(backend)) >= 20
    if status == -signal.SIGKILL:
        assert program.stdout.readline() == "handled\n"
        program.kill()
    assert program.wait(30) == status


def test_ignored_signal_stays_ignored_and_off_leaves_it_alone(tmp_path: Path, start: Serve) -> None:
    """SIG_IGN, ``off`` and an instrument() on another thread leave the signal as it is."""
    code = CALLS + (
        "import signal, threading\n"
        "def handler(): return signal.getsignal(signal.SIGTERM)\n"
        "llmtrace.instrument(handle_sigterm='off'); assert handler() == signal.SIG_DFL\nllmtrace.uninstrument()\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nllmtrace.instrument(); ask()\n"
        "assert handler() == signal.SIG_IGN\nllmtrace.uninstrument()\nsignal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "thread = threading.Thread(target=llmtrace.instrument); thread.start(); thread.join()\n"
        "assert handler() == signal.SIG_DFL\nask()\nassert handler() != signal.SIG_DFL\n"
        "llmtrace.uninstrument()\nassert handler() == signal.SIG_DFL\n"
    )
    program = start(code, LLMTRACE_STORE="off")
    out, _ = program.communicate(timeout=180)
    assert program.returncode == 0, out


LOCKED = (
    CALLS
    + """
import signal, threading
llmtrace.instrument()
ask("first"); llmtrace.flush(20)
from llmtrace.export.stats import ExportStats
ledgers = [route.stats for route in llmtrace._api._current._runtime.pipeline._traces._routes]
ask("before")
INTERRUPTED
time.sleep(60)
"""
)
PATCHES = {
    # Interrupted inside a lock of the ledger, which the thread that writes needs to finish.
    "ledger": (
        "ours = {'__name__': 'llmtrace.test', 'lock': ledgers[0]._lock, 'os': os, 'signal': signal, 'time': time}\n"
        "exec('with lock:\\n os.kill(os.getpid(), signal.SIGTERM)\\n time.sleep(0.05)', ours)\n"
    ),
    "threading": (
        "def held():\n    with threading._active_limbo_lock:\n"
        "        os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.05)\nheld()\n"
    ),
}


@pytest.mark.parametrize("lock", PATCHES)
def test_signal_that_interrupts_a_lock_neither_hangs_nor_loses(
    lock: str, backend: Backend, start: Serve, tmp_path: Path
) -> None:
    """The main thread holds a lock that flushing needs: the process ends all the same, and nothing is lost."""
    code = LOCKED.replace("INTERRUPTED", PATCHES[lock])
    program = start(code, LLMTRACE_FLUSH_TIMEOUT="120")
    program.communicate(timeout=60)  # long before the time-out
    assert program.returncode == -signal.SIGTERM
    assert {"first", "before"} <= set(request_tags(backend))


def test_handler_is_chained_once_for_one_installed_later(monkeypatch: pytest.MonkeyPatch, spans: Any) -> None:
    """Looking again changes nothing while ours is on top, and goes on top of one that was installed since."""
    from llmtrace.export import termination

    original = signal.getsignal(signal.SIGTERM)
    called: list[int] = []
    monkeypatch.setattr(termination, "_flush", lambda ending: called.append(int(ending)))
    monkeypatch.setattr(termination, "_timeout_seconds", 10.0)
    try:
        signal.signal(signal.SIGTERM, lambda *_: called.append(9))
        termination.look_again()
        ours = signal.getsignal(signal.SIGTERM)
        termination.look_again()
        assert signal.getsignal(signal.SIGTERM) is ours
        signal.raise_signal(signal.SIGTERM)
        assert called == [0, 9]
    finally:
        signal.signal(signal.SIGTERM, original)
