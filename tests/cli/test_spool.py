"""``llmtrace spool`` and ``llmtrace doctor`` on a spool with waiting data."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.backend import Backend
from llmtrace._settings import load
from llmtrace.cli import main
from llmtrace.export.pipeline import Pipeline


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spool folder with three spans of an ended process for an unreachable backend."""
    folder = tmp_path / "spool"
    monkeypatch.setenv("LLMTRACE_SPOOL", str(folder))
    monkeypatch.setenv("LLMTRACE_STORE", str(tmp_path / "spans.jsonl"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=sk-secret")
    pipeline = Pipeline(load({}))
    for number in range(3):
        pipeline.provider().get_tracer("test").start_span(str(number)).end()
    assert not pipeline.shutdown(1)
    return folder


def test_spool_status_lists_waiting_data(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output names the folder, the spans and the destination, without secrets."""
    assert main(["spool"]) == 0
    out = capsys.readouterr().out
    assert str(left) in out
    assert "3 spans wait" in out
    assert "left behind" in out
    assert "http://127.0.0.1:9/v1/traces" in out
    assert "secret" not in out


def test_drain_keeps_data_that_it_cannot_send(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With an unreachable backend, nothing is sent or lost."""
    assert main(["spool", "drain", "--timeout", "5"]) == 1
    assert "left:        3 spans" in capsys.readouterr().out
    assert main(["spool", "status"]) == 0
    assert "3 spans wait" in capsys.readouterr().out


def test_drain_sends_waiting_data_and_reports_losses(
    left: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spans and scores go to the configured destinations; rejected ones are counted."""
    monkeypatch.setenv("PHOENIX_COLLECTOR_ENDPOINT", "http://127.0.0.1:9")
    with Backend().up() as backend:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", backend.url)
        pipeline = Pipeline(load({}))
        backend.mode = 503
        pipeline.provider().get_tracer("test").start_span("kept").end()
        assert not pipeline.shutdown(0.2)
        backend.mode = 400
        assert main(["spool", "drain", "--timeout", "20"]) == 1  # the fixture's three are bound for elsewhere
    out = capsys.readouterr().out
    assert out.startswith("sent 0 spans, lost 1 (refused)\nsent 0 scores\n  left: ")
    (home,) = (segment.parent for segment in left.rglob("*.seg"))
    signal, key, since, mark = home.name.split("-")
    home.rename(home.with_name(f"{signal}-{key}-{int(since) - 3 * 3600 * 10**9:020d}-{mark}"))
    assert main(["spool"]) == 0
    out = capsys.readouterr().out
    assert "lost: 1 span (refused)" in out
    assert " 3 h  left behind  http://127.0.0.1:9/v1/traces\n" in out


def test_purge_deletes_data_of_ended_processes(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder is empty afterwards, and the amounts are printed."""
    assert main(["spool", "purge"]) == 0
    assert capsys.readouterr().out == f"deleted 3 spans from {left}\n"
    assert not list(left.iterdir())


@pytest.mark.parametrize(
    ("action", "variables"),
    [
        ("empty", {}), ("status", {"LLMTRACE_SPOOL_MAX_MB": "lots"}),
        ("drain", {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}), ("status", {"LLMTRACE_SPOOL": "off"}),
    ],
)  # fmt: skip
def test_wrong_usage_exits_with_2(
    action: str,
    variables: dict[str, str],
    left: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An invalid action, or an action without data, prints one line on standard error."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["spool", action]) == 2
    assert capsys.readouterr().err.startswith("llmtrace: " if action == "empty" else "llmtrace spool: ")


def test_doctor_reports_an_unreachable_backend(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output names the endpoint, the error, the waiting data and the settings."""
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "openai" in out
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:9" in out or "127.0.0.1:9" in out
    assert "! spans: http://127.0.0.1:9/v1/traces\n" in out
    assert "does not accept spans: ConnectionError (http, compression gzip)\n" in out
    assert "data points: nowhere" in out
    assert "3 spans wait" in out
    assert f"LLMTRACE_SPOOL={left} (environment)" in out
    assert "LLMTRACE_STORE" in out
    assert "secret" not in out


def test_doctor_with_an_invalid_setting_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The invalid setting is named."""
    monkeypatch.setenv("LLMTRACE_SPOOL_MAX_MB", "lots")
    assert main(["doctor"]) == 2
    assert "LLMTRACE_SPOOL_MAX_MB='lots'" in capsys.readouterr().out
