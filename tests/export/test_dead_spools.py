"""SpoolBuffer folders full of what dead processes left, damaged records, and descriptors that are short or closed."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmtrace.export.spool import buffer as spools
from llmtrace.export.stats import read_losses

from .backend import Backend
from .spools import adopt_all, new_spool, payload, send_all, write_dead

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="counts descriptors")
DEAD = 5000


def test_adoption_holds_a_few_directories_and_own_requests_go_first(tmp_path: Path) -> None:
    """However many are left, a handful is held, and a request of this process is sent before them."""
    for number in range(40):
        write_dead(tmp_path, payload(f"dead-{number:02}"))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    spool, _ = new_spool(tmp_path)
    assert spool.adopt()
    assert len(spool._directories) <= spools._ADOPTED_AT_ONCE + 1
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + spools._ADOPTED_AT_ONCE + 1
    assert spool.put(payload("own"))
    entry = spool.first()
    assert entry is not None
    assert (request := entry.load()) is not None
    assert request.body == b"own"
    spool.done(entry)
    spool.close()
    assert adopt_all(tmp_path) == ([f"dead-{number:02}" for number in range(40)], {})


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM, errno.EACCES])
def test_unreadable_record_is_retried_later(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a wrong checksum is damage: any other error leaves the record for later, behind the others."""
    write_dead(tmp_path, payload("one"), payload("two"))
    spool, stats = new_spool(tmp_path)
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
    order = send_all(spool)
    spool.close()
    assert order == [b"two", b"one"]
    assert stats.counts().dropped == {}


def test_adoption_without_descriptors_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no descriptor left nothing is adopted, nothing lost and nothing removed."""
    write_dead(tmp_path, payload("one"))
    spool, stats = new_spool(tmp_path)

    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert spool.adopt() is False
    spool._next_scan = 0.0
    assert spool.adopt()
    assert stats.counts().dropped == {}
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
