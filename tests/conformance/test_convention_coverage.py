"""Coverage of the conventions by a scenario of every span type, and the table of it in the documentation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from conformance.checks import FOLDER, REGISTRY, check_event, check_metrics, check_span, span_type
from conformance.scenario import play
from llmtrace.store.read import spans_after
from llmtrace.store.schema import connect
from llmtrace.store.send import readable

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "conventions.md"
OTHERS: dict[str, int] = json.loads((FOLDER / "opentelemetry.json").read_text(encoding="utf-8"))["spans"]
"""Attributes that the packages of OpenTelemetry cover, as ``semantic-conventions-conformance`` reports them."""

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(openai.OpenAI, "responses"), reason="this release has no responses"),
]


class Recorded(NamedTuple):
    """All that the scenario records."""

    spans: list[ReadableSpan]
    metrics: Any
    logs: list[Any]


@pytest.fixture(scope="module")
def recorded() -> Iterator[Recorded]:
    """Return the spans, metrics and log records of the scenario."""
    exporter, reader, records = InMemorySpanExporter(), InMemoryMetricReader(), InMemoryLogRecordExporter()
    tracers, meters, loggers = TracerProvider(), MeterProvider([reader]), LoggerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
    providers: dict[str, Any] = {"tracer_provider": tracers, "meter_provider": meters, "logger_provider": loggers}
    with llmtrace.instrument(**providers, strict=True, capture_content="span_and_event"):
        play()
        llmtrace.flush()
    logs = [item.log_record for item in records.get_finished_logs()]
    yield Recorded(list(exporter.get_finished_spans()), reader.get_metrics_data(), logs)
    for provider in providers.values():
        provider.shutdown()


def test_scenario_follows_the_conventions(recorded: Recorded) -> None:
    """Every span type, event, metric and log record has no finding but the intended deviations."""
    assert [finding for span in recorded.spans for finding in check_span(span)] == []
    assert check_metrics(recorded.metrics) == []
    assert [each for log in recorded.logs for each in check_event(log.event_name, log.attributes)] == []


def test_scenario_records_every_metric_and_event(recorded: Recorded) -> None:
    """All metrics and events of the convention that a client can record are, and the metrics that they replace."""
    scopes = [scope for group in recorded.metrics.resource_metrics for scope in group.scope_metrics]
    names = {metric.name for scope in scopes for metric in scope.metrics}
    assert {*REGISTRY["metrics"], *REGISTRY["replaced_metrics"]} <= names
    assert set(REGISTRY["events"]) == {log.event_name for log in recorded.logs}


def table(spans: list[ReadableSpan]) -> str:
    """Return the rows of the table in ``docs/reference/conventions.md``."""
    written: dict[str, set[str]] = defaultdict(set)
    for span in spans:
        name = span_type(span.attributes or {}, span.kind.name)
        if name is not None:
            written[name] |= (span.attributes or {}).keys()
    rows = []
    for name, spec in REGISTRY["spans"].items():
        declared = [each for names in spec["attributes"].values() for each in names]
        covered = [each for each in declared if any(key.startswith(each.removesuffix("*")) for key in written[name])]
        if covered:
            rows.append(f"| `{name}` | {len(declared)} | {len(covered)} | {OTHERS.get(name) or 'none'} |\n")
    return "".join(rows)


def test_table_in_the_documentation_is_current(recorded: Recorded) -> None:
    """The coverage of each span type is what the scenario records."""
    assert table(recorded.spans) in PAGE.read_text(encoding="utf-8")


def test_offline_demo_follows_the_conventions(tmp_path: Path) -> None:
    """Every span of ``llmtrace demo`` has no finding but the intended deviations."""
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "llmtrace", "demo", "--traces", "12"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.rglob("demo.db")
    with closing(connect(path)) as store:
        spans = [readable(span) for _, span in spans_after(store, 0)]
    assert len(spans) > 24
    assert [finding for span in spans for finding in check_span(span)] == []
