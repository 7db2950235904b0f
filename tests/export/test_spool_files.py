"""Files and descriptors of a spool: closed behind its back, on a full disk, and private."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmtrace._files import Descriptor, make_private

from .backend import Backend
from .spools import adopt_all, new_spool, payload, send_all

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="counts descriptors")
DAEMON = """
if sys.argv[1] == "early":
    call("parent")
    pipeline.flush(10)
read, write = os.pipe()
if os.fork():
    os.close(write)
    os.read(read, 1)  # ends with the daemon
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.closerange(3, write)
os.closerange(write + 1, 1024)
files = [open(os.devnull) for _ in range(16)]
for number in range(3):
    call(f"daemon-{number}")
    pipeline.flush(10)
pipeline.shutdown(10)
for file in files:
    os.fstat(file.fileno())  # none was closed
call = None
"""


@pytest.mark.parametrize("when", ["early", "late"])
def test_daemon_that_closes_all_descriptors_loses_no_span(when: str, backend: Backend, start: Any) -> None:
    """Two forks and ``closerange``, before or after the first span: what the daemon traces arrives once."""
    backend.up()
    process = start(DAEMON, when)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    backend.wait_for(3 + (when == "early"))
    assert set(backend.names.values()) == {1}


def test_spool_continues_after_its_descriptors_were_closed(tmp_path: Path) -> None:
    """Files that got the same numbers are neither written to nor closed; what was written before is still sent."""
    spool, stats = new_spool(tmp_path / "spool")
    assert spool.put(payload("before"))
    ours = [spool._directories[0]._lock, spool._segments[0]._append_descriptor]
    others = []
    for descriptor in ours:
        assert isinstance(descriptor, Descriptor)
        number = descriptor.number()
        theirs = os.open(tmp_path / f"theirs-{number}", os.O_RDWR | os.O_CREAT)
        os.dup2(theirs, number)
        os.close(theirs)
        others.append(number)
    assert spool.put(payload("after"))
    bodies = send_all(spool)
    spool.close()
    assert bodies == [b"before", b"after"]
    assert stats.counts().dropped == {}
    for number in others:
        assert os.fstat(number).st_size == 0
        os.close(number)


def test_directory_adopted_by_another_process_is_left_to_it(tmp_path: Path) -> None:
    """Once the lock is gone another process may have adopted the directory: it sends what is in there."""
    spool, _ = new_spool(tmp_path)
    assert spool.put(payload("before"))
    lock = spool._directories[0]._lock
    assert lock is not None
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), lock._number)
    other, _ = new_spool(tmp_path)
    assert other.adopt()
    assert spool.first() is None
    assert spool.put(payload("after"))
    entry = spool.first()
    assert entry is not None
    assert (request := entry.load()) is not None
    assert request.body == b"after"
    entry = other.first()
    assert entry is not None
    assert (request := entry.load()) is not None
    assert request.body == b"before"
    other.close()
    spool.close()


def test_requests_wait_in_memory_for_space_and_then_go_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the disk is full requests wait in memory; once there is space they are written, and outlive the process."""
    spool, stats = new_spool(tmp_path)
    write = os.write

    def full(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert [spool.put(payload(name)) for name in "ab"] == [False, False]
    monkeypatch.setattr(os, "write", write)
    assert spool.put(payload("c"))
    assert spool.unsaved() == 0
    spool.close()
    assert sorted(adopt_all(tmp_path)[0]) == ["a", "b", "c"]
    assert stats.counts().dropped == {}
    assert caplog.text.count("No space left on device") == 1


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "disk_full"), (errno.EFBIG, "disk_full"), (errno.EROFS, "spool_unwritable")]
)
def test_loss_on_an_unwritable_disk_names_the_reason(
    number: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests that the disk refused are lost when the spool is closed, and the log names the reason."""
    spool, stats = new_spool(tmp_path)

    def fail(descriptor: int, data: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", fail)
    assert not spool.put(payload("a"))
    spool.close()
    assert stats.counts().dropped == {reason: 1}
    stats.log_losses(now=True)
    assert f"({reason}): {os.strerror(number)}" in caplog.text


def test_flush_time_out_logs_the_remaining_spans(backend: Backend, start: Any, spool: Path) -> None:
    """flush() and shutdown() each say once how many spans wait, and where."""
    backend.mode = "hang"
    backend.up()
    code = "for number in range(5): call('a')\npipeline.flush(0.5)\npipeline.flush(0.1)\npipeline.shutdown(0.2)\n"
    process = start(code)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    lines = [line for line in err.splitlines() if "timed out" in line]
    assert lines == [
        f"llmtrace: {action} timed out: 5 spans kept in {spool}, to be sent by this or the next process"
        for action in ("flush()", "shutdown()")
    ]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_folders_and_files_are_private_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    """Parents included: nothing that we create can be read or written by others."""
    code = (
        "import os, sys, llmtrace\n"
        f"os.umask({umask})\n"
        "with llmtrace.instrument(), llmtrace.tool('t'):\n    pass\n"
        "llmtrace.shutdown(2)\n"
    )
    outside = {**os.environ, "LLMTRACE_STORE": str(tmp_path / "a/b/c/spans.db")}
    subprocess.run([sys.executable, "-c", code], env=outside, check=True, capture_output=True)
    spooled = {
        **outside,
        "LLMTRACE_SPOOL": str(tmp_path / "d/e/spool"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    }
    subprocess.run([sys.executable, "-c", code], env=spooled, check=True, capture_output=True)
    lines = {**os.environ, "LLMTRACE_STORE": str(tmp_path / "f/g/spans.jsonl")}
    subprocess.run([sys.executable, "-c", code], env=lines, check=True, capture_output=True)
    created = list(tmp_path.rglob("*"))
    assert {each.name for each in created} >= {"a", "c", "spans.db", "d", "spool", "f", "spans.jsonl"}
    assert [each for each in created if each.stat().st_mode & 0o077] == []


def test_make_private_does_not_change_existing_folders(tmp_path: Path) -> None:
    """Only what is missing is created."""
    tmp_path.chmod(0o755)
    make_private(tmp_path / "a" / "b")
    make_private(tmp_path / "a" / "b")
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
