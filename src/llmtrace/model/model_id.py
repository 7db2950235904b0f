"""Properties of a model that its name shows."""

from __future__ import annotations

import re
from functools import lru_cache

_MONTH, _DAY = "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12]\\d|3[01])"
_SNAPSHOT = re.compile(
    rf"[-@:]20\d\d-{_MONTH}-{_DAY}\b"  # gpt-4o-2024-08-06
    rf"|[-@:_]20\d\d{_MONTH}{_DAY}\b"  # claude-3-5-sonnet-20241022, @20240620
    rf"|-{_MONTH}-?{_DAY}\b"  # gpt-4-0613, gemini-2.5-flash-preview-05-20
    rf"|-2\d{_MONTH}\b"  # mistral-large-2411
    rf"|-{_MONTH}-20\d\d\b"  # command-r-08-2024
    r"|[-@]00\d\b"  # gemini-1.5-pro-002, text-bison@001
    r"|-v\d+:\d+\b"  # amazon.nova-pro-v1:0
)
_MOVING = re.compile(r"[-@:]latest$|@default$")


@lru_cache(maxsize=1024)
def is_pinned(model: str) -> bool:
    """Return True if a name denotes a dated or numbered snapshot, not an alias that the vendor moves.

    A fine-tuned model (``ft:...``) never changes, whatever its base model.
    """
    name = model.strip().lower().rpartition("/")[2]
    return name.startswith("ft:") or (_SNAPSHOT.search(name) is not None and _MOVING.search(name) is None)
