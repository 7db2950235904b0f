"""Threads of llmtrace import nothing that the application may be importing at the same moment."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from export.backend import Backend
from export.conftest import grpc_server  # noqa: F401 - a fixture

from .programs import CALLS, environment, run

pytestmark = pytest.mark.exhaustive

WATCH = """
import json, sys, threading
class Watch:
    imported = []
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread().name.startswith("llmtrace-"):
            self.imported.append([name, threading.current_thread().name])
sys.meta_path.insert(0, Watch())
"""
SEEN = "\nllmtrace.flush(20)\nprint(json.dumps(Watch.imported))\n"
WORK = """
llmtrace.budget("all", usd="100", per="day", action="block")
with llmtrace.workflow("w"), llmtrace.retrieval("docs") as found:
    found.add([llmtrace.Document("1", content="text")])
    ask()
    list(ask(stream=True))
    next(iter(ask(stream=True)))
"""

ALLOWED = {
    "llmtrace": "our own",
    "bpe_openai": "counts tokens; it imports the standard library and typing_extensions only, and no SDK looks for it",
    "encodings": "of the standard library, looked up by name when a text is decoded for the first time",
}
"""Top-level packages that a thread of ours may import. So may be the rest of the standard library: its modules import
neither SDKs nor HTTP clients of others, and their import is waited for, not looked up in ``sys.modules``."""


def foreign(out: str) -> list[list[str]]:
    imported = json.loads(out.splitlines()[-1])
    return [
        [name, thread]
        for name, thread in imported
        if (root := name.partition(".")[0]) not in ALLOWED and root not in sys.stdlib_module_names
    ]


@pytest.fixture
def otlp(backend: Backend, spool: Path) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": backend.url,
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_METRIC_EXPORT_INTERVAL": "50",
        "LLMTRACE_SPOOL": str(spool),
        "LLMTRACE_CAPTURE_CONTENT": "span_and_event",
    }


def test_threads_that_send_over_http_import_nothing_foreign(
    backend: Backend, otlp: dict[str, str], tmp_path: Path, vendor: str
) -> None:
    """Spans, metrics and logs over HTTP, estimates with tiktoken, redaction, and a backend that refuses at first."""
    backend.retry_after = "0"
    backend.mode = 503
    code = CALLS + WATCH + "llmtrace.instrument(redact='builtin')\n" + WORK + "llmtrace.flush(1)\n"
    code += f"import urllib.request; urllib.request.urlopen('{backend.url}/ok').close()\n"
    variables = environment(vendor, LLMTRACE_ESTIMATE_USAGE="separate", **otlp)
    assert foreign(run(tmp_path / "program.py", code + SEEN, variables)) == []
    assert sum(backend.names.values()) == 5


def test_threads_that_send_over_grpc_import_nothing_foreign(
    grpc_server: Any,  # noqa: F811
    otlp: dict[str, str],
    tmp_path: Path,
    vendor: str,
) -> None:
    """Spans over gRPC to a backend that names the time to wait, which comes as a message of its own."""
    import grpc

    url, servicer = grpc_server
    servicer.failures = [(grpc.StatusCode.UNAVAILABLE, 0.01), (grpc.StatusCode.INTERNAL, None)]
    otlp |= {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    del otlp["OTEL_METRICS_EXPORTER"], otlp["OTEL_LOGS_EXPORTER"]
    code = CALLS + WATCH + "llmtrace.instrument()\n" + WORK
    assert foreign(run(tmp_path / "program.py", code + SEEN, environment(vendor, **otlp))) == []
    assert len(servicer.names) == 5


def test_threads_that_store_upload_and_score_import_nothing_foreign(
    backend: Backend, tmp_path: Path, vendor: str
) -> None:
    """The local store, content by reference, scores for Phoenix, and budgets in a Redis that is not there."""
    variables = environment(
        vendor,
        LLMTRACE_STORE=str(tmp_path / "calls.db"),
        LLMTRACE_SPOOL=str(tmp_path / "spool"),
        LLMTRACE_CAPTURE_CONTENT="true",
        LLMTRACE_BUDGET_STORE="redis://127.0.0.1:1/0",
        OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK="upload",
        OTEL_INSTRUMENTATION_GENAI_UPLOAD_BASE_PATH=str(tmp_path / "uploads"),
        PHOENIX_COLLECTOR_ENDPOINT=backend.url,
    )
    code = CALLS + WATCH + "llmtrace.instrument()\n" + WORK
    code += "with llmtrace.collect() as calls: ask()\nllmtrace.score('good', 1.0, on=calls[0])\n"
    assert foreign(run(tmp_path / "program.py", code + SEEN, variables)) == []
    assert list((tmp_path / "uploads").iterdir())


def test_worker_reads_prices_without_the_updater(tmp_path: Path, vendor: str) -> None:
    """The first call is priced although neither the price library, its HTTP client nor pydantic is imported for it."""
    code = CALLS + "for name in [n for n in sys.modules if n.partition('.')[0] == 'httpx2']: del sys.modules[name]\n"
    code += (
        WATCH + "llmtrace.instrument(store='off')\nwith llmtrace.collect() as calls: ask()\nassert llmtrace.flush(20)\n"
        "assert calls[0].cost.total > 0 and calls[0].cost.source == 'catalog', calls[0]\n"
        "print([name for name in ('genai_prices', 'httpx2') if name in sys.modules])\n"
    )
    out = run(tmp_path / "program.py", code + SEEN, environment(vendor))
    assert foreign(out) == []


def test_prices_that_the_application_set_are_used() -> None:
    """A snapshot that the application gave the price library beats the one in the package, until it is taken back."""
    from genai_prices.data_snapshot import get_snapshot, set_custom_snapshot

    from llmtrace.pricing import catalog

    custom = get_snapshot()
    set_custom_snapshot(custom)
    try:
        assert catalog.current().snapshot is custom
    finally:
        set_custom_snapshot(None)
    assert catalog.current().snapshot is not custom


def test_instrument_while_an_import_fails_imports_nothing(tmp_path: Path) -> None:
    """An SDK whose import has begun and then fails is not imported by us, and is hooked when it comes after all."""
    (tmp_path / "openai").mkdir()
    (tmp_path / "openai" / "__init__.py").write_text("from . import _base_client\n")
    (tmp_path / "openai" / "_base_client.py").write_text(
        "import builtins, llmtrace\nbuiltins.times = getattr(builtins, 'times', 0) + 1\n"
        "builtins.made = llmtrace.instrument(store='off')\nif times == 1: raise RuntimeError('not now')\n"
    )
    code = (
        "import sys, threading, time, builtins\nsys.path.insert(0, sys.argv[0].rpartition('/')[0])\n"
        "try:\n    import openai\nexcept RuntimeError: pass\n"
        "while any(t.name == 'llmtrace-import' for t in threading.enumerate()): time.sleep(0.001)\n"
        "print(builtins.times)\nimport openai\nprint(builtins.times, sorted(made.skipped))\n"
    )
    out = run(tmp_path / "program.py", code, environment(""))
    assert out.splitlines()[0] == "1"
    assert out.splitlines()[1].startswith("2 ['openai']")
