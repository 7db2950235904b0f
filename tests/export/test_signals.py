"""Metrics and logs take the way of the spans: spooled, retried, halved and counted, each by its own variables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry import _logs, metrics
from opentelemetry._logs import LogRecord
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from llmtrace._settings import load
from llmtrace.export import periodic_reader
from llmtrace.export.pipeline import Pipeline
from llmtrace.export.signals import LOGS, METRICS, TRACES
from llmtrace.export.stats import read_losses

from .backend import Backend

Run = Callable[..., str]

BOTH = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp"}
RECORDED = """
from opentelemetry._logs import LogRecord

def count(amount, **attributes):
    pipeline.meters().get_meter("program").create_counter("made").add(amount, attributes)

def log(name, **attributes):
    pipeline.loggers().get_logger("program").emit(LogRecord(event_name=name, attributes=attributes))
"""


@pytest.fixture
def pipeline(spool: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Pipeline]]:
    """Opens a pipeline under these variables."""
    opened: list[Pipeline] = []

    def make_pipeline(*arguments: Any, **variables: str) -> Pipeline:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        one = Pipeline(load({"spool": spool, "store": "off"}), *arguments)
        one.prepare()
        opened.append(one)
        return one

    yield make_pipeline
    for one in opened:
        one.shutdown(5)


def test_outage_and_restart_lose_no_metric_or_log(backend: Backend, run: Run, spool: Path) -> None:
    """What a process counted and logged while the backend was away is sent by the next one, once."""
    run(RECORDED + "count(3)\nlog('first')\nassert not pipeline.flush(0.3)\n", **BOTH)
    assert {path.parent.name.partition("-")[0] for path in spool.rglob("*.seg")} == {"metrics", "logs"}
    backend.up()
    run(RECORDED + "count(4)\nlog('second')\nassert pipeline.flush(20)\npipeline.shutdown(5)\n", **BOTH)
    assert sorted(backend.log_records()) == ["first", "second"]
    assert {point.as_int for point in backend.points("made")} == {3, 4}
    assert not list(spool.rglob("*.seg"))


def test_too_large_metrics_and_logs_are_halved(backend: Backend, run: Run) -> None:
    """After a 413 every data point and log record arrives, once, in smaller requests."""
    backend.largest = 3000
    backend.up()
    run(
        RECORDED + "for number in range(100):\n    count(number, number=number)\n    log(str(number), text='x' * 50)\n"
        "assert pipeline.flush(20)\nos._exit(0)\n",
        **BOTH,
    )
    assert sorted(map(int, backend.log_records())) == list(range(100))
    assert sorted(point.as_int for point in backend.points("made")) == list(range(100))
    assert min(len(backend.others[path]) for path in backend.others) > 1


def test_large_log_record_loses_its_content_first(backend: Backend, run: Run) -> None:
    """A single event that is too large arrives without what was said, marked."""
    backend.largest = 4000
    backend.up()
    run(RECORDED + "log('event', **{'gen_ai.input.messages': 'x' * 9000})\nassert pipeline.flush(20)\n", **BOTH)
    assert backend.log_records() == ["event"]
    (raw,) = backend.others["/v1/logs"]
    assert b"llmtrace.content.truncated" in raw
    assert b"gen_ai.input.messages" not in raw


def test_partial_success_and_refusal_are_counted(backend: Backend, run: Run, spool: Path) -> None:
    """What the backend did not take is counted in units of the signal."""
    backend.rejects = 1
    backend.up()
    code = RECORDED + "count(1, a=1)\ncount(1, a=2)\nlog('a')\nlog('b')\npipeline.flush(20)\n"
    code += "print(json.dumps([[c.unit, c.exported, c.dropped] for c in pipeline.counts()]))\nos._exit(0)\n"
    slow = {"OTEL_BLRP_SCHEDULE_DELAY": "60000"}
    _, points, records = json.loads(run(code, **BOTH, **slow))
    assert points[2] == {"rejected": 1}
    assert records == ["log records", 1, {"rejected": 1}]
    backend.mode = 400
    _, points, records = json.loads(run(code, **BOTH, **slow))
    assert (points[:2], list(points[2])) == (["data points", 0], ["refused"])
    assert records == ["log records", 0, {"refused": 2}]
    assert read_losses(spool, "data points") == {"rejected": 1, **points[2]}
    assert read_losses(spool, "log records") == {"rejected": 1, "refused": 2}
    assert read_losses(spool) == {}


def test_each_signal_has_its_own_variables(backend: Backend, pipeline: Any, spool: Path) -> None:
    """Endpoint, headers, compression and timeout of one signal are of that signal alone."""
    backend.up()
    one = pipeline(
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{backend.url}/v1/metrics",
        OTEL_EXPORTER_OTLP_METRICS_HEADERS="x-team=metrics",
        OTEL_EXPORTER_OTLP_METRICS_COMPRESSION="none",
        OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"{backend.url}/v1/logs",
        OTEL_EXPORTER_OTLP_LOGS_TIMEOUT="3",
        OTEL_EXPORTER_OTLP_HEADERS="x-team=all",
    )
    one.meters().get_meter("test").create_counter("made").add(1)
    assert one.flush(10)
    one.loggers().get_logger("test").emit(LogRecord(event_name="event"))
    assert one.flush(10)
    sent = [{name.lower(): value for name, value in headers.items()} for headers in backend.headers]
    assert {(each["x-team"], each.get("content-encoding")) for each in sent} == {("metrics", None), ("all", "gzip")}
    assert backend.log_records() == ["event"]


def test_temporality_and_interval_stay_standard(backend: Backend, run: Run) -> None:
    """Deltas are deltas where they are preferred, and are sent at every interval without a flush."""
    backend.up()
    run(
        RECORDED + "import urllib.request\n"
        "give_up = time.monotonic() + 20\n"
        "for number in range(3):\n"
        "    count(5)\n"
        "    sent = pipeline.counts()[0].exported\n"
        "    while pipeline.counts()[0].exported == sent and time.monotonic() < give_up: time.sleep(0.01)\n"
        "os._exit(0)\n",
        OTEL_METRICS_EXPORTER="otlp",
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRIC_EXPORT_INTERVAL="100",
        OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta",
    )
    assert [point.as_int for point in backend.points("made")] == [5, 5, 5]


@pytest.mark.parametrize(("value", "seconds"), [("250", 0.25), ("0", 60.0), ("-1", 60.0), ("soon", 60.0), ("", 60.0)])
def test_invalid_metric_interval_falls_back_to_the_default(value: str, seconds: float, monkeypatch: Any) -> None:
    """Metrics are never collected in a loop."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", value)
    assert periodic_reader._interval() == seconds


def test_metrics_and_logs_are_not_exported_by_default(backend: Backend, pipeline: Any) -> None:
    """An endpoint for all signals asks for traces: a backend that takes nothing else is left alone."""
    one = pipeline(OTEL_EXPORTER_OTLP_ENDPOINT=backend.url)
    assert (one.meters(), one.loggers()) == (None, None)


@pytest.mark.parametrize("name", ["none", "prometheus"])
def test_none_and_pull_exporters_are_not_built(name: str, pipeline: Any) -> None:
    """none does nothing, and what is pulled is left to the application's own provider."""
    one = pipeline(OTEL_METRICS_EXPORTER=name, OTEL_LOGS_EXPORTER="none")
    assert (one.meters(), one.loggers()) == (None, None)


def test_console_exporter_prints_metrics_and_logs(run: Run) -> None:
    """console prints metrics and logs."""
    variables = dict.fromkeys(("OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "console")
    out = run(RECORDED + "count(1)\nlog('event')\nassert pipeline.flush(10)\n", **variables)
    assert '"made"' in out
    assert '"event"' in out


def test_providers_of_the_application_are_used(monkeypatch: pytest.MonkeyPatch, pipeline: Any) -> None:
    """Providers that the application has set, before or after, are used and left as they are."""
    one = pipeline(**BOTH, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    meters, loggers = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False), LoggerProvider()
    assert one.meters() is not None
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", meters)
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", loggers)
    assert one.meters() is meters
    assert one.loggers() is loggers
    one.shutdown(1)
    assert one.meters() is meters
    meters.get_meter("theirs").create_counter("still").add(1)
    loggers.shutdown()
    meters.shutdown()


def test_unhashable_provider_is_used(monkeypatch: pytest.MonkeyPatch, pipeline: Any) -> None:
    """Logfire's is a dataclass."""

    class Theirs(MeterProvider):
        __hash__ = None  # type: ignore[assignment]

    meters = Theirs(shutdown_on_exit=False)
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", meters)
    for one in (pipeline(), pipeline()):
        assert one.meters() is meters
    meters.shutdown()


def test_forked_child_counts_from_zero(backend: Backend, run: Run) -> None:
    """Only the parent reports what the parent counted."""
    backend.up()
    run(
        RECORDED + "count(7)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    count(1)\n"
        "    os._exit(0 if pipeline.flush(10) else 1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0\n"
        "assert pipeline.flush(10)\nos._exit(0)\n",
        **BOTH,
    )
    assert sorted(point.as_int for point in backend.points("made")) == [1, 7]


def test_export_counters_are_metrics(backend: Backend, run: Run) -> None:
    """What was exported, spooled and dropped, by reason, is on the meter provider."""
    backend.mode = 400
    backend.up()
    run(
        RECORDED + "call('refused')\npipeline.flush(10)\n"
        "import urllib.request\nurllib.request.urlopen(sys.argv[1] + '/ok').read()\n"
        "call('a')\ncall('b')\npipeline.flush(10)\n"
        "pipeline.meters()\nassert pipeline.flush(10)\nos._exit(0)\n",
        backend.url,
        **BOTH,
    )

    def own_points(name: str) -> list[tuple[int, list[str]]]:
        points = backend.points(f"llmtrace.exporter.{name}")
        return [(point.as_int, [pair.value.string_value for pair in point.attributes]) for point in points]

    assert own_points("exported_spans") == [(2, [])]
    assert own_points("spooled_spans") == [(3, [])]
    assert own_points("dropped_spans") == [(1, ["refused"])]


class Metrics(metrics_grpc.MetricsServiceServicer):  # type: ignore[misc]
    def Export(self, request: Any, context: Any) -> ExportMetricsServiceResponse:
        return ExportMetricsServiceResponse()


class Logs(logs_grpc.LogsServiceServicer):  # type: ignore[misc]
    def Export(self, request: Any, context: Any) -> ExportLogsServiceResponse:
        answer = ExportLogsServiceResponse()
        answer.partial_success.rejected_log_records = 1
        return answer


def test_metrics_and_logs_are_sent_over_grpc(pipeline: Any) -> None:
    """Metrics and logs are spoken over gRPC too, with what the server rejects counted."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    logs_grpc.add_LogsServiceServicer_to_server(Logs(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        one = pipeline(
            **BOTH, OTEL_EXPORTER_OTLP_PROTOCOL="grpc", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}"
        )
        one.meters().get_meter("test").create_counter("made").add(1)
        one.loggers().get_logger("test").emit(LogRecord(event_name="a"))
        assert not one.flush(20)  # one was rejected
        counts = {counts.unit: counts for counts in one.counts()}
        assert counts[METRICS.unit].exported >= 1
        assert counts[LOGS.unit].dropped == {"rejected": 1}
        assert counts[TRACES.unit].exported == 0
        one.shutdown(5)
    finally:
        server.stop(None).wait(5)
