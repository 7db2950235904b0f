"""The option that runs the exhaustive tests too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import exhaustive

TESTS = """
import pytest
@pytest.mark.exhaustive
def test_every_fault(): ...
def test_one_fault(): ...
"""


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "worker"])
@pytest.mark.parametrize(("arguments", "passed"), [([], 1), (["--exhaustive"], 2), (["folder"], 2)])
def test_exhaustive_tests_run_with_the_option_or_a_path(
    arguments: list[str], passed: int, workers: list[str], tmp_path: Path
) -> None:
    """The option and a path run all tests; without them the exhaustive ones are left out."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = folder\n")
    (folder / "test_it.py").write_text(TESTS)
    environ = {**os.environ, "PYTHONPATH": str(Path(exhaustive.__file__).parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "exhaustive", "-p", "xdist", *workers, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert f"{passed} passed" in done.stdout, done.stdout + done.stderr
