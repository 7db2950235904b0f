"""The program's own random numbers are those it would get without llmtrace."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from export.backend import Backend

from .programs import CALLS, environment, run

pytestmark = pytest.mark.exhaustive

SEEDED = """
import json, random
random.seed(7)
if os.environ["INSTRUMENT"]:
    llmtrace.instrument()
with llmtrace.collect() as calls:
    for _ in range(5):
        ask()
llmtrace.flush(0.5)
print(json.dumps([random.random(), [call.trace_id for call in calls]]))
"""
FORKED = """
import random
random.seed(7)
llmtrace.instrument()
ask()
reading, writing = os.pipe()
for _ in range(2):
    if os.fork() == 0:
        with llmtrace.collect() as calls:
            ask()
        os.write(writing, calls[0].trace_id.encode() + b"\\n")
        os._exit(0)
    os.wait()
os.close(writing)
first, second = os.fdopen(reading).read().split()
assert first != second
"""


@pytest.mark.parametrize("mode", ["ok", 503])
def test_seeded_program_gets_its_own_numbers_and_unique_trace_ids(
    mode: str | int, backend: Backend, spool: Path, tmp_path: Path, vendor: str
) -> None:
    """Neither ids nor the waits between attempts draw from ``random``, and no two runs share a trace."""
    backend.mode = mode
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": backend.url, "LLMTRACE_SPOOL": str(spool)}

    def run_seeded(instrument: str) -> tuple[float, set[str]]:
        environ = environment(vendor, INSTRUMENT=instrument, **variables)
        number, traces = json.loads(run(tmp_path / "program.py", CALLS + SEEDED, environ))
        return number, set(traces)

    without, _ = run_seeded("")
    (first, traces), (second, others) = run_seeded("1"), run_seeded("1")
    assert first == second == without
    assert len(traces | others) == 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_processes_have_trace_ids_of_their_own(tmp_path: Path, vendor: str) -> None:
    """Two children of one process do not go on with the same numbers."""
    variables = environment(vendor, LLMTRACE_STORE=str(tmp_path / "calls.db"))
    run(tmp_path / "program.py", CALLS + FORKED, variables)
