"""``llmtrace demo`` with an OTLP endpoint in the standard variables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from export.backend import Backend


def run_demo(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "XDG_STATE_HOME": str(folder), "HOME": str(folder), **variables}
    command = [sys.executable, "-m", "llmtrace", "demo", "--traces", "4"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=180, check=False)


def test_demo_sends_spans_to_the_configured_endpoint(tmp_path: Path) -> None:
    """Every span arrives, with the bridges of live export, and the command prints the endpoint."""
    with Backend().up() as backend:
        done = run_demo(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=backend.url)
    assert done.returncode == 0, done.stderr
    sent = sum(backend.names.values())
    assert sent > 8
    assert f"Sent {sent} spans to {backend.url}/v1/traces" in done.stdout
    resources = [group.resource.attributes for request in backend.requests for group in request.resource_spans]
    assert {"demo-shop"} == {
        each.value.string_value
        for attributes in resources
        for each in attributes
        if each.key == "openinference.project.name"
    }


def test_demo_with_unreachable_endpoint_exits_with_1(tmp_path: Path) -> None:
    """The command prints that the spans could not be sent."""
    done = run_demo(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "Could not send all of" in done.stderr
