"""``llmtrace doctor`` in various environments: each line names the setting behind it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import llmtrace
from export.backend import Backend
from llmtrace import _errors
from llmtrace.cli import doctor, main
from llmtrace.providers.registry import PROVIDERS


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the doctor away from files of this machine."""
    monkeypatch.setenv("LLMTRACE_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("LLMTRACE_STORE", str(tmp_path / "spans.db"))


@pytest.mark.parametrize(
    ("environ", "status", "expected"),
    [
        ({}, 0, "  spans: the local store\n"),
        ({}, 0, "spans.db  0.0 MB  (LLMTRACE_STORE)\n"),
        ({"LLMTRACE_STORE": "off"}, 0, "  spans: nowhere\n    OTEL_TRACES_EXPORTER is not set (default)\n"),
        ({"LLMTRACE_SPOOL": "off"}, 0, "  no spool: LLMTRACE_SPOOL is off\n"),
        ({"OTEL_TRACES_EXPORTER": "console"}, 0,
         "  spans: console\n    OTEL_TRACES_EXPORTER=console (environment)\n"),
        ({"OTEL_TRACES_EXPORTER": "none"}, 0, "  spans: nowhere\n    OTEL_TRACES_EXPORTER=none (environment)\n"),
        ({"OTEL_TRACES_EXPORTER": "pigeon"}, 1, "! llmtrace ignores OTEL_TRACES_EXPORTER='pigeon'"),
        ({"OTEL_SDK_DISABLED": "true"}, 0, "  OTEL_SDK_DISABLED=true (environment)\n  nowhere\n"),
        ({"LLMTRACE_ENABLED": "false"}, 0, "  openai  skipped: LLMTRACE_ENABLED"),
        ({"LLMTRACE_SPOOL": f"{__file__}/spool"}, 1, "/spool is not writable: spans would be buffered in memory only"),
    ],
)  # fmt: skip
def test_doctor_reports_each_setting(
    environ: dict[str, str],
    status: int,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The expected line is printed, and the exit status is 1 if a line begins with an exclamation mark."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert main(["doctor"]) == status
    out = capsys.readouterr().out
    assert expected in out
    assert any(line.startswith("!") for line in out.splitlines()) == bool(status)


def test_doctor_reports_a_reachable_backend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The endpoint is printed without credentials."""
    with Backend().up() as backend:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://me:secret@127.0.0.1:{backend.port}")
        assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert f"  spans: {backend.url}/v1/traces\n    accepts requests (http, compression gzip)\n" in out
    assert "secret" not in out


def test_doctor_reports_the_configuration_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The file is named, but not read."""
    pytest.importorskip("opentelemetry.configuration")
    file = tmp_path / "otel.yaml"
    file.write_text('file_format: "1.0-rc.1"\n')
    monkeypatch.setenv("OTEL_CONFIG_FILE", str(file))
    assert main(["doctor"]) == 0
    assert f"  OTEL_CONFIG_FILE={file} (environment)\n  as configured in that file\n" in capsys.readouterr().out


ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from llmtrace.cli import main
sys.exit(main(["doctor"]))
"""


def test_doctor_lists_sdks_that_are_not_installed() -> None:
    """A missing SDK is not a fault."""
    absent = [provider for provider in PROVIDERS if provider.name != "anthropic" and provider.doctor_imports]
    # ``google`` is shared with packages that llmtrace needs.
    packages = {re.match(r"google\.genai|\w+", provider.module)[0] for provider in absent}  # type: ignore[index]
    done = subprocess.run(
        [sys.executable, "-c", ABSENT, *packages],
        env={**os.environ, "PYTHONPATH": str(Path(llmtrace.__file__).parents[1])},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = "".join(f"  {name}  not installed\n" for name in sorted(provider.name for provider in absent))
    assert re.search(rf"\nclients\n  anthropic \S+  traced\n{lines}", done.stdout)


def test_doctor_reports_broken_packages_and_internal_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A broken SDK, missing hooks and internal errors are one line each, and the exit status is 1."""

    def imported(module: str) -> ModuleType:
        if module.startswith("anthropic"):
            raise OSError("half installed")
        return import_module(module)

    monkeypatch.setattr(doctor, "import_module", imported)
    monkeypatch.delattr("openai._base_client.SyncAPIClient._process_response")
    monkeypatch.setattr(_errors, "internal_errors", Counter({"read an answer": 2}))
    monkeypatch.setattr(doctor, "_PACKAGES", ("no-such-package", "wrapt"))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "! anthropic._base_client cannot be imported: half installed\n" in out
    assert "! openai  skipped: this release has no SyncAPIClient._process_response\n" in out
    assert "! instrumentation error: could not read an answer (2 times)\n" in out
    assert f"  no-such-package not installed\n  wrapt {metadata.version('wrapt')}\n" in out


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("langfuse", "switch off langfuse.openai (import openai itself)"),
        ("opentelemetry_instrumentation_anthropic", "switch off AnthropicInstrumentor().instrument()"),
        ("openinference-instrumentation-groq", "nothing to switch off"),
        ("strands-agents", "nothing to switch off"),
        ("openinference-instrumentation", None),
        ("opentelemetry-instrumentation-fastapi", None),
    ],
)
def test_doctor_names_other_instrumentation_and_what_to_switch_off(
    name: str, advice: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each installed package that traces calls of models has a line; without one there is no section."""
    monkeypatch.setattr(metadata, "distributions", lambda: [SimpleNamespace(name=name, version="5.0")])
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert (f"  {name} 5.0: {advice}" in out) == (advice is not None)
    assert ("other instrumentation" in out) == (advice is not None)
