"""What the name of a model says by itself."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["is_pinned"]

_MONTH = "(?:0[1-9]|1[0-2])"
_SNAPSHOT = re.compile(
    rf"-\d{{4}}-\d{{2}}-\d{{2}}\b|[-@]20\d{{6}}\b|-{_MONTH}-?[0-3]\d\b|-2\d{_MONTH}\b|-\d{{2}}-20\d{{2}}\b|-00\d$"
)


@lru_cache(maxsize=1024)
def is_pinned(model: str) -> bool:
    """Whether a name is that of a dated snapshot, not of an alias whose meaning moves."""
    return _SNAPSHOT.search(model) is not None
