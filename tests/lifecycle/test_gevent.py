"""gevent, patched before and after llmtrace: no call hangs, every span arrives, and the exit is clean."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from export.backend import Backend

from .programs import CALLS, environment, run

pytestmark = [pytest.mark.exhaustive, pytest.mark.skipif(find_spec("gevent") is None, reason="needs gevent")]

PATCH = "import warnings\nwarnings.simplefilter('ignore')\nimport gevent, gevent.monkey\ngevent.monkey.patch_all()\n"
INSTRUMENT = "import llmtrace\nllmtrace.instrument()\n"
WORK = """
import platform
platform.platform()  # openai asks for it with each first call, by a process that gevent forks
jobs = [gevent.spawn(ask, number) for number in range(20)]
gevent.joinall(jobs)
assert not any(job.exception for job in jobs), [job.exception for job in jobs]
list(ask(stream=True))
print("done", flush=True)
"""
ORDERS = {"before": PATCH + INSTRUMENT, "after": INSTRUMENT + PATCH}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("exporter", ["otlp", "store"])
def test_calls_of_greenlets_all_arrive(
    order: str, exporter: str, backend: Backend, spool: Path, tmp_path: Path, vendor: str
) -> None:
    """20 greenlets make calls at once, a stream is read, and the process ends by itself."""
    variables = {"LLMTRACE_STORE": str(tmp_path / "calls.db"), "LLMTRACE_FLUSH_TIMEOUT": "30"}
    if exporter == "otlp":
        variables |= {"OTEL_EXPORTER_OTLP_ENDPOINT": backend.url, "LLMTRACE_SPOOL": str(spool)}
    out = run(tmp_path / "program.py", ORDERS[order] + CALLS + WORK, environment(vendor, **variables))
    assert out == "done\n"
    if exporter == "otlp":
        assert sum(backend.names.values()) == 21
        assert not list(spool.rglob("*.seg"))
    else:
        from llmtrace.store.schema import connect

        connection = connect(tmp_path / "calls.db")
        assert connection.execute("SELECT count(*) FROM calls").fetchone() == (21,)
        connection.close()
