"""instrument() and uninstrument() in turn leave nothing behind, and what is still open then arrives all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from export.backend import Backend
from llmtrace.integrations.registry import INTEGRATIONS
from llmtrace.providers.registry import PROVIDERS

from .programs import CALLS, environment, run

pytestmark = pytest.mark.exhaustive

ROUNDS = """
import gc, json, threading
def counts():
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    return threading.active_count(), descriptors
seen = []
for number in range(40):
    llmtrace.instrument()
    with llmtrace.tool("t"):
        pass
    if number % 20 == 1:
        ask()
    llmtrace.uninstrument()
    if number in (5, 39):
        seen.append(counts())
print(json.dumps(seen))
"""


@pytest.mark.parametrize("kind", ["store", "otlp", "memory"])
def test_instrument_again_and_again_leaves_no_thread_and_no_descriptor(
    kind: str, backend: Backend, spool: Path, tmp_path: Path, vendor: str
) -> None:
    """40 rounds have as many threads and descriptors as six: with the store, with OTLP, and without a spool."""
    otlp = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": backend.url,
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "LLMTRACE_CAPTURE_CONTENT": "span_and_event",
        "LLMTRACE_SPOOL": "off" if kind == "memory" else str(spool),
        "PHOENIX_COLLECTOR_ENDPOINT": backend.url,
    }
    variables = {"LLMTRACE_STORE": str(tmp_path / "calls.db")} if kind == "store" else otlp
    out = run(tmp_path / "program.py", CALLS + ROUNDS, environment(vendor, **variables))
    (threads, descriptors), (threads_after, descriptors_after) = json.loads(out)
    assert threads_after <= threads
    assert descriptors_after <= descriptors
    if kind != "store":
        assert sum(backend.names.values()) == 42
        assert not list(spool.rglob("*.seg"))


def test_stream_that_outlives_its_instrumentation_arrives(
    backend: Backend, spool: Path, tmp_path: Path, vendor: str
) -> None:
    """A stream read after uninstrument() ends its span, which goes where it was to go."""
    code = (
        CALLS + "llmtrace.instrument()\nstream = ask(stream=True)\nllmtrace.uninstrument()\n"
        "llmtrace.instrument()\nask()\nlist(stream)\nllmtrace.uninstrument()\n"
    )
    variables = environment(vendor, OTEL_EXPORTER_OTLP_ENDPOINT=backend.url, LLMTRACE_SPOOL=str(spool))
    run(tmp_path / "program.py", code, variables)
    assert sum(backend.names.values()) == 2


def test_hooks_of_later_imports_are_registered_once(tmp_path: Path) -> None:
    """However often a program instruments before it imports an SDK, one hook waits for that SDK."""
    code = (
        "import llmtrace, wrapt.importer\nllmtrace.instrument(store='off')\n"
        "for _ in range(20):\n    llmtrace.uninstrument()\n    made = llmtrace.instrument(store='off')\n"
        "hooks = wrapt.importer._post_import_hooks\n"
        "print({len(found) for found in hooks.values()}, sorted(made.waiting))\n"
        "import openai\nprint(list(made.patched))\n"
    )
    out = run(tmp_path / "program.py", code, environment("")).splitlines()
    assert out == [f"{{1}} {sorted(each.name for each in (*PROVIDERS, *INTEGRATIONS))}", "['openai']"]
