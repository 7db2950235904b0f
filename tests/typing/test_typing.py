"""The public names as pyright sees them; mypy reads ``api.py`` with the sources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_decorators_keep_signatures() -> None:
    """Every expression in api.py has the asserted type, and a wrong argument to a decorated function is reported."""
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "api.py"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
