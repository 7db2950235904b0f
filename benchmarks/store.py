"""The store at size: bytes a call, time of the reports and of a trace, and many writers beside a reader.

Run it with ``python benchmarks/store.py [CALLS] [FILE]``; a file that is there already is measured, not filled.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from contextlib import closing, suppress
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from subprocess import DEVNULL
from tempfile import TemporaryDirectory, gettempdir

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from llmtrace.report.aggregate import report
from llmtrace.report.select import selection
from llmtrace.store.schema import StoreError, connect
from llmtrace.store.write import Writer
from traffic import traces

LINES = [
    ["--version"],
    ["report"],
    ["report", "--by", "model,version"],
    ["report", "--by", "user"],
    ["report", "--by", "day"],
    ["report", "--by", "tag"],
    ["report", "--by", "tag.region"],
    ["report", "--by", "session"],
    ["report", "--by", "user,model"],
    ["report", "--since", "2026-06-20", "--where", "feature=search"],
    ["report", "--json"],
    ["report", "--html", "/dev/null"],
    ["compare", "version=3", "version=4", "--where", "feature=search"],
    ["advise"],
    ["trace"],
    ["trace", "--slowest"],
    ["trace", "--most-expensive"],
]


def fill(path: Path, calls: int) -> None:
    writer = Writer(connect(path, write=True))
    started = time.perf_counter()
    stream = traces(calls // 2, days=30)
    done = 0
    while batch := [span for trace in islice(stream, 170) for span in trace]:
        writer.write(batch)
        done += len(batch)
        if done % 51000 == 0:
            print(f"\r{done:,} spans, {done / (time.perf_counter() - started):,.0f} a second", end="", flush=True)
    print()
    writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    writer.connection.close()


def measure(path: Path, line: list[str]) -> tuple[float, float]:
    """Seconds of the wall and of the processor for a whole command, the better of three."""
    best, environment = (float("inf"), 0.0), {**os.environ, "LLMTRACE_STORE": str(path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as it is when installed; the best of several runs is reported
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "llmtrace", *line], env=environment, stdout=DEVNULL, check=True)
        wall = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, (wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    return best


def write(path: str, number: int, count: int) -> None:
    """One of many writers."""
    writer = Writer(connect(Path(path), write=True))
    for batch in traces(count // 3, seed=number):
        writer.write(batch)


def contend(folder: Path) -> None:
    """Eight processes write trace by trace while one reads."""
    path, each = folder / "contend.db", 3000
    context = get_context("spawn")
    writers = [context.Process(target=write, args=(str(path), number, each)) for number in range(8)]
    started = time.perf_counter()
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            with suppress(StoreError), closing(connect(path)) as store:  # it may not be ready yet
                report(store, selection(), ("feature",))
                reads += 1
        time.sleep(0.02)
    seconds = time.perf_counter() - started
    with closing(connect(path)) as store:
        (held,) = store.execute("SELECT count(*) FROM spans").fetchone()
    codes = {writer.exitcode for writer in writers}
    print(
        f"8 writers: {8 * each:,} spans made, {held:,} held, exit codes {codes}, {reads} reports read, {seconds:.1f} s"
    )


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    path = Path(sys.argv[2] if len(sys.argv) > 2 else f"{gettempdir()}/llmtrace-benchmark.db")
    if not path.exists():
        fill(path, calls)
    print(f"{path.stat().st_size / calls:,.0f} bytes a call, its share of the spans around it included")
    for line in LINES:
        wall, cpu = measure(path, line)
        print(f"{wall:6.2f} s, {cpu:5.2f} s of CPU  llmtrace {' '.join(line)}")
    with TemporaryDirectory() as folder:
        contend(Path(folder))


if __name__ == "__main__":
    main()
