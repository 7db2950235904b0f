"""SpoolBuffer folders full of what dead processes left, damaged records, and descriptors that are short or closed."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmtrace._files import Descriptor, make_private
from llmtrace.export.otlp.destination import Destination
from llmtrace.export.otlp.payload import Payload
from llmtrace.export.spool import buffer as spools
from llmtrace.export.spool import segment as segments
from llmtrace.export.spool.buffer import SpoolBuffer
from llmtrace.export.spool.segment import Record, Segment
from llmtrace.export.stats import ExportStats, read_losses

from .backend import Backend

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="counts descriptors")
HERE = Destination("traces", "http", "http://a/v1/traces", "0")
DEAD = 5000


def new_spool(folder: Path) -> tuple[SpoolBuffer, ExportStats]:
    ledger = ExportStats()
    return SpoolBuffer(folder, HERE, 64 << 20, ledger), ledger


def payload(name: str, items: int = 1) -> Payload:
    return Payload(name.encode(), "none", items)


def write_dead(folder: Path, *payloads: Payload) -> Path:
    """Write a segment as a process that has died leaves it."""
    spool, _ = new_spool(folder)
    for each in payloads:
        assert spool.put(each)
    (home,) = {claim.path for claim in spool._claims}
    spool.close()
    (path,) = home.glob("*.seg")
    return path


def drained(folder: Path) -> tuple[list[str], dict[str, int]]:
    """Adopt everything; the requests that come, and the losses."""
    spool, ledger = new_spool(folder)
    found: list[str] = []
    while spool.adopt():
        while (entry := spool.first()) is not None:
            loaded = entry.load()
            found.append(loaded.body.decode() if loaded is not None else "damaged")
            spool.done(entry)
    spool.close()
    return found, ledger.counts().dropped


# -- damage ----------------------------------------------------------------------------------------------------------


def record_starts(data: bytes) -> list[int]:
    starts, at = [], -1
    while (at := data.find(segments._MARK, at + 1)) >= 0:
        starts.append(at)
    return starts


HEAD_BYTES = segments._SIZES[segments._SECOND]


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("at", range(HEAD_BYTES))
def test_flipped_bit_of_a_record_is_reported_or_harmless(at: int, bit: int, tmp_path: Path) -> None:
    """Every bit of a head, its state included: the record arrives once, or is counted; its neighbours arrive."""
    path = write_dead(tmp_path, payload("one"), payload("two", 7), payload("three"))
    data = bytearray(path.read_bytes())
    data[record_starts(data)[1] + at] ^= 1 << bit
    path.write_bytes(data)
    found, dropped = drained(tmp_path)
    # Where the counts themselves are damaged one is reported; elsewhere the body's checksum vouches for the count.
    if at >= segments._SECOND.layout.size + 4:
        assert (found, dropped) == (["one", "two", "three"], {})
    else:
        assert (found, dropped["corrupt"] in (1, 7)) == (["one", "three"], True)


@pytest.mark.parametrize("bit", range(32))
def test_flipped_state_sends_nothing_twice(bit: int, tmp_path: Path) -> None:
    """A record that was sent stays sent, whichever bit of its state flips."""
    path = write_dead(tmp_path, payload("sent"), payload("waits"))
    segment, (first, _) = Segment.read(path)
    segment.mark_done(first)
    segment.close()
    data = bytearray(path.read_bytes())
    data[record_starts(data)[0] + segments._SECOND.state_at + bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    assert drained(tmp_path) == (["waits"], {})


def test_state_that_is_neither_is_lost_and_counted(tmp_path: Path) -> None:
    """Half the bits flipped: whether it was sent is not known, so it is counted and not sent again."""
    path = write_dead(tmp_path, payload("unclear", 3), payload("waits"))
    data = bytearray(path.read_bytes())
    at = record_starts(data)[0] + segments._SECOND.state_at
    data[at : at + 2] = b"\xff\xff"
    path.write_bytes(data)
    assert drained(tmp_path) == (["waits"], {"corrupt": 3})


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_record_without_its_end_is_counted(cut: int, tmp_path: Path) -> None:
    """What is missing at the end of a file is counted by what its head says."""
    path = write_dead(tmp_path, payload("whole"), payload("cut off before its end", 4))
    path.write_bytes(path.read_bytes()[:-cut])
    assert drained(tmp_path) == (["whole"], {"corrupt": 4})


@pytest.mark.parametrize("at", [0, 7, 9, 13, 20])
def test_damaged_description_costs_no_record(at: int, tmp_path: Path) -> None:
    """The records of a segment whose head is damaged are checked by themselves, and sent."""
    path = write_dead(tmp_path, payload("one"), payload("two"))
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    assert drained(tmp_path) == (["one", "two"], {})


def test_damage_is_reported_once_however_often_it_is_adopted(tmp_path: Path) -> None:
    """A process that cannot send what it adopted leaves it to the next, which does not report the loss again."""
    path = write_dead(tmp_path, payload("one"), payload("two"), payload("three"))
    data = bytearray(path.read_bytes())
    data[record_starts(data)[1]] ^= 1
    path.write_bytes(data)
    for _ in range(3):
        spool, ledger = new_spool(tmp_path)
        assert spool.adopt()
        spool.close()
        ledger.log_losses(now=True)
    assert read_losses(tmp_path) == {"corrupt": 1}
    assert drained(tmp_path) == (["one", "three"], {})


def first_release(path: Path, *bodies: bytes, done: int = -1) -> None:
    """Write a segment in the format of the first release."""
    about = b'{"signal": "traces", "protocol": "http", "endpoint": "http://a/v1/traces", "sender": "0"}'
    data = b"LLMSPL01" + struct.pack("<II", len(about), zlib.crc32(about)) + about
    for number, body in enumerate(bodies):
        checksum = zlib.crc32(body, 0 << 24 ^ 1)
        seal = zlib.crc32(struct.pack("<BIII", 0, 1, len(body), checksum)) & 0xFFFF
        data += struct.pack("<4sBBHIII", b"\xf1REC", number == done, 0, seal, 1, len(body), checksum) + body
    path.write_bytes(data)


def test_segments_of_the_first_release_are_read(tmp_path: Path) -> None:
    """Their records are sent, marked in their own format, and damage to them is counted."""
    path = write_dead(tmp_path, payload("x"))
    first_release(path, b"one", b"two", b"three", b"four", done=1)
    assert segments.describe(path) == HERE
    data = bytearray(path.read_bytes())
    data[record_starts(data)[2] + 4] ^= 2  # a state that is neither
    path.write_bytes(data)
    spool, _ = new_spool(tmp_path)
    assert spool.adopt()
    entry = spool.first()
    assert isinstance(entry, Record)
    spool.done(entry)
    spool.close()
    assert drained(tmp_path)[0] == ["four"]
    assert not list(tmp_path.rglob("*.seg"))


# -- a few at a time -------------------------------------------------------------------------------------------------


def test_adoption_holds_a_few_directories_and_own_requests_go_first(tmp_path: Path) -> None:
    """However many are left, a handful is held, and a request of this process is sent before them."""
    for number in range(40):
        write_dead(tmp_path, payload(f"dead-{number:02}"))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    spool, _ = new_spool(tmp_path)
    assert spool.adopt()
    assert len(spool._claims) <= spools._ADOPTED_AT_ONCE + 1
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + spools._ADOPTED_AT_ONCE + 1
    assert spool.put(payload("own"))
    entry = spool.first()
    assert entry is not None
    assert entry.load() == payload("own")
    spool.done(entry)
    spool.close()
    assert drained(tmp_path) == ([f"dead-{number:02}" for number in range(40)], {})


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM, errno.EACCES])
def test_record_that_cannot_be_read_now_is_not_given_up(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a wrong checksum is damage: any other error leaves the record for later, behind the others."""
    write_dead(tmp_path, payload("one"), payload("two"))
    spool, ledger = new_spool(tmp_path)
    assert spool.adopt()
    entry = spool.first()
    assert entry is not None

    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(OSError, match=os.strerror(number)):
            entry.load()
        spool.put_back(entry, last=True)
    order = []
    while (entry := spool.first()) is not None:
        loaded = entry.load()
        assert loaded is not None
        order.append(loaded.body)
        spool.done(entry)
    spool.close()
    assert order == [b"two", b"one"]
    assert ledger.counts().dropped == {}


def test_adoption_without_descriptors_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no descriptor left nothing is adopted, nothing lost and nothing removed."""
    write_dead(tmp_path, payload("one"))
    spool, ledger = new_spool(tmp_path)

    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert spool.adopt() is False
    spool._look_at = 0.0
    assert spool.adopt()
    assert ledger.counts().dropped == {}
    spool.close()


@pytest.fixture
def many_dead(tmp_path: Path, backend: Backend, run: Callable[..., str]) -> Iterator[Path]:
    """The spool folder after thousands of short-lived processes."""
    folder = tmp_path / "spool"
    run("call('dead')\npipeline.flush(0.2)\n", OTEL_EXPORTER_OTLP_ENDPOINT=backend.url)
    (path,) = folder.rglob("*.seg")
    home = path.parent
    key = "-".join(home.name.split("-")[:2])
    for number in range(DEAD):
        copy = folder / f"{key}-{number:020d}-{number:08x}"
        copy.mkdir(mode=0o700)
        shutil.copyfile(path, copy / path.name)
    yield folder
    shutil.rmtree(folder)


LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
call("own-0")
most, end = 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    most = max(most, len(os.listdir("/proc/self/fd")))
    time.sleep(0.05)
for number in range(1, 20):
    call(f"own-{number}")
print(most)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_thousands_of_dead_spools_cost_few_descriptors_and_no_span(
    many_dead: Path, backend: Backend, run: Callable[..., str]
) -> None:
    """Under a limit of 64 descriptors own spans arrive, also those that end at exit, and a share of the rest does."""
    backend.up()
    most = int(run(LIMITED, "2"))
    assert most < 32
    assert {f"own-{number}" for number in range(20)} <= set(backend.names)
    left = sum(1 for _ in many_dead.iterdir())
    print(f"{DEAD - left} of {DEAD} directories were drained, with {most} descriptors open at most")
    assert DEAD - left >= 20
    assert read_losses(many_dead) == {}


# -- descriptors that are closed behind our back ---------------------------------------------------------------------

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
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    backend.wait_for(3 + (when == "early"))
    assert set(backend.names.values()) == {1}


def test_spool_goes_on_after_its_descriptors_were_closed(tmp_path: Path) -> None:
    """Files that got the same numbers are neither written to nor closed; what was written before is still sent."""
    spool, ledger = new_spool(tmp_path / "spool")
    assert spool.put(payload("before"))
    ours = [spool._claims[0]._lock, spool._segments[0]._growing]
    others = []
    for descriptor in ours:
        assert isinstance(descriptor, Descriptor)
        number = descriptor.number()
        theirs = os.open(tmp_path / f"theirs-{number}", os.O_RDWR | os.O_CREAT)
        os.dup2(theirs, number)
        os.close(theirs)
        others.append(number)
    assert spool.put(payload("after"))
    found = []
    while (entry := spool.first()) is not None:
        loaded = entry.load()
        assert loaded is not None
        found.append(loaded.body)
        spool.done(entry)
    spool.close()
    assert found == [b"before", b"after"]
    assert ledger.counts().dropped == {}
    for number in others:
        assert os.fstat(number).st_size == 0
        os.close(number)


def test_directory_that_another_process_took_meanwhile_is_left_to_it(tmp_path: Path) -> None:
    """Once the lock is gone another process may have adopted the directory: it sends what is in there."""
    spool, _ = new_spool(tmp_path)
    assert spool.put(payload("before"))
    lock = spool._claims[0]._lock
    assert lock is not None
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), lock._number)
    other, _ = new_spool(tmp_path)
    assert other.adopt()
    assert spool.first() is None
    assert spool.put(payload("after"))
    entry = spool.first()
    assert entry is not None
    assert entry.load() == payload("after")
    entry = other.first()
    assert entry is not None
    assert entry.load() == payload("before")
    other.close()
    spool.close()


# -- the disk --------------------------------------------------------------------------------------------------------


def test_requests_wait_in_memory_for_space_and_then_go_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the disk is full requests wait in memory; once there is space they are written, and outlive the process."""
    spool, ledger = new_spool(tmp_path)
    write = os.write

    def full(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert [spool.put(payload(name)) for name in "ab"] == [False, False]
    monkeypatch.setattr(os, "write", write)
    assert spool.put(payload("c"))
    assert spool.unsaved() == 0
    spool.close()
    assert sorted(drained(tmp_path)[0]) == ["a", "b", "c"]
    assert ledger.counts().dropped == {}
    assert caplog.text.count("No space left on device") == 1


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "disk_full"), (errno.EFBIG, "disk_full"), (errno.EROFS, "spool_unwritable")]
)
def test_loss_of_what_the_disk_did_not_take_names_the_reason(
    number: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What ends with the process because the disk takes nothing is lost for that reason."""
    spool, ledger = new_spool(tmp_path)

    def fail(descriptor: int, data: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", fail)
    assert not spool.put(payload("a"))
    spool.close()
    assert ledger.counts().dropped == {reason: 1}
    ledger.log_losses(now=True)
    assert f"({reason}): {os.strerror(number)}" in caplog.text


def test_flush_out_of_time_says_what_it_leaves(backend: Backend, start: Any, spool: Path) -> None:
    """flush() and shutdown() each say once how many spans wait, and where."""
    backend.mode = "hang"
    backend.up()
    code = "for number in range(5): call('a')\npipeline.flush(0.5)\npipeline.flush(0.1)\npipeline.shutdown(0.2)\n"
    process = start(code)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    lines = [line for line in err.splitlines() if "ran out of time" in line]
    assert lines == [
        f"llmtrace: {action} ran out of time: 5 spans wait in {spool}, for this process or the next one that uses it"
        for action in ("flush()", "shutdown()")
    ]


# -- folders ---------------------------------------------------------------------------------------------------------


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
    made = list(tmp_path.rglob("*"))
    assert {each.name for each in made} >= {"a", "c", "spans.db", "d", "spool", "f", "spans.jsonl"}
    assert [each for each in made if each.stat().st_mode & 0o077] == []


def test_make_private_leaves_existing_folders_as_they_are(tmp_path: Path) -> None:
    """Only what is missing is created."""
    tmp_path.chmod(0o755)
    make_private(tmp_path / "a" / "b")
    make_private(tmp_path / "a" / "b")
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
