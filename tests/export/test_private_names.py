"""Names that OpenTelemetry does not promise to keep: each is removed in turn, and spans still leave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .backend import Backend

pytestmark = pytest.mark.exhaustive

PROGRAM = """
import importlib, sys
home, _, name = sys.argv[1].partition(":")
target = importlib.import_module(home)
*path, last = name.split(".")
for step in path:
    target = getattr(target, step)
if last == "_preferred_temporality" or last == "_preferred_aggregation":
    make = target.__init__
    def init(self, *arguments, **options):
        make(self, *arguments, **options)
        delattr(self, last)
    target.__init__ = init
else:
    delattr(target, last)
import llmtrace
with llmtrace.instrument() as done:
    with llmtrace.tool("t"):
        pass
    done._runtime.pipeline.meters()
    print(llmtrace.flush(10))
"""
GONE = {
    "opentelemetry.trace:_TRACER_PROVIDER": True,
    "opentelemetry._logs._internal:_LOGGER_PROVIDER": True,
    "opentelemetry.exporter.otlp.proto.http.metric_exporter:OTLPMetricExporter._preferred_temporality": True,
    "opentelemetry.exporter.otlp.proto.http.metric_exporter:OTLPMetricExporter._preferred_aggregation": True,
    "opentelemetry.exporter.otlp.proto.common.trace_encoder:encode_spans": False,
    "opentelemetry.exporter.otlp.proto.common._log_encoder:encode_logs": True,
    "opentelemetry.exporter.otlp.proto.http._log_exporter:OTLPLogExporter": True,
    "opentelemetry.sdk._logs:ReadableLogRecord": True,
}
"""Name -> True where spans reach the backend all the same, else they go to the local store."""


@pytest.mark.parametrize("name", GONE, ids=lambda name: name.rpartition(":")[2])
def test_missing_private_name_loses_no_span(name: str, backend: Backend, tmp_path: Path) -> None:
    """Nothing is raised, and the span arrives, or is in the local store with a warning that says so."""
    backend.up()
    environ = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": backend.url,
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "LLMTRACE_SPOOL": str(tmp_path / "spool"),
        "LLMTRACE_STORE": str(tmp_path / "spans.jsonl"),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name], env=environ, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.stdout == "True\n", done.stderr
    if GONE[name]:
        assert backend.names == {"execute_tool t": 1}
    else:
        assert "execute_tool t" in (tmp_path / "spans.jsonl").read_text(encoding="utf-8")
        assert done.stderr.count("llmtrace: the OTLP exporter ") >= 1
    assert done.stderr.count("Traceback") == 0
