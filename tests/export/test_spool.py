"""Buffers on disk and in memory: what is dropped when they are full, and where it is reported."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from llmtrace.export.otlp.buffers import MemoryBuffer
from llmtrace.export.otlp.destination import Destination
from llmtrace.export.otlp.payload import Payload
from llmtrace.export.spool import directory, segment
from llmtrace.export.spool.buffer import SpoolBuffer
from llmtrace.export.spool.directory import LockedDirectory
from llmtrace.export.stats import ExportStats, read_losses

from .spools import send_all

HERE, THERE, ELSEWHERE = (Destination("traces", "http", f"http://{name}/v1/traces", "0") for name in "abc")
SEGMENT = 64 << 10
"""The smallest that there is: a request of 60 KB fills one."""


def spooling(folder: Path, segments: int, destination: Destination = HERE) -> tuple[SpoolBuffer, ExportStats]:
    stats = ExportStats()
    return SpoolBuffer(folder, destination, segments * SEGMENT, stats), stats


def request(name: str, kilobytes: int = 60) -> Payload:
    return Payload(name.encode().ljust(kilobytes << 10), "none", 1)


def left_by_a_dead_process(folder: Path, destination: Destination, *names: str) -> None:
    spool, _ = spooling(folder, 100, destination)
    for name in names:
        assert spool.put(request(name))
    spool.close()


def sent(spool: SpoolBuffer | MemoryBuffer) -> list[str]:
    """The names of what waits, in the order in which it goes."""
    return [body.strip().decode() for body in send_all(spool)]


def test_full_spool_drops_the_oldest_request_of_any_process(tmp_path: Path) -> None:
    """A dead process's requests for another backend make room while they are the oldest, and our own when they are."""
    left_by_a_dead_process(tmp_path, THERE, "there-0", "there-1")
    left_by_a_dead_process(tmp_path, ELSEWHERE, "elsewhere-0")
    spool, stats = spooling(tmp_path, 4)
    for number in range(4):
        assert spool.put(request(str(number)))
    stats.log_losses(now=True)
    assert (stats.counts().dropped, read_losses(tmp_path)) == ({}, {"spool_full": 3})
    left_by_a_dead_process(tmp_path, THERE, "later")
    for number in range(4, 12):
        assert spool.put(request(str(number)))
    stats.log_losses(now=True)
    assert (stats.counts().dropped, read_losses(tmp_path)) == ({"spool_full": 8}, {"spool_full": 3 + 8 + 1})
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.seg")) <= 4 * SEGMENT
    assert sent(spool) == ["8", "9", "10", "11"]
    spool.close()
    assert not list(tmp_path.rglob("*.seg"))


def test_request_being_sent_is_not_dropped(tmp_path: Path) -> None:
    """It may arrive yet: the next oldest goes, and where there is none the new request waits in memory."""
    spool, stats = spooling(tmp_path, 2)
    for name in ("a", "b"):
        assert spool.put(request(name))
    lent = spool.first()
    assert lent is not None
    assert spool.put(request("c"))
    assert stats.counts().dropped == {"spool_full": 1}
    spool.put_back(lent, last=False)
    assert sent(spool) == ["a", "c"]
    narrow, stats = spooling(tmp_path / "narrow", 1)
    assert narrow.put(request("a"))
    lent = narrow.first()
    assert lent is not None
    assert narrow.put(request("b")) is False
    assert narrow.unsaved() == 1
    narrow.done(lent)
    assert sent(narrow) == ["b"]
    assert stats.counts().dropped == {}


def test_request_larger_than_the_spool_waits_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is reported once, and what fits is written as before."""
    spool, stats = spooling(tmp_path, 1)
    assert [spool.put(request(name, 70)) for name in ("large-0", "large-1")] == [False, False]
    assert spool.put(request("small"))
    assert "set LLMTRACE_SPOOL to another folder" in caplog.text
    assert len(caplog.records) == 1
    assert (spool.waiting(), spool.unsaved()) == (3, 2)
    assert sent(spool) == ["small", "large-0", "large-1"]
    assert stats.counts().dropped == {}


@pytest.mark.parametrize("locks", ["none", "another's"])
def test_unlockable_directory_keeps_requests_in_memory(
    locks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without locks requests wait in memory, and no directory is left behind however often it is tried."""

    def try_lock(descriptor: int) -> bool:
        if locks == "none":
            raise OSError(errno.ENOLCK, "no locks available")
        return False

    monkeypatch.setattr(directory, "try_lock", try_lock)
    spool, _ = spooling(tmp_path, 4)
    assert [spool.put(request(name)) for name in "ab"] == [False, False]
    assert sent(spool) == ["a", "b"]
    assert list(tmp_path.iterdir()) == []
    assert LockedDirectory.claim(tmp_path / "gone") is None


@pytest.mark.parametrize(
    "size", [100, 3 << 20, segment._CHUNK - 1 - segment._SIZES[segment._SECOND]], ids=["near", "far", "cut"]
)
def test_request_after_a_damaged_one_is_read(size: int, tmp_path: Path) -> None:
    """However large it is, and wherever the mark of the next one lies; what is cut off at the end is no request."""
    spool, _ = spooling(tmp_path, 1024)
    for payload in (Payload(bytes(size), "none", 1), request("b")):
        assert spool.put(payload)
    spool.close()
    (path,) = tmp_path.rglob("*.seg")
    content = bytearray(path.read_bytes())
    at = content.index(segment._MARK)
    content[at + 4] ^= 0xFF
    path.write_bytes(content + segment._MARK + b"\0")
    following, _ = spooling(tmp_path, 1024)
    following.adopt()
    assert sent(following) == ["b"]
    assert segment.describe(path) is None  # it is gone


@pytest.mark.parametrize("content", [b"", b"rubbish" * 9, b"LLMSPL01" + b"\xff" * 60])
def test_file_that_is_not_a_segment_has_no_destination(content: bytes, tmp_path: Path) -> None:
    """It says nothing of a destination."""
    (tmp_path / "1.seg").write_bytes(content)
    assert segment.describe(tmp_path / "1.seg") is None


def test_request_done_after_close_is_ignored(tmp_path: Path) -> None:
    """An answer that comes after the spool was closed changes nothing: the next process sends it again."""
    spool, stats = spooling(tmp_path, 4)
    spool.put(request("a"))
    entry = spool.first()
    assert entry is not None
    spool.close()
    spool.done(entry)
    following, _ = spooling(tmp_path, 4)
    following.adopt()
    assert sent(following) == ["a"]
    assert not list(tmp_path.rglob("*.seg"))
    assert stats.counts().dropped == {}


def test_memory_buffer_is_bounded() -> None:
    """The oldest goes, counted, but for the one that is being sent; one put back may be the last from then on."""
    stats = ExportStats()
    memory = MemoryBuffer(150 << 10, stats)
    memory.put(request("a"))
    memory.put(request("b"))
    lent = memory.first()
    assert lent is not None
    memory.put(request("c"))
    assert stats.counts().dropped == {"memory_full": 1}
    memory.put_back(lent, last=True)
    assert sent(memory) == ["c", "a"]
    memory.put(request("larger than all of it", 200))
    assert memory.unsaved() == 1
    memory.close()
    assert stats.counts().dropped == {"memory_full": 1, "exit": 1}
