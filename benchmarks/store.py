"""The store at size: bytes a call, time of the reports and of a trace, and many writers beside a reader.

Run it with ``python benchmarks/store.py [CALLS] [FILE]``; a file that is there already is measured, not filled.
"""

from __future__ import annotations

import sys
import time
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from llmtrace.store.schema import connect
from llmtrace.store.write import Writer
from traffic import traces


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


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    path = Path(sys.argv[2] if len(sys.argv) > 2 else "/tmp/llmtrace-benchmark.db")
    if not path.exists():
        fill(path, calls)
    print(f"{path.stat().st_size / calls:,.0f} bytes a call")


main()
