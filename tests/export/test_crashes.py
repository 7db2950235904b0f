"""Programs that are killed, restarted, many at once, or on a disk that takes nothing."""

from __future__ import annotations

import os
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmtrace.export.stats import read_losses

from .backend import Backend

pytestmark = pytest.mark.exhaustive

KILLS = int(os.environ.get("KILLS", "10"))
PER_PROCESS = int(os.environ.get("PER_PROCESS", "10000"))

LOAD = """
number = 0
while True:
    call(f"{sys.argv[1]}-{number}")
    print(number, time.monotonic(), flush=True)
    number += 1
    time.sleep(0.0005)
"""
INTERVAL = 0.1


def survivors(lines: list[str], killed_at: float) -> int:
    """How many calls had returned more than one flush interval, and a busy machine's hiccup, before the end."""
    complete = [line.split() for line in lines if re.fullmatch(r"\d+ [\d.]+\n", line)]
    return sum(float(moment) < killed_at - INTERVAL - 0.4 for _, moment in complete)


@pytest.mark.parametrize("reachable", [True, False], ids=["backend up", "backend down"])
def test_killed_processes_lose_no_flushed_span(
    reachable: bool, backend: Backend, start: Any, drain: Callable[[], bool]
) -> None:
    """Whatever had been written one flush interval before a kill -9 is in the backend once after a restart.

    A backend that took a request whose acknowledgement died with the program sees that request again, byte for byte:
    this one ignores it, and at most one per kill may come.
    """
    if reachable:
        backend.up()
    expected: set[str] = set()
    dice = random.Random(7)
    for group in range(KILLS // 10):
        names = [f"run{group}.{number}" for number in range(5)]
        programs = [(name, start(LOAD, name), dice.uniform(0.7, 1.5)) for name in names]
        heads = [program.stdout.readline() for _, program, _ in programs]
        began = time.monotonic()
        for (name, program, moment), head in sorted(zip(programs, heads, strict=True), key=lambda one: one[0][2]):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            killed_at = time.monotonic()
            program.kill()
            lines = [head, *program.stdout.readlines()]
            expected |= {f"{name}-{number}" for number in range(survivors(lines, killed_at))}
    if not reachable:
        backend.up()
    assert drain()
    print(
        f"{KILLS // 2} kills, {len(expected)} spans owed, {len(backend.names)} came, {backend.replays} requests twice"
    )
    assert len(expected) > 50 * (KILLS // 2)
    assert expected - set(backend.names) == set()
    assert set(backend.names.values()) == {1}
    assert backend.replays <= (KILLS // 2 if reachable else 0)


def test_torn_segments_lose_only_their_damaged_records(
    backend: Backend, run: Callable[..., str], drain: Callable[[], bool], spool: Path
) -> None:
    """A record cut off, one with a wrong byte and a file of rubbish cost themselves, counted, and nothing else."""
    run("for number in range(3):\n    call(f'call-{number}')\n    pipeline.flush(0.15)\n")
    (segment,) = spool.rglob("*.seg")
    data = bytearray(segment.read_bytes())
    second = data.index(b"\xf1REC", data.index(b"\xf1REC") + 1)
    data[second + 40] ^= 0xFF
    segment.write_bytes(bytes(data) + data[second : second + 60])
    (segment.parent / "00000000000000000001.seg").write_bytes(b"rubbish" * 100)
    (segment.parent / "00000000000000000002.seg").write_bytes(b"")
    backend.up()
    assert drain() is False  # something was lost
    assert set(backend.names) == {"call-0", "call-2", "restart"}
    assert read_losses(spool) == {"corrupt": 3}


def test_processes_that_share_a_folder_send_each_span_once(
    backend: Backend, start: Any, drain: Callable[[], bool], spool: Path
) -> None:
    """Four processes write while the backend is down; when it is up everything arrives, and nothing twice."""
    code = "for number in range(int(sys.argv[2])): call(f'{sys.argv[1]}-{number}')\n"
    programs = [start(code, f"process{number}", str(PER_PROCESS), LLMTRACE_FLUSH_TIMEOUT="20") for number in range(4)]
    for program in programs:
        _, err = program.communicate(timeout=180)
        assert program.returncode == 0
        assert err == ""
    backend.up()
    # Two at once adopt what is there.
    code = "call(sys.argv[1])\nassert pipeline.flush(20)\n"
    for program in [start(code, f"restart{number}", LLMTRACE_FLUSH_TIMEOUT="20") for number in range(2)]:
        assert program.wait(60) == 0
    assert drain()
    assert len(backend.names) == 4 * PER_PROCESS + 3
    assert set(backend.names.values()) == {1}
    assert backend.replays == 0


def test_full_spool_drops_the_oldest_segments(
    backend: Backend, run: Callable[..., str], drain: Callable[[], bool], spool: Path
) -> None:
    """At LLMTRACE_SPOOL_MAX_MB the oldest segments make room, counted, and the newest arrive."""
    run(
        "for number in range(3000):\n"
        "    span = tracer.start_span(f'call-{number:04}')\n"
        "    span.set_attribute('noise', os.urandom(600).hex())\n"
        "    span.end()\n",
        LLMTRACE_SPOOL_MAX_MB="1",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="50",
    )
    assert sum(path.stat().st_size for path in spool.rglob("*.seg")) <= 1 << 20
    lost = read_losses(spool)["spool_full"]
    assert lost > 500
    backend.up()
    assert drain()
    del backend.names["restart"]
    assert len(backend.names) == 3000 - lost
    # The segment of a request that is being sent is not given up, though it may be the oldest. A segment is an eighth
    # of the spool, so that it holds no more than a seventh of the rest.
    segment = (3000 - lost) // 7
    assert {f"call-{number:04}" for number in range(lost + segment, 3000)} <= set(backend.names)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("cannot mount a small file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


MUCH = """
for number in range(1000):
    span = tracer.start_span(f'call-{number:04}')
    span.set_attribute('noise', os.urandom(600).hex())
    span.end()
pipeline.flush(0.5)
print(pipeline.counts()[0].dropped)
"""


def test_full_disk_loses_spans_and_counts_them(
    backend: Backend, run: Callable[..., str], drain: Callable[[], bool], small_disk: Path
) -> None:
    """On a disk that is full the program runs on, and what was given up is counted."""
    out = run(MUCH, LLMTRACE_SPOOL=str(small_disk), OTEL_BSP_MAX_EXPORT_BATCH_SIZE="50")
    (lost,) = re.findall(r"\{'disk_full': (\d+)\}", out)
    assert 0 < int(lost) < 1000


def test_file_size_limit_does_not_stop_the_program(
    backend: Backend, start: Any, spool: Path, drain: Callable[[], bool]
) -> None:
    """Where files may not grow, the program runs on and nothing that fits is lost."""
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    # The limit would cut what coverage writes too.
    program = start(limited + MUCH, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="50", COVERAGE_PROCESS_CONFIG="")
    out, err = program.communicate(timeout=180)
    assert program.returncode == 0, err
    assert "disk_full" in out
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000


def test_unwritable_folder_keeps_spans_in_memory(backend: Backend, start: Any, tmp_path: Path) -> None:
    """Without a place on disk spans wait in memory, with one warning, and arrive."""
    (tmp_path / "file").touch()
    backend.up()
    program = start(
        "for number in range(3):\n    call(f'call-{number}')\n    pipeline.flush(0.15)\n"
        "assert pipeline.flush(10)\nprint(pipeline.counts()[0].spooled)\n",
        LLMTRACE_SPOOL=str(tmp_path / "file" / "spool"),
    )
    out, err = program.communicate(timeout=180)
    assert program.returncode == 0, err
    assert out.split() == ["0"]
    assert err.count("spans wait in memory") == 1
    assert len(err.splitlines()) == 1
    assert set(backend.names) == {"call-0", "call-1", "call-2"}


def test_read_only_file_system_keeps_spans_in_memory(backend: Backend, start: Any, small_disk: Path) -> None:
    """On a read-only file system spans wait in memory, and arrive."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    backend.up()
    program = start("call('a')\nassert pipeline.flush(10)\n", LLMTRACE_SPOOL=str(small_disk / "spool"))
    _, err = program.communicate(timeout=180)
    assert program.returncode == 0, err
    assert err.count("spans wait in memory") == 1
    assert list(backend.names) == ["a"]
