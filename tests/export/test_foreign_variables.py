"""Standard variables with wrong values: each is logged once, and the program goes on with the default."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource

import llmtrace
from llmtrace import _api
from llmtrace._local_store import open_store
from llmtrace._settings import load
from llmtrace._settings.opentelemetry import usable_environment
from llmtrace.export.pipeline import Pipeline
from llmtrace.export.routes import Arguments, Routes
from llmtrace.export.signals import LOGS, METRICS, SIGNALS, TRACES

from .backend import Backend

pytestmark = pytest.mark.exhaustive

OTLP = "OTEL_EXPORTER_OTLP_"
ENDPOINT = f"{OTLP}ENDPOINT"
HERE = "http://127.0.0.1:9"

WRONG = [
    ("OTEL_TRACES_EXPORTER", "jaeger"),
    ("OTEL_METRICS_EXPORTER", "statsd"),
    ("OTEL_LOGS_EXPORTER", "syslog"),
    ("OTEL_TRACES_SAMPLER", "sometimes"),
    ("OTEL_PROPAGATORS", "tracecontext,b4"),
    ("OTEL_CONFIG_FILE", "missing.yaml"),
    (f"{OTLP}PROTOCOL", "http/json"),
    (f"{OTLP}TRACES_PROTOCOL", "thrift"),
    (ENDPOINT, "localhost:4318"),
    (ENDPOINT, "collector"),
    (ENDPOINT, "http://host:port"),
    (f"{OTLP}TRACES_ENDPOINT", "localhost:4318/v1/traces"),
    (f"{OTLP}METRICS_ENDPOINT", "localhost"),
    (f"{OTLP}TIMEOUT", "soon"),
    (f"{OTLP}TRACES_TIMEOUT", "-1"),
    (f"{OTLP}COMPRESSION", "brotli"),
    (f"{OTLP}HEADERS", "rubbish"),
    (f"{OTLP}HEADERS", "authorization=Bearer%0Ax"),
    (f"{OTLP}HEADERS", "key=✓"),
    (f"{OTLP}CERTIFICATE", "/nowhere/ca.pem"),
    (f"{OTLP}CLIENT_KEY", "/nowhere/key.pem"),
    (f"{OTLP}CLIENT_CERTIFICATE", "/nowhere/cert.pem"),
    (f"{OTLP}INSECURE", "perhaps"),
    (f"{OTLP}METRICS_TEMPORALITY_PREFERENCE", "eternal"),
    (f"{OTLP}METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "none"),
    ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "nobody"),
    ("OTEL_BSP_SCHEDULE_DELAY", "0"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-3"),
    ("OTEL_BSP_EXPORT_TIMEOUT", "1s"),
    ("OTEL_BLRP_MAX_QUEUE_SIZE", "many"),
    ("OTEL_METRIC_EXPORT_INTERVAL", "often"),
    ("OTEL_METRIC_EXPORT_TIMEOUT", "late"),
    ("OTEL_METRICS_EXEMPLAR_FILTER", "some"),
    ("OTEL_ATTRIBUTE_COUNT_LIMIT", "lots"),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "lots"),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", "-1"),
    ("OTEL_SPAN_LINK_COUNT_LIMIT", "1.5"),
    ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "x"),
    ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "x"),
    ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "x"),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "x"),
    ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "x"),
    ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "maybe"),
    ("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "maybe"),
    ("OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK", "uplaod"),
]


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(_api, "_retired", [])
    monkeypatch.setenv("LLMTRACE_STORE", str(tmp_path / "spans.db"))
    monkeypatch.setenv("LLMTRACE_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("LLMTRACE_FLUSH_TIMEOUT", "0")
    yield
    llmtrace.shutdown(0)  # else its threads read the environment and log in the next test
    llmtrace.uninstrument()


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "llmtrace"]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name}={value}" for name, value in WRONG])
@pytest.mark.parametrize("otlp", ["http", "grpc", ""])
def test_wrong_variable_does_not_stop_the_program(
    otlp: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """instrument() succeeds, one warning names the variable, and spans, metrics and logs have somewhere to go."""
    if otlp:
        monkeypatch.setenv(ENDPOINT, HERE)
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
        monkeypatch.setenv("OTEL_LOGS_EXPORTER", "otlp")
    if otlp == "grpc":
        monkeypatch.setenv(f"{OTLP}PROTOCOL", "grpc")
    monkeypatch.setenv(name, value)
    if otlp == "grpc" and name.endswith("ENDPOINT"):
        pytest.skip("gRPC takes an address without a scheme")
    pipeline = llmtrace.instrument()._runtime.pipeline
    assert pipeline.provider().get_tracer("t").start_span("a").is_recording()
    pipeline.meters()
    pipeline.loggers()
    assert [route.where for route in pipeline._traces._routes or ()]
    named = [message for message in warnings_in(caplog) if name in message]
    assert len(named) == 1, caplog.text
    assert os.environ[name] == value


@pytest.mark.parametrize("value", ["tracecontext, baggage", "none", ""])
def test_installed_propagators_are_accepted(
    value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Names with spaces between them, ``none`` and an empty value are not reported."""
    monkeypatch.setenv("OTEL_PROPAGATORS", value)
    llmtrace.instrument()
    assert warnings_in(caplog) == []


def test_unknown_propagator_does_not_stop_a_program_with_a_configuration_file(tmp_path: Path) -> None:
    """OpenTelemetry raises for it when it is imported; llmtrace goes on with the default while it reads the file."""
    configuration = tmp_path / "otel.yaml"
    configuration.write_text('file_format: "1.0"\n')
    code = "import llmtrace\nllmtrace.instrument()\nwith llmtrace.tool('t'):\n    pass\nprint('done')\n"
    environment = {**os.environ, "OTEL_PROPAGATORS": "b4", "OTEL_CONFIG_FILE": str(configuration)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr
    assert done.stderr.count("llmtrace ignores OTEL_PROPAGATORS='b4'") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_exporter_not_installed_leaves_the_others(signal: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that is not installed is left out of a list; alone it is as good as none."""
    assert signal in (TRACES, METRICS, LOGS)
    variable = f"OTEL_{signal.name.upper()}_EXPORTER"  # type: ignore[attr-defined]
    monkeypatch.setenv(variable, "zipkon,otlp")
    assert Routes(load({})).names(signal) == ["otlp"]  # type: ignore[arg-type]
    monkeypatch.setenv(variable, "zipkon")
    assert Routes(load({})).names(signal) == (["local"] if signal is TRACES else [])  # type: ignore[arg-type]
    assert Routes(load({"store": "off"})).names(signal) == []  # type: ignore[arg-type]


def test_wrong_variable_of_one_signal_falls_back_to_the_general_one(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its default is the variable for all signals."""
    monkeypatch.setenv(ENDPOINT, backend.url)
    monkeypatch.setenv(f"{OTLP}TRACES_ENDPOINT", "localhost:1")
    monkeypatch.setenv(f"{OTLP}TIMEOUT", "7")
    monkeypatch.setenv(f"{OTLP}TRACES_TIMEOUT", "x")
    with usable_environment():
        assert os.environ[f"{OTLP}TRACES_ENDPOINT"] == f"{backend.url}/v1/traces"
        assert os.environ[f"{OTLP}TRACES_TIMEOUT"] == "7"
    assert os.environ[f"{OTLP}TRACES_TIMEOUT"] == "x"


def test_wrong_variable_is_logged_without_credentials(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Headers and the account of an address are not logged."""
    monkeypatch.setenv(ENDPOINT, "ftp://me:hunter2@host")
    monkeypatch.setenv(f"{OTLP}HEADERS", "authorization=hunter2%0Ax")
    monkeypatch.setenv(f"{OTLP}TRACES_HEADERS", "key=hunter2✓")
    llmtrace.instrument()
    assert "hunter2" not in caplog.text
    assert len(warnings_in(caplog)) == 3


@pytest.mark.parametrize("name", ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_BSP_MAX_QUEUE_SIZE"])
def test_wrong_limit_does_not_break_the_import(name: str) -> None:
    """The SDK raises at a wrong limit while it is imported; llmtrace imports it all the same."""
    code = "import llmtrace\nwith llmtrace.instrument(store='off'):\n    pass\nprint('done')\n"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, name: "many"}, capture_output=True, text=True, check=False
    )
    assert done.stdout == "done\n", done.stderr
    assert done.stderr.count(name) == 1


def test_disabled_sdk_is_like_llmtrace_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED=true hooks nothing, and each client says why."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "True")
    done = llmtrace.instrument()
    assert not done.patched
    assert set(done.skipped.values()) == {"OTEL_SDK_DISABLED is true"}


def test_upload_that_cannot_be_set_up_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Content is then not uploaded, and the program goes on."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK", "upload")
    llmtrace.instrument()
    (message,) = warnings_in(caplog)
    assert "OTEL_INSTRUMENTATION_GENAI_UPLOAD_BASE_PATH" in message


@pytest.mark.faulty  # senders of other tests may need gRPC meanwhile
def test_missing_otlp_exporter_falls_back_to_the_store(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Where the exporter for gRPC is missing, the warning says what to install."""
    monkeypatch.setenv(ENDPOINT, HERE)
    monkeypatch.setenv(f"{OTLP}PROTOCOL", "grpc")
    monkeypatch.delitem(sys.modules, "llmtrace.export.otlp.grpc_transport", raising=False)
    monkeypatch.setitem(sys.modules, "grpc", None)
    settings = load({})
    pipeline = Pipeline(settings, open_store=partial(open_store, settings, None))
    pipeline.prepare()
    assert [route.where for route in pipeline._traces._routes or ()] == [str(tmp_path / "spans.db")]
    assert "pip install opentelemetry-exporter-otlp" in caplog.text


# -- the arguments of instrument() -----------------------------------------------------------------------------------


def test_endpoint_and_service_name_take_precedence_over_variables(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spans go to the argument's address, from a service of the argument's name."""
    backend.up()
    monkeypatch.setenv(f"{OTLP}TRACES_ENDPOINT", f"{HERE}/v1/traces")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "theirs")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=theirs,team=a")
    with llmtrace.instrument(endpoint=backend.url, service_name="ours"), llmtrace.tool("t"):
        pass
    assert llmtrace.flush(10)
    (request,) = backend.requests
    attributes = {each.key: each.value.string_value for each in request.resource_spans[0].resource.attributes}
    assert attributes["service.name"] == "ours"
    assert attributes["team"] == "a"
    assert attributes["telemetry.distro.name"] == "llmtrace"
    assert attributes["telemetry.distro.version"] == llmtrace.__version__


@pytest.mark.parametrize("path", ["", "/", "/v1/traces", "/v1/metrics"])
def test_endpoint_is_the_base_of_every_signal(path: str) -> None:
    """The path of one signal is replaced by that of each."""
    assert [signal.path(f"http://h:1/otel{path}") for signal in SIGNALS] == [
        f"http://h:1/otel/v1/{name}" for name in ("traces", "metrics", "logs")
    ]


def test_endpoint_takes_precedence_over_the_named_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that is not OTLP gives way to the argument; metrics and logs are asked for by name as before."""
    arguments = Arguments(endpoint=HERE)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    assert Routes(load({}), arguments=arguments).names(TRACES) == ["otlp"]
    assert Routes(load({}), arguments=arguments).names(METRICS) == []
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp_proto_grpc,console")
    assert Routes(load({}), arguments=arguments).names(TRACES) == ["otlp_proto_grpc", "console"]


@pytest.mark.parametrize("value", ["localhost:4318", "collector", "ftp://h", "http://", "http://h:x", "", 7])
def test_endpoint_without_scheme_is_a_config_error(value: object) -> None:
    """The error names the argument."""
    with pytest.raises(llmtrace.ConfigError, match=r"^endpoint=.* is not accepted; use a URL with its scheme"):
        llmtrace.instrument(endpoint=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["", " ", 7])
def test_invalid_service_name_is_a_config_error(value: object) -> None:
    """The error names the argument."""
    with pytest.raises(llmtrace.ConfigError, match=r"^service_name="):
        llmtrace.instrument(service_name=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("when", ["before", "after"])
def test_arguments_are_ignored_with_an_application_provider(
    when: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning says so, whenever the application sets its provider, and that provider is left as it is."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    theirs = TracerProvider(resource=Resource({"service.name": "theirs"}), shutdown_on_exit=False)
    if when == "before":
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", theirs)
    pipeline = llmtrace.instrument(endpoint=HERE, service_name="ours")._runtime.pipeline
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", theirs)
    assert pipeline.provider() is theirs
    assert pipeline.provider() is theirs
    assert theirs.resource.attributes["service.name"] == "theirs"
    (message,) = warnings_in(caplog)
    assert message.startswith("llmtrace ignores endpoint and service_name of instrument(): the application has set")


def test_distro_is_not_on_a_provider_of_the_application() -> None:
    """Only a provider of ours carries telemetry.distro.name."""
    from opentelemetry.sdk.trace import TracerProvider

    theirs = TracerProvider(shutdown_on_exit=False)
    assert Pipeline(load({}), theirs).provider() is theirs
    assert "telemetry.distro.name" not in theirs.resource.attributes
