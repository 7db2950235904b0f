"""Scores: on the open span, as an event in the logs, and as an annotation in Phoenix."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest
from loopback_vendor import Vendor, by_name
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace import collect, score, workflow
from llmtrace._settings import load
from llmtrace.context.score import Score
from llmtrace.export.phoenix import open_annotations, phoenix_transport
from serving import QuietHandler, serving


class Phoenix(ThreadingHTTPServer):
    """Server that receives annotations; its first responses are set by the test."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[str, dict[str, str], Any]] = []
        self.answers: list[int] = []


class _Handler(QuietHandler):
    server: Phoenix

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = self.server.answers.pop(0) if self.server.answers else 200
        if answer == 200:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.server.got.append((self.path, headers, body))
        self.send_response(answer)
        self.send_header("content-length", "0")
        self.end_headers()


@pytest.fixture
def phoenix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Phoenix]:
    with serving(Phoenix()) as server:
        monkeypatch.setenv("PHOENIX_COLLECTOR_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("PHOENIX_API_KEY", "key")
        monkeypatch.setenv("LLMTRACE_SPOOL", str(tmp_path / "spool"))
        yield server


class Telemetry:
    def __init__(self) -> None:
        self.spans, self.logs = InMemorySpanExporter(), InMemoryLogRecordExporter()
        self.tracing, self.logging = TracerProvider(), LoggerProvider()
        self.tracing.add_span_processor(SimpleSpanProcessor(self.spans))
        self.logging.add_log_record_processor(SimpleLogRecordProcessor(self.logs))

    def events(self) -> list[Any]:
        return [done.log_record for done in self.logs.get_finished_logs()]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    with llmtrace.instrument(tracer_provider=made.tracing, logger_provider=made.logging, strict=True):
        yield made
    made.tracing.shutdown()
    made.logging.shutdown()


def test_score_during_an_operation_is_an_event_of_its_span(telemetry: Telemetry) -> None:
    """The score is an event of the current span, and a log record that belongs to it."""
    with workflow("w"):
        score("relevance", 0.5, label="good", explanation="because")
    (span,), (event,) = by_name(telemetry.spans, "invoke_workflow"), telemetry.events()
    expected = {
        "gen_ai.evaluation.name": "relevance",
        "gen_ai.evaluation.score.value": 0.5,
        "gen_ai.evaluation.score.label": "good",
        "gen_ai.evaluation.explanation": "because",
    }
    assert [(one.name, dict(one.attributes)) for one in span.events] == [("gen_ai.evaluation.result", expected)]
    assert (event.event_name, dict(event.attributes)) == ("gen_ai.evaluation.result", expected)
    assert (event.trace_id, event.span_id) == (span.context.trace_id, span.context.span_id)


@pytest.mark.parametrize(("error", "expected"), [(ValueError("no"), "ValueError"), ("judge_refused", "judge_refused")])
def test_failed_evaluation_has_an_error_type(
    phoenix: Phoenix, telemetry: Telemetry, error: Exception | str, expected: str
) -> None:
    """The event of a failed evaluation has its error type; there is no result to post to Phoenix."""
    with workflow("w"):
        score("relevance", error=error)
        score("tone", label="kind")
    assert llmtrace.flush(20)
    failed, _ = telemetry.events()
    assert dict(failed.attributes) == {"gen_ai.evaluation.name": "relevance", "error.type": expected}
    assert [body["data"][0]["name"] for _, _, body in phoenix.got] == ["tone"]


def test_score_after_the_call_belongs_to_its_span(telemetry: Telemetry, vendor: Vendor, phoenix: Phoenix) -> None:
    """By call, by ids and by response id it belongs to the call's own span."""
    with openai.OpenAI(base_url=vendor.url, api_key="x") as client, collect() as calls:
        client.chat.completions.create(model="m", messages=[])
    (call,) = calls
    for on in (call, (call.trace_id, call.span_id), call.response_id, "chatcmpl-unknown"):
        score("thumbs", True, on=on)
    *known, unknown = telemetry.events()
    assert {(f"{one.trace_id:032x}", f"{one.span_id:016x}") for one in known} == {(call.trace_id, call.span_id)}
    assert [one.attributes.get("gen_ai.response.id") for one in known] == ["chatcmpl-1", None, "chatcmpl-1"]
    assert unknown.attributes["gen_ai.response.id"] == "chatcmpl-unknown"
    assert not unknown.span_id
    assert all(one.attributes["gen_ai.evaluation.score.value"] == 1.0 for one in known)


def test_score_is_posted_to_phoenix(phoenix: Phoenix, telemetry: Telemetry) -> None:
    """When spans go to Phoenix a score is posted there, with a retry after a temporary error; flush waits for it."""
    phoenix.answers = [503]
    with workflow("w"):
        score("relevance", 0.5, label="good")
        ids = trace.get_current_span().get_span_context()
    assert llmtrace.flush(20)
    ((path, headers, body),) = phoenix.got
    assert (path, headers["authorization"]) == ("/v1/span_annotations", "Bearer key")
    assert body["data"] == [
        {
            "span_id": f"{ids.span_id:016x}",
            "name": "relevance",
            "annotator_kind": "CODE",
            "result": {"score": 0.5, "label": "good"},
        }
    ]


def test_lost_annotation_is_logged_once(phoenix: Phoenix, caplog: pytest.LogCaptureFixture) -> None:
    """A backend that refuses loses the annotation, with one warning and a False from flush."""
    made = open_annotations(load({}), None)
    assert made is not None
    phoenix.answers = [404, 404]
    for _ in range(2):
        made.post(Score("s", 1.0, None, None, 1, 1))
    assert not made.flush(time.monotonic() + 20)
    assert made._stats.counts().dropped == {"refused": 2}
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, None),
        ({"PHOENIX_COLLECTOR_ENDPOINT": "https://p.example/s/x"}, "https://p.example/s/x/v1/span_annotations"),
        ({"PHOENIX_COLLECTOR_ENDPOINT": "p.example"}, None),
        ({"PHOENIX_COLLECTOR_ENDPOINT": "file:///etc"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:6006"}, "http://h:6006/v1/span_annotations"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:6006/v1/traces"}, "http://h:6006/v1/span_annotations"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:nonsense"}, None),
    ],
)
def test_phoenix_url_is_read_from_the_environment(
    environ: dict[str, str], url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores are posted only where the environment configures Phoenix as the target of spans."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    found = phoenix_transport()
    assert (found and found.url) == url


@pytest.mark.parametrize(
    ("name", "value", "on"),
    [
        ("", 1, None),
        (None, 1, None),
        ("s", 1, None),
        ("s", 1, 5),
        ("s", 1, ("xyz", "1")),
        ("s", 1, ""),
        ("s", 1, ("0",)),
    ],
)
def test_score_without_name_or_target_is_dropped(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture, name: Any, value: Any, on: Any
) -> None:
    """It is dropped with a warning, and nothing is raised."""
    score(name, value, on=on)
    assert not telemetry.events()
    assert len(caplog.records) == 1


def test_invalid_score_value_loses_only_the_value(telemetry: Telemetry) -> None:
    """Text and not-a-number are not valid scores; the label remains."""
    with workflow("w"):
        score("s", "high", label="l")  # type: ignore[arg-type]
        score("s", float("nan"), label="l")
    assert [dict(one.attributes) for one in telemetry.events()] == [
        {"gen_ai.evaluation.name": "s", "gen_ai.evaluation.score.label": "l"}
    ] * 2
