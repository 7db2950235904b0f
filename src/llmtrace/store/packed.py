"""The numbers of a call in a fixed layout, so that a report can take in a million calls as so many columns at once."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping

__all__ = [
    "METRIC_LAYOUT",
    "NOTHING",
    "SIMILARITY_LAYOUT",
    "metrics_sql",
    "pack_metrics",
    "pack_similarity",
    "register",
    "similarity_sql",
]

METRIC_LAYOUT = {
    "started": "q", "duration": "q", "first_token": "q", "speed": "q", "input": "q", "output": "q", "cache_read": "q",
    "cache_write": "q", "reasoning": "q", "cost": "q", "estimated_cost": "q",
    "facts": "i", "user": "i", "session": "i", "labels": "i", "estimated": "i",
}  # fmt: skip
"""What every report asks, with the letters of ``struct``. -1 is "not told"."""
SIMILARITY_LAYOUT = {
    "exact_hash": "q", "near_hash": "q", "prefix_hash": "q",
    "prefix_tokens": "q", "wasted_tokens": "q", "cost_input": "q",
}  # fmt: skip
"""What advice on saving asks besides. A hash of 0 is "not told"."""

_METRIC_STRUCT = struct.Struct(f"<{''.join(METRIC_LAYOUT.values())}")
_SIMILARITY_STRUCT = struct.Struct(f"<{''.join(SIMILARITY_LAYOUT.values())}")
_HASHES = frozenset({"exact_hash", "near_hash", "prefix_hash"})
_ESTIMATES = ("estimated_input", "estimated_output", "estimated_cost")
_FROM = (*(name for name in METRIC_LAYOUT if name != "estimated"), "estimated_input", "estimated_output")


def pack_metrics(told: Mapping[str, int | None]) -> bytes:
    """From the columns of a row of ``calls``."""
    known = {**told, "estimated": int(any(told.get(name) is not None for name in _ESTIMATES))}
    return _METRIC_STRUCT.pack(*(-1 if (value := known.get(name)) is None else value for name in METRIC_LAYOUT))


def pack_similarity(told: Mapping[str, int | None]) -> bytes | None:
    """The same; ``None`` where there is nothing to tell."""
    values = [told.get(name) for name in SIMILARITY_LAYOUT]
    if not any(value is not None for value in values):
        return None
    return _SIMILARITY_STRUCT.pack(
        *(
            (0 if name in _HASHES else -1) if value is None else value
            for name, value in zip(SIMILARITY_LAYOUT, values, strict=True)
        )
    )


NOTHING = _SIMILARITY_STRUCT.pack(*(0 if name in _HASHES else -1 for name in SIMILARITY_LAYOUT))
"""The likeness of a call that has none."""


def register(connection: sqlite3.Connection) -> None:
    """Have SQL know how to pack a row, for rows that a release wrote which did not pack them."""
    for name, names, pack in (
        ("llmtrace_figures", _FROM, pack_metrics),
        ("llmtrace_likeness", SIMILARITY_LAYOUT, pack_similarity),
    ):
        columns = tuple(names)

        def packed(*values: int | None, columns: tuple[str, ...] = columns, pack: object = pack) -> bytes | None:
            told: bytes | None = pack(dict(zip(columns, values, strict=True)))  # type: ignore[operator] # one of two
            return told

        connection.create_function(name, len(columns), packed, deterministic=True)


def metrics_sql(version: int) -> str:
    """The SQL of a call's figures in a file of that version."""
    made = f"llmtrace_figures({', '.join(_FROM)})"
    return made if version < 2 else f"coalesce(figures, {made})"


def similarity_sql(version: int) -> str:
    made = f"coalesce(llmtrace_likeness({', '.join(SIMILARITY_LAYOUT)}), x'{NOTHING.hex()}')"
    return made if version < 2 else f"coalesce(likeness, {made})"
