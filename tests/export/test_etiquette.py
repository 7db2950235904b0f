"""An application's own OpenTelemetry set-up is used, and never touched."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace import serverless
from llmtrace._local_store import open_store
from llmtrace._settings import load
from llmtrace.export import routes
from llmtrace.export.pipeline import Pipeline

from .backend import Backend

Run = Callable[..., str]


def make_pipeline(settings: dict[str, Any]) -> Pipeline:
    """Return a pipeline with the local store as its fallback, as ``instrument()`` makes it."""
    loaded = load(settings)
    return Pipeline(loaded, open_store=partial(open_store, loaded, None))


def test_provider_set_later_receives_the_spans_and_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    """A global provider that comes after ours gets the spans from then on, with one message, and is left as it was."""
    pipeline = Pipeline(load({"store": "off"}))
    pipeline.provider().get_tracer("test").start_span("before").end()
    exporter, theirs = InMemorySpanExporter(), TracerProvider()
    theirs.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", theirs)
    with caplog.at_level(logging.INFO, logger="llmtrace"):
        for name in ("a", "b"):
            pipeline.provider().get_tracer("test").start_span(name).end()
    assert [span.name for span in exporter.get_finished_spans()] == ["a", "b"]
    assert caplog.text.count("application's provider") == 1
    assert pipeline.shutdown(5)
    theirs.get_tracer("theirs").start_span("c").end()
    assert len(exporter.get_finished_spans()) == 3
    theirs.shutdown()


def test_provider_with_only_a_tracer_is_used() -> None:
    """A provider that knows neither processors, flush nor shutdown is enough."""

    class Bare(trace.TracerProvider):
        def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
            return trace.NoOpTracer()

    bare = Bare()
    pipeline = Pipeline(load({}), bare)
    pipeline.prepare()
    assert pipeline.provider() is bare
    assert pipeline.flush(1)
    assert pipeline.shutdown(1)


def test_provider_with_the_name_of_a_placeholder_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logfire's is called as OpenTelemetry's stand-in for a provider that nobody has set yet."""

    class ProxyTracerProvider(TracerProvider):
        pass

    pipeline = Pipeline(load({"store": "off"}))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", trace.ProxyTracerProvider())
    assert pipeline.own()
    theirs = ProxyTracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", theirs)
    assert pipeline.provider() is theirs
    assert not pipeline.own()


def test_flush_of_a_failing_provider_is_bounded() -> None:
    """Flushing a foreign provider is bounded, and its exceptions are its own."""

    class Hangs(trace.NoOpTracerProvider):
        def force_flush(self, timeout_millis: int = 0) -> bool:
            raise OSError

    assert Pipeline(load({}), Hangs()).flush(1) is False

    class Hurries(trace.NoOpTracerProvider):
        def force_flush(self) -> bool:
            return True

    assert Pipeline(load({}), Hurries()).flush(1) is True


def test_disabled_sdk_records_nothing(run: Run, backend: Backend, spool: Path) -> None:
    """With OTEL_SDK_DISABLED=true nothing is recorded, sent or written."""
    backend.up()
    assert run("call('a')\nprint(pipeline.flush(1))\n", OTEL_SDK_DISABLED="true").split() == ["True"]
    assert not backend.attempts
    assert not spool.exists()


CONFIGURED = """
file_format: "1.0-rc.1"
tracer_provider:
  processors:
    - simple:
        exporter:
          console: {}
"""


METRICS_AND_LOGS = """
meter_provider:
  readers:
    - periodic:
        exporter:
          console: {}
logger_provider:
  processors:
    - simple:
        exporter:
          console: {}
"""


def test_declarative_configuration_of_traces_is_used(run: Run, tmp_path: Path, spool: Path) -> None:
    """With OTEL_CONFIG_FILE the provider is the one the file describes, and the global one is left alone."""
    pytest.importorskip("opentelemetry.configuration")
    file = tmp_path / "otel.yaml"
    file.write_text(CONFIGURED, encoding="utf-8")
    out = run(
        "from opentelemetry import trace\ncall('described')\nassert pipeline.flush(5)\n"
        "assert trace._TRACER_PROVIDER is None\n",
        OTEL_CONFIG_FILE=str(file),
    )
    assert '"name": "described"' in out
    assert not spool.exists()


def test_declarative_configuration_of_all_signals_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Metrics and logs go where the file says as well; with the SDK disabled in it nothing goes anywhere."""
    pytest.importorskip("opentelemetry.configuration")
    file = tmp_path / "otel.yaml"
    monkeypatch.setenv("OTEL_CONFIG_FILE", str(file))
    file.write_text(CONFIGURED + METRICS_AND_LOGS, encoding="utf-8")
    pipeline = Pipeline(load({}))
    pipeline.prepare()
    providers = [pipeline.provider(), pipeline.meters(), pipeline.loggers()]
    assert [type(each).__name__ for each in providers] == ["TracerProvider", "MeterProvider", "LoggerProvider"]
    assert not pipeline.owned()
    for each in providers:
        each.shutdown()
    file.write_text('file_format: "1.0-rc.1"\ndisabled: true\n', encoding="utf-8")
    pipeline = Pipeline(load({}))
    assert not pipeline.provider().get_tracer("t").start_span("a").is_recording()
    assert (pipeline.meters(), pipeline.loggers()) == (None, None)


def test_exporter_of_another_distribution_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is found by its name; for one that cannot be made the local store is used, with a warning."""
    exporters: list[InMemorySpanExporter] = []

    def make() -> InMemorySpanExporter:
        exporters.append(InMemorySpanExporter())
        return exporters[-1]

    def load_() -> Any:
        return make

    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "theirs")
    monkeypatch.setattr(routes, "_entry_point", lambda name, signal: SimpleNamespace(load=load_))
    pipeline = Pipeline(load({}))
    pipeline.prepare()
    pipeline.prepare()
    assert [route.where for route in pipeline._traces._routes or ()] == ["theirs"]
    pipeline.provider().get_tracer("t").start_span("a").end()
    assert pipeline.shutdown(5)
    assert [span.name for exporter in exporters for span in exporter.get_finished_spans()] == ["a"]
    monkeypatch.setattr(routes, "_entry_point", lambda name, signal: SimpleNamespace(load=lambda: 1 / 0))
    pipeline = make_pipeline({"store": "spans.db"})
    pipeline.prepare()
    assert [route.where for route in pipeline._traces._routes or ()] == [str(Path("spans.db").absolute())]
    assert "OTEL_TRACES_EXPORTER='theirs' cannot be used: division by zero" in caplog.text


def test_program_without_standard_error_runs_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As under pythonw: where spans are written is said to nobody, and they are written."""
    monkeypatch.setattr(sys, "stderr", None)
    pipeline = make_pipeline({"store": tmp_path / "spans.jsonl"})
    pipeline.provider().get_tracer("t").start_span("a").end()
    assert pipeline.shutdown(5)
    assert (tmp_path / "spans.jsonl").read_text().count("\n") == 1


def test_unwritable_file_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Spans are counted as lost, and the warning names the path."""
    pipeline = make_pipeline({"store": f"{__file__}/spans.jsonl"})
    for _ in range(2):
        pipeline.provider().get_tracer("t").start_span("a").end()
        assert not pipeline.flush(5)
    pipeline.shutdown(5)
    assert pipeline.counts()[0].dropped == {"exporter": 2}
    assert sum("could not write spans to" in record.getMessage() for record in caplog.records) == 1


def test_signal_handlers_are_unchanged(run: Run, backend: Backend) -> None:
    """Tracing and exporting install no signal handler."""
    backend.up()
    run(
        "import signal\n"
        "before = [signal.getsignal(n) for n in range(1, signal.NSIG)]\n"
        "call('a')\nassert pipeline.flush(5)\n"
        "assert before == [signal.getsignal(n) for n in range(1, signal.NSIG)]\n"
    )


def test_lambda_handler_flushes_within_its_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Lambda the decorated handler flushes, in time, also when the handler raises; elsewhere it does not."""
    flushed: list[float] = []
    monkeypatch.setattr("llmtrace._api.flush", flushed.append)
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 2500)

    @serverless.flushed
    def handler(event: dict[str, int], context: object) -> int:
        return event["value"]

    assert handler({"value": 1}, context) == 1
    assert flushed == []
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "function")
    assert handler({"value": 2}, context) == 2
    with pytest.raises(KeyError):
        handler({}, context)
    assert handler({"value": 3}, None) == 3
    assert flushed == [2.0, 2.0, 5.0]
    assert handler.__name__ == "handler"


@pytest.mark.faulty
def test_failing_flush_does_not_fail_the_lambda_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer of the function is what it would have been."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "function")
    monkeypatch.setattr("llmtrace._api.flush", lambda timeout: 1 / 0)
    assert serverless.flushed(lambda event, context: event)(1, None) == 1


def test_lambda_spools_to_its_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Lambda the spool is under /tmp, unless configured."""
    from llmtrace.export.routes import spool_folder

    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "function")
    assert spool_folder(load({})) == Path("/tmp/llmtrace/spool")
    assert spool_folder(load({"spool": "/mnt/x"})) == Path("/mnt/x")


def test_no_thread_starts_before_the_first_span(run: Run) -> None:
    """Until a span ends there is no thread of ours and no file, so that a program may fork first."""
    out = run("import threading\nprint(threading.active_count(), os.path.exists(os.environ['LLMTRACE_SPOOL']))\n")
    assert out.split() == ["1", "False"]


def test_flush_before_instrument_is_true() -> None:
    """With nothing to flush, flush says that all is well."""
    assert llmtrace.flush(0.1) is True
    assert "llmtrace" in sys.modules
