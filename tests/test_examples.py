"""Every example runs with the command in its first line, on the loopback network only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SAYS = {
    "ask_the_store.py": "search: 20 calls",
    "attribution.py": "2 calls for {'u-17'} 24 input tokens",
    "cost.py": "refused: budget 'demo' (total)",
    "first_trace.py": '"llm.cost.total"',
    "gemini_functions.py": "execute_tool weather: - tokens in",
    "prompt_and_documents.py": "monday ->",
    "redaction.py": "[EMAIL]",
    "survive_an_outage.py": "requests at the backend: 1",
    "upload.py": "outputs.json: 11 characters",
}

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not here")


def test_every_example_is_tested_and_short() -> None:
    """No example is missing from the tests, and each fits on a screen."""
    found = {path.name: path for path in EXAMPLES.glob("*.py") if not path.name.startswith("_")}
    assert found.keys() == SAYS.keys()
    assert [name for name, path in found.items() if len(path.read_text().splitlines()) > 60] == []


@pytest.mark.parametrize("name", sorted(SAYS))
def test_example_prints_its_result(name: str, tmp_path: Path) -> None:
    """An example exits with 0, prints its result and does not contact a proxy."""
    nowhere = "http://127.0.0.1:9"
    environ = {**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    environ |= {"HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere}
    ran = subprocess.run(
        [sys.executable, EXAMPLES / name],
        check=False,
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert SAYS[name] in ran.stdout
