"""Access to the recorded exchanges, which are stored outside the repository."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

#: The recordings and their server live beside the repository, not in it.
SHARED = Path(os.environ.get("LLMTRACE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
CASSETTES = SHARED / "cassettes"
REPLAY = SHARED / "replay" / "replay.py"
NO_SHARED = "the recorded exchanges are not here: set LLMTRACE_SHARED or put shared/ beside the repository"

Cassette = dict[str, Any]


@cache
def load_cassettes() -> list[Cassette]:
    """Return all recordings, or none if they are not available."""
    if not (REPLAY.is_file() and CASSETTES.is_dir()):
        return []
    files = sorted(path for path in CASSETTES.glob("*.json") if path.name != "index.json")
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]
