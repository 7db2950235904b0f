"""The line that says how many tests were skipped, and why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import skip_summary

TESTS = """
import pytest
@pytest.mark.parametrize("number", range(3))
def test_one(number): pytest.skip("no recordings")
@pytest.mark.skipif(True, reason="not installed: django")
def test_two(): ...
def test_three(): ...
"""


def test_skips_are_counted_by_reason_in_one_line() -> None:
    """The most frequent reason is first, and a run without skips has no line."""
    reasons = ["Skipped: no django", "Skipped: no recordings", "Skipped: no recordings"]
    assert skip_summary.describe_skips(reasons) == "3 skipped: 2 x no recordings; 1 x no django"
    assert skip_summary.describe_skips([]) == ""


def test_run_ends_with_the_line_of_skips(tmp_path: Path) -> None:
    """pytest prints the line for skips of tests and of marks."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    environ = {**os.environ, "PYTHONPATH": str(Path(skip_summary.__file__).parent)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "skip_summary"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert "4 skipped: 3 x no recordings; 1 x not installed: django\n" in done.stdout, done.stdout + done.stderr
