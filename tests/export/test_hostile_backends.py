"""Answers that no backend should give, files that nobody should leave, and clocks that go backwards."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llmtrace._settings import load
from llmtrace.export.otlp.http_transport import OtlpHttpTransport
from llmtrace.export.otlp.payload import Payload
from llmtrace.export.pipeline import Pipeline
from llmtrace.export.signals import TRACES
from llmtrace.export.spool.inventory import survey

from .backend import Backend

pytestmark = pytest.mark.exhaustive

Run = Callable[..., str]
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
Answering = Callable[[Callable[[socket.socket], None]], str]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """A server that reads one request from each connection and has a function answer it."""
    listening: list[socket.socket] = []

    def start_server(answer: Callable[[socket.socket], None]) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    with suppress(OSError):
                        answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield start_server
    for server in listening:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def send(url: str, monkeypatch: pytest.MonkeyPatch, timeout: float = 1.0) -> Any:
    monkeypatch.setenv(ENDPOINT, url)
    transport = OtlpHttpTransport(TRACES)
    try:
        return transport.send(Payload(b"", "none", 0), timeout)
    finally:
        transport.close()


OK = b"HTTP/1.1 200 OK\r\n"
FOREVER = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def chunks(connection: socket.socket) -> None:
    connection.sendall(FOREVER)
    while True:
        connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")


def trickle(connection: socket.socket) -> None:
    connection.sendall(OK + b"Content-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize(
    "answer",
    [
        lambda connection: connection.sendall(OK + b"Content-Length: 7\r\n\r\n\xff\xff\xff\xff\xff\xff\xff"),
        lambda connection: connection.sendall(OK + b"Content-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"),
        lambda connection: connection.sendall(OK + b"Content-Length: 100\r\n\r\nabc"),
        chunks,
        trickle,
    ],
    ids=["rubbish", "html", "cut in the middle", "without end", "a byte at a time"],
)
def test_2xx_is_an_acceptance_whatever_the_body(answer: Any, answering: Answering, monkeypatch: Any) -> None:
    """The body is read for no longer than a request may take, and to no more than 64 KiB."""
    assert send(answering(answer), monkeypatch).kind == "accepted"


@pytest.mark.parametrize(
    "answer",
    [
        lambda connection: connection.sendall(b"HTTP/1.1 20"),
        lambda connection: connection.sendall(b"\x16\x03\x01\x00\x00rubbish\r\n\r\n"),
        lambda connection: time.sleep(1.5),
        lambda connection: None,
    ],
    ids=["cut in the status", "not http", "silence", "closed"],
)
def test_invalid_response_is_retried(answer: Any, answering: Answering, monkeypatch: Any) -> None:
    """What is no answer is no verdict on the request."""
    outcome = send(answering(answer), monkeypatch, timeout=0.5)
    assert (outcome.kind, outcome.retry_after) == ("retry", None)


@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}", "http://no-such-host.invalid", "http://127.0.0.1:9"])
def test_unreachable_backend_is_retried(url: str, backend: Backend, monkeypatch: Any) -> None:
    """A failed handshake, a name that does not resolve and a closed port are all outages."""
    backend.up()
    assert send(url.format(port=backend.port), monkeypatch).kind == "retry"


def test_proxy_variables_are_applied(answering: Answering, monkeypatch: Any) -> None:
    """Requests go through the proxy of the standard variables, and not where no_proxy says so."""
    seen: list[int] = []

    def proxy(connection: socket.socket) -> None:
        seen.append(1)
        connection.sendall(OK + b"Content-Length: 0\r\n\r\n")

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", answering(proxy))
    assert send("http://backend.invalid", monkeypatch).kind == "accepted"
    assert seen == [1]
    monkeypatch.setenv("no_proxy", "backend.invalid")
    assert send("http://backend.invalid", monkeypatch).kind == "retry"


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("-5", 0, 0),
        ("0", 0, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("1000000000", 1e9, 1e9),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 1e9, 1e12),
        ("soon", None, None),
        ("1e999", None, None),
        ("nan", None, None),
        ("", None, None),
    ],
)
def test_absurd_retry_after_is_bounded_or_ignored(
    value: str, least: Any, most: Any, answering: Answering, monkeypatch: Any
) -> None:
    """It is a number of seconds from now, never negative, or absent."""
    head = f"HTTP/1.1 429 Too Many\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n".encode()
    outcome = send(answering(lambda connection: connection.sendall(head)), monkeypatch)
    assert outcome.kind == "retry"
    assert outcome.retry_after == least == most or least <= outcome.retry_after <= most


def test_retry_after_zero_does_not_cause_a_busy_loop(backend: Backend, run: Run) -> None:
    """A backend that says "at once" is asked again no sooner than without it."""
    backend.mode, backend.retry_after = 429, "0"
    backend.up()
    run("call('a')\npipeline.flush(1.5)\nos._exit(0)\n")
    assert len(backend.attempts) <= 5


def test_repeated_request_has_the_same_idempotency_key(backend: Backend, run: Run) -> None:
    """A request that is repeated is recognized by its Idempotency-Key."""
    backend.mode = 503
    backend.up()
    run("call('a')\npipeline.flush(0.5)\nos._exit(0)\n")
    backend.mode = "ok"
    run("call('b')\nassert pipeline.flush(20)\n")
    keys = [headers["Idempotency-Key"] for headers in backend.headers]
    assert len(set(keys)) == 2
    assert len(keys) > 2


def test_span_above_the_request_limit_loses_its_content(backend: Backend, run: Run) -> None:
    """A span above the limit of a request arrives without what was said, before any backend has refused it."""
    backend.up()
    run(
        "from llmtrace.export.otlp.http_transport import HttpTransport\nHttpTransport.limit = 50_000\n"
        "span = tracer.start_span('huge', attributes={'gen_ai.output.messages': 'x' * 200_000, 'a': 1})\n"
        "span.end()\nassert pipeline.flush(20)\n"
    )
    assert backend.names == {"huge": 1}
    assert len(backend.attempts) == 1


def left_behind(run: Run) -> None:
    run("for number in range(3):\n    call(f'call-{number}')\n    pipeline.flush(0.15)\nos._exit(0)\n")


def test_flipped_length_loses_only_its_own_record(backend: Backend, run: Run, drain: Any, spool: Path) -> None:
    """A record whose length is wrong costs itself, and one whose description is wrong costs nothing."""
    left_behind(run)
    (segment,) = spool.rglob("*.seg")
    data = bytearray(segment.read_bytes())
    first = data.index(b"\xf1REC")
    data[first + 12] ^= 0x3F  # the length of the first record
    data[10] ^= 0xFF  # the length of the description
    segment.write_bytes(data)
    backend.up()
    drain()
    assert set(backend.names) == {"call-1", "call-2", "restart"}


def test_foreign_files_are_unchanged(backend: Backend, run: Run, drain: Any, spool: Path) -> None:
    """What is not ours in the folder is neither read nor removed, and disturbs nobody."""
    (spool / "traces-ffffffffffff").mkdir(parents=True)
    (spool / "photos").mkdir()
    (spool / "photos" / "one.jpg").write_bytes(b"jpg")
    (spool / "notes.txt").write_text("mine")
    (spool / "loop").symlink_to(spool)
    left_behind(run)
    backend.up()
    assert drain()
    assert set(backend.names) == {"call-0", "call-1", "call-2", "restart"}
    assert (spool / "notes.txt").read_text() == "mine"
    assert (spool / "photos" / "one.jpg").exists()
    survey(spool)


def test_folder_replaced_by_a_file_keeps_spans_in_memory(backend: Backend, run: Run) -> None:
    """When the folder becomes a file while it is in use, later spans wait in memory and arrive."""
    backend.mode = 503
    backend.up()
    out = run(
        "import shutil, pathlib, urllib.request\n"
        "from llmtrace.export.otlp import sender\nsender._LAST_BACKOFF = 0.25\n"
        "call('gone')\npipeline.flush(0.3)\n"
        "folder = pathlib.Path(os.environ['LLMTRACE_SPOOL'])\n"
        "shutil.rmtree(folder)\nfolder.write_text('a file')\n"
        "call('later')\npipeline.flush(0.5)\n"
        "urllib.request.urlopen(sys.argv[1] + '/ok').read()\n"
        "pipeline.flush(10)\nprint(pipeline.counts()[0].dropped)\n",
        backend.url,
    )
    assert out.strip() == "{'removed': 1}"
    assert list(backend.names) == ["later"]


def test_symbolic_link_is_not_followed(backend: Backend, run: Run, spool: Path, tmp_path: Path) -> None:
    """Nobody can have us write into a file of theirs through a link in the folder."""
    target = tmp_path / "precious"
    target.write_text("precious")
    spool.mkdir()
    (spool / "losses.jsonl").symlink_to(target)
    backend.mode = 400
    backend.up()
    run("call('a')\npipeline.flush(10)\n")
    assert target.read_text() == "precious"


def test_clock_that_goes_backwards_loses_no_span(backend: Backend, run: Run) -> None:
    """Segments keep their order, and everything arrives, when the time of day jumps back by a day."""
    backend.up()
    run(
        "real = time.time_ns\n"
        "call('before')\npipeline.flush(10)\n"
        "time.time_ns = lambda: real() - 86_400_000_000_000\n"
        "for number in range(5):\n    call(f'call-{number}')\n    assert pipeline.flush(10)\n"
    )
    assert set(backend.names) == {"before", *(f"call-{number}" for number in range(5))}


def test_endpoints_that_share_a_folder_get_only_their_own_spans(backend: Backend, run: Run, spool: Path) -> None:
    """What is bound for one backend is not sent to another, though they share the folder."""
    left_behind(run)
    with Backend() as other:
        other.up()
        run("call('other')\nassert pipeline.flush(10)\n", **{ENDPOINT: other.url})
        assert list(other.names) == ["other"]
        assert not other.replays
    backend.up()
    run("call('own')\nassert pipeline.flush(10)\n")
    assert set(backend.names) == {"call-0", "call-1", "call-2", "own"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be another user")
def test_folder_of_another_user_keeps_spans_in_memory(backend: Backend, run: Run, tmp_path: Path) -> None:
    """Where the folder is somebody else's, spans wait in memory, and arrive."""
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == 0 and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    backend.up()
    run("os.setuid(65534)\ncall('a')\nassert pipeline.flush(10)\n", LLMTRACE_SPOOL=str(folder))
    assert list(backend.names) == ["a"]


LEAVING = {
    "sys.exit in a thread": "import threading\n"
    "def work():\n    call('a')\n    sys.exit(3)\n"
    "thread = threading.Thread(target=work)\nthread.start()\nthread.join()\n",
    "a daemon thread at exit": "import threading\ncall('a')\n"
    "def work():\n    while True: time.sleep(0.001)\n"
    "threading.Thread(target=work, daemon=True).start()\n",
    "closing event loops": "import asyncio\n"
    "async def main(name): call(name)\n"
    "asyncio.run(main('a'))\nasyncio.run(asyncio.sleep(0))\n",
    "an exception": "sys.excepthook = lambda *_: None\ncall('a')\nsys.stderr = None\n",
    "a pool": "import multiprocessing\n"
    "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
    "    pool.map(call, ['a'])\n    pool.close()\n    pool.join()\n",
    "fork in the middle of a flush": "import threading\n"
    "call('a')\nthread = threading.Thread(target=pipeline.flush, args=(5,))\nthread.start()\n"
    "pid = os.fork()\n"
    "if pid == 0: os._exit(0 if pipeline.flush(5) else 1)\n"
    "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0\nthread.join()\n",
}


@pytest.mark.parametrize("code", LEAVING.values(), ids=LEAVING)
def test_every_kind_of_exit_exports_the_spans(code: str, backend: Backend, run: Run) -> None:
    """However a program ends that ends at all, its span arrives, once."""
    backend.up()
    run(code)
    assert backend.names == {"a": 1}


def test_spool_removed_between_two_runs_is_created_again(backend: Backend, run: Run, spool: Path) -> None:
    """A folder that is gone is made again."""
    left_behind(run)
    shutil.rmtree(spool)
    backend.up()
    run("call('a')\nassert pipeline.flush(10)\n")
    assert list(backend.names) == ["a"]


def test_provider_without_add_span_processor_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application's provider needs nothing but a tracer, also when it comes late."""
    from opentelemetry import trace

    class Bare(trace.TracerProvider):
        def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
            return trace.NoOpTracer()

    pipeline = Pipeline(load({"store": "off"}))
    assert pipeline.provider() is not None
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", bare := Bare())
    assert pipeline.provider() is bare
    assert pipeline.flush(1)
    assert pipeline.shutdown(1)
