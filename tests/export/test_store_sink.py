"""The local store as a destination: locked, full, moved away, and after a fork."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmtrace.export.stats import ExportStats
from llmtrace.store import sink as store_sink
from llmtrace.store.exporter import StoreExporter
from llmtrace.store.read import spans_after
from llmtrace.store.schema import connect
from llmtrace.store.sink import StoreSink


def make_span(**attributes: Any) -> ReadableSpan:
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.get_tracer("t").start_span("chat m", attributes={"gen_ai.operation.name": "chat", **attributes}).end()
    return memory.get_finished_spans()[0]


def count_spans(path: Path) -> int:
    with closing(connect(path)) as store:
        return sum(1 for _ in spans_after(store, 0))


class Locked:
    """The store while another process holds its write lock."""

    def __init__(self, path: Path) -> None:
        connect(path, write=True).close()
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        self.connection.execute("ROLLBACK")
        self.connection.close()


@pytest.fixture
def sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreSink:
    monkeypatch.setattr(store_sink, "_LOCK_TIMEOUT_SECONDS", 0.01)
    return StoreSink(StoreExporter(tmp_path / "s.db"), ExportStats())


def test_locked_store_keeps_spans_until_it_is_free(sink: StoreSink, tmp_path: Path) -> None:
    """Nothing is lost, and a flush says that nothing is left once all is written."""
    locked = Locked(tmp_path / "s.db")
    for _ in range(3):
        sink.write([make_span()])
    assert not sink.flush(time.monotonic())
    sink.retry()
    assert sink._stats.counts().dropped == {}
    locked.release()
    assert sink.flush(time.monotonic() + 30)
    assert sink.close(time.monotonic() + 30)
    assert count_spans(tmp_path / "s.db") == sink._stats.counts().exported == 3


def test_locked_store_is_written_when_released_during_close(sink: StoreSink, tmp_path: Path) -> None:
    """Close goes on trying until its deadline."""
    locked = Locked(tmp_path / "s.db")
    sink.write([make_span()])
    timer = threading.Timer(0.05, locked.release)
    timer.start()
    assert sink.close(time.monotonic() + 30)
    timer.join()
    assert count_spans(tmp_path / "s.db") == 1


def test_locked_store_ends_close_at_its_deadline_and_names_the_reason(
    sink: StoreSink, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The default wait of SQLite, 30 seconds, plays no part."""
    locked = Locked(tmp_path / "s.db")
    sink.write([make_span()])
    assert not sink.close(time.monotonic() + 0.1)
    locked.release()
    assert sink._stats.counts().dropped == {"store_locked": 1}
    assert "database is locked" in caplog.text
    assert "store_locked" in caplog.text


SHUTDOWN = """
import time
import llmtrace
with llmtrace.instrument(), llmtrace.workflow("w"):
    pass
started = time.monotonic()
assert not llmtrace.flush(0.2)
assert not llmtrace.shutdown(0.2)
assert time.monotonic() - started < 20  # SQLite alone would have waited 30 seconds, and more than once
"""


def test_locked_store_obeys_the_time_out_of_shutdown(tmp_path: Path) -> None:
    """Also where the write began before the shutdown, and for flush."""
    path = tmp_path / "s.db"
    locked = Locked(path)
    environment = {**os.environ, "LLMTRACE_STORE": str(path)}
    done = subprocess.run(
        [sys.executable, "-c", SHUTDOWN], env=environment, capture_output=True, text=True, check=False, timeout=180
    )
    locked.release()
    assert done.returncode == 0, done.stderr
    assert "store_locked" in done.stderr


def test_full_disk_keeps_spans_until_there_is_room(
    sink: StoreSink, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason is logged once, and nothing is lost."""
    sink.write([make_span()])
    assert sink.exporter._writer is not None
    connection = sink.exporter._writer.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(2):
        sink.write([make_span(text=os.urandom(40_000).hex())])
    assert not sink.flush(time.monotonic() + 0.05)
    connection.execute("PRAGMA max_page_count = 1000000")
    assert sink.flush(time.monotonic() + 30)
    assert sink.close(time.monotonic() + 30)
    assert count_spans(tmp_path / "s.db") == 3
    assert [message for message in caplog.messages if "full" in message] == [
        f"llmtrace could not write spans to {tmp_path / 's.db'} (LLMTRACE_STORE): database or disk is full"
    ]


def test_full_disk_at_the_end_names_the_reason(sink: StoreSink) -> None:
    """What could not be written by then is lost for want of room."""
    sink.write([make_span()])
    assert sink.exporter._writer is not None
    connection = sink.exporter._writer.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    sink.write([make_span(text=os.urandom(40_000).hex())])
    assert not sink.close(time.monotonic() + 0.05)
    assert sink._stats.counts().dropped == {"store_full": 1}


def test_waiting_spans_are_bounded_and_the_oldest_go(
    sink: StoreSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by what the spans hold."""
    monkeypatch.setattr(store_sink, "_MAX_WAITING_BYTES", 4 * 1100)
    locked = Locked(tmp_path / "s.db")
    for number in range(10):
        sink.write([make_span(n=number)])
    locked.release()
    assert sink.close(time.monotonic() + 30)
    assert sink._stats.counts().dropped == {"store_locked": 6}
    with closing(connect(tmp_path / "s.db")) as store:
        assert [span.attributes["n"] for _, span in spans_after(store, 0)] == [6, 7, 8, 9]


def test_broken_connection_is_opened_again(tmp_path: Path) -> None:
    """A write that fails for the connection's own sake is tried again with a new one."""
    exporter = StoreExporter(tmp_path / "s.db")
    exporter.write(*exporter.take([make_span()]))
    assert exporter._writer is not None
    exporter._writer.connection.execute("PRAGMA query_only = ON")  # "attempt to write a readonly database"
    assert exporter.write(*exporter.take([make_span()])) == 0
    exporter.shutdown()
    assert count_spans(tmp_path / "s.db") == 2


DAEMON = """
import os, sys
import llmtrace
llmtrace.instrument()
work = llmtrace.workflow("w")
def one():
    with llmtrace.workflow("w"):
        pass
for _ in range(int(sys.argv[1])):
    one()
llmtrace.flush(30)
if os.fork():
    os.wait()
    one()
    llmtrace.shutdown(30)
    os._exit(0)
os.setsid()
if (child := os.fork()):
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os.closerange(0, 1024)
for _ in range(3):
    os.open(os.devnull, os.O_RDWR)
files = [os.open(f"{sys.argv[2]}/mine{n}", os.O_CREAT | os.O_RDWR) for n in range(20)]
for _ in range(5):
    one()
    llmtrace.flush(30)
llmtrace.shutdown(30)
os._exit(sum(os.fstat(each).st_size for each in files) != 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("before", [0, 2])
def test_daemon_after_instrument_writes_to_the_store(tmp_path: Path, before: int) -> None:
    """Two forks and every descriptor closed: no span is lost, and no file of the program's is written to."""
    path = tmp_path / "s.db"
    environment = {**os.environ, "LLMTRACE_STORE": str(path)}
    subprocess.run([sys.executable, "-c", DAEMON, str(before), str(tmp_path)], env=environment, check=True, timeout=180)
    assert count_spans(path) == before + 1 + 5
