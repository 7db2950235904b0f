"""A program that closes all descriptors without a fork: its own files stay untouched, and tracing goes on."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from llmtrace._files import Descriptor

from .backend import Backend
from .conftest import Start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sockets are no descriptors there")

CLOSES = """
import socket
call("before")
assert pipeline.flush(20)
os.closerange(3, 1024)
folder = sys.argv[1]
files = [os.open(f"{folder}/file-{number}", os.O_CREAT | os.O_RDWR) for number in range(8)]
pairs = [socket.socketpair() for _ in range(8)]
for number in range(3):
    call(f"after-{number}")
    assert pipeline.flush(20)
assert pipeline.shutdown(20)
assert [os.fstat(file).st_size for file in files] == [0] * 8
for pair in pairs:  # each is still open and empty
    for end in pair:
        end.setblocking(False)
        try:
            end.recv(1)
        except BlockingIOError:
            continue
        raise AssertionError("something was written to a socket of the program")
"""


def test_http_goes_on_and_leaves_the_programs_files_alone(
    backend: Backend, run: Callable[..., str], tmp_path: Path
) -> None:
    """Files and sockets that got the numbers of ours are neither closed nor written to; each span arrives once."""
    backend.up()
    run(CLOSES, str(tmp_path))
    backend.wait_for(4)
    assert set(backend.names) == {"before", "after-0", "after-1", "after-2"}
    assert set(backend.names.values()) == {1}


STORE = CLOSES.replace("assert pipeline", "pipeline")


def test_store_leaves_the_programs_files_alone_and_reports_losses(start: Start, tmp_path: Path) -> None:
    """SQLite cannot go on: what was written before is kept, the rest is counted as lost with the reason."""
    store = tmp_path / "calls.db"
    process = start(STORE, str(tmp_path), OTEL_EXPORTER_OTLP_ENDPOINT="", LLMTRACE_STORE=str(store))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert f"the program closed the descriptors of {store}" in errors
    assert sum(map(int, re.findall(r"llmtrace lost (\d+) span", errors))) == 3
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("SELECT count(*) FROM spans").fetchone() == (1,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_marker_is_not_confused_with_another_file() -> None:
    """A marker notices that its number was closed, or refers to another file; closing it then closes nothing."""
    with socket.socket() as other:
        marker = Descriptor.marker()
        number = marker.number()
        os.close(number)
        with pytest.raises(OSError):
            marker.number()
        os.dup2(other.fileno(), number)
        with pytest.raises(OSError):
            marker.number()
        marker.close()
        os.fstat(number)
        os.close(number)
