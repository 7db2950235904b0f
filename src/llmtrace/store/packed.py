"""The numbers of a call in a fixed layout, so that a report can take in a million calls as so many columns at once."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping

__all__ = ["FIGURES", "LIKENESS", "NOTHING", "figures_sql", "likeness_sql", "pack_figures", "pack_likeness", "register"]

FIGURES = {
    "started": "q", "duration": "q", "first_token": "q", "speed": "q", "input": "q", "output": "q", "cache_read": "q",
    "cache_write": "q", "reasoning": "q", "cost": "q", "estimated_cost": "q",
    "facts": "i", "user": "i", "session": "i", "labels": "i", "estimated": "i",
}  # fmt: skip
"""What every report asks, with the letters of ``struct``. -1 is "not told"."""
LIKENESS = {
    "exact_hash": "q", "near_hash": "q", "prefix_hash": "q",
    "prefix_tokens": "q", "wasted_tokens": "q", "cost_input": "q",
}  # fmt: skip
"""What advice on saving asks besides. A hash of 0 is "not told"."""

_FIGURES = struct.Struct(f"<{''.join(FIGURES.values())}")
_LIKENESS = struct.Struct(f"<{''.join(LIKENESS.values())}")
_HASHES = frozenset({"exact_hash", "near_hash", "prefix_hash"})
_ESTIMATES = ("estimated_input", "estimated_output", "estimated_cost")
_FROM = (*(name for name in FIGURES if name != "estimated"), "estimated_input", "estimated_output")


def pack_figures(told: Mapping[str, int | None]) -> bytes:
    """From the columns of a row of ``calls``."""
    known = {**told, "estimated": int(any(told.get(name) is not None for name in _ESTIMATES))}
    return _FIGURES.pack(*(-1 if (value := known.get(name)) is None else value for name in FIGURES))


def pack_likeness(told: Mapping[str, int | None]) -> bytes | None:
    """The same; ``None`` where there is nothing to tell."""
    values = [told.get(name) for name in LIKENESS]
    if not any(value is not None for value in values):
        return None
    return _LIKENESS.pack(
        *(
            (0 if name in _HASHES else -1) if value is None else value
            for name, value in zip(LIKENESS, values, strict=True)
        )
    )


NOTHING = _LIKENESS.pack(*(0 if name in _HASHES else -1 for name in LIKENESS))
"""The likeness of a call that has none."""


def register(connection: sqlite3.Connection) -> None:
    """Have SQL know how to pack a row, for rows that a release wrote which did not pack them."""
    for name, names, pack in (
        ("llmtrace_figures", _FROM, pack_figures),
        ("llmtrace_likeness", LIKENESS, pack_likeness),
    ):
        columns = tuple(names)

        def packed(*values: int | None, columns: tuple[str, ...] = columns, pack: object = pack) -> bytes | None:
            told: bytes | None = pack(dict(zip(columns, values, strict=True)))  # type: ignore[operator] # one of two
            return told

        connection.create_function(name, len(columns), packed, deterministic=True)


def figures_sql(version: int) -> str:
    """The SQL of a call's figures in a file of that version."""
    made = f"llmtrace_figures({', '.join(_FROM)})"
    return made if version < 2 else f"coalesce(figures, {made})"


def likeness_sql(version: int) -> str:
    made = f"coalesce(llmtrace_likeness({', '.join(LIKENESS)}), x'{NOTHING.hex()}')"
    return made if version < 2 else f"coalesce(likeness, {made})"
