"""llmtrace with other instrumentation: one span per call has the tokens, and budgets hold, whichever starts first.

The packages need environments of their own: ``nox -s others``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from llmtrace.cli.other_instrumentation import advice_for

HERE = Path(__file__).parent
MATRIX: dict[str, Any] = tomllib.loads((HERE / "matrix.toml").read_text(encoding="utf-8"))
PACKAGES: dict[str, Any] = MATRIX["packages"]
OUTCOMES = {
    "joined": {"tokens": ["other"], "costs": ["other"], "tags": ["other"]},
    "own": {"tokens": ["llmtrace"], "costs": ["llmtrace"], "tags": ["llmtrace"]},
    "twice": {"tokens": ["llmtrace", "other"], "costs": ["llmtrace"], "tags": ["llmtrace"]},
    "frameworks": {"tokens": ["other", "other"], "costs": ["other"], "tags": ["other"]},
    "no_cost": {"tokens": ["other"], "costs": [], "tags": []},
}
"""Which spans have the tokens, the cost and the tags of a call, by the names in ``matrix.toml``."""


def distribution(requirement: str) -> str:
    return re.split(r"[=<>]", requirement)[0]


def needs(package: str) -> None:
    for requirement in (*PACKAGES[package]["install"], "langchain-openai", "google-genai"):
        try:
            metadata.version(distribution(requirement))
        except metadata.PackageNotFoundError:
            pytest.skip(f"{distribution(requirement)} is not installed")


@cache
def run(package: str, order: str) -> dict[str, Any]:
    """Return what the program printed in a process of its own."""
    environ = {**os.environ, "LLMTRACE_STORE": "off", "LLMTRACE_SPOOL": "off"}
    environ |= {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_TRACE_AGENT_URL": "http://127.0.0.1:9"}
    environ["PYTHONPATH"] = os.pathsep.join(map(str, (HERE.parent, HERE.parent / "providers")))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "program.py"), package, order],
        env=environ, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stdout[-2000:] + done.stderr[-4000:]
    printed: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULT "))
    return printed


@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("package", PACKAGES)
def test_matrix_is_true(package: str, order: str) -> None:
    """The spans of each call have the tokens, cost and tags that the page says."""
    needs(package)
    outcomes = PACKAGES[package]["outcomes"]
    expected = {case: name for name, calls in outcomes.items() for call in calls for case in MATRIX["calls"][call]}
    results = run(package, order)["results"]
    recorded = {
        case: next(
            (name for name, outcome in OUTCOMES.items() if outcome.items() <= result.items()),
            str({name: result[name] for name in ("tokens", "costs", "tags")}),
        )
        for case, result in results.items()
    }
    assert recorded == expected


@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("package", PACKAGES)
def test_program_collect_and_budgets_work_with_another_instrumentation(package: str, order: str) -> None:
    """The responses are complete, each call is sent and collected once, and none is sent that a budget refuses."""
    needs(package)
    alone, both = run(package, "alone")["results"], run(package, order)
    assert both["skipped"] == {}
    for case, result in both["results"].items():
        assert (case, result["text"]) == (case, alone[case]["text"])
        assert (case, result["requests"]) == (case, 1)
        assert (case, result["collected"]) == (case, [[7, True, "f"]])
        assert (case, result["refused"]) == (case, True)


@pytest.mark.parametrize("package", PACKAGES)
def test_doctor_names_each_package(package: str) -> None:
    """``llmtrace doctor`` has a line of advice for every package of the matrix."""
    for requirement in PACKAGES[package]["install"]:
        if "==" in requirement and not requirement.startswith("opentelemetry-util-"):
            assert advice_for(distribution(requirement)), requirement
