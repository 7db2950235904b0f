"""Fixed binary layout of a call's numbers, which lets a report load a million calls as columns at once."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Mapping

METRIC_LAYOUT = {
    "started": "q", "duration": "q", "first_token": "q", "speed": "q", "input": "q", "output": "q", "cache_read": "q",
    "cache_write": "q", "reasoning": "q", "cost": "q", "estimated_cost": "q",
    "dimensions": "i", "user": "i", "session": "i", "labels": "i", "estimated": "i",
}  # fmt: skip
"""Numbers that every report needs, with their ``struct`` format. -1 means "missing"."""
SIMILARITY_LAYOUT = {
    "exact_hash": "q", "near_hash": "q", "prefix_hash": "q",
    "prefix_tokens": "q", "wasted_tokens": "q", "cost_input": "q",
}  # fmt: skip
"""Further numbers that ``llmtrace advise`` needs. A hash of 0 means "missing", as does -1 elsewhere."""

_METRIC_STRUCT = struct.Struct(f"<{''.join(METRIC_LAYOUT.values())}")
_SIMILARITY_STRUCT = struct.Struct(f"<{''.join(SIMILARITY_LAYOUT.values())}")
_HASHES = frozenset({"exact_hash", "near_hash", "prefix_hash"})
_ESTIMATES = ("estimated_input", "estimated_output", "estimated_cost")
_METRIC_SOURCES = (*(name for name in METRIC_LAYOUT if name != "estimated"), "estimated_input", "estimated_output")


def _pack(layout: Mapping[str, str], form: struct.Struct, row: Mapping[str, int | None]) -> bytes:
    return form.pack(
        *((0 if name in _HASHES else -1) if (value := row.get(name)) is None else value for name in layout)
    )


def pack_metrics(row: Mapping[str, int | None]) -> bytes:
    """Pack the metrics of a row of ``calls``."""
    return _pack(
        METRIC_LAYOUT, _METRIC_STRUCT, {**row, "estimated": int(any(row.get(name) is not None for name in _ESTIMATES))}
    )


def pack_similarity(row: Mapping[str, int | None]) -> bytes | None:
    """Pack the similarity columns of a row of ``calls``; ``None`` where all of them are null."""
    if all(row.get(name) is None for name in SIMILARITY_LAYOUT):
        return None
    return _pack(SIMILARITY_LAYOUT, _SIMILARITY_STRUCT, row)


NO_SIMILARITY = _pack(SIMILARITY_LAYOUT, _SIMILARITY_STRUCT, {})
"""Packed similarity of a call without any."""


def register(connection: sqlite3.Connection) -> None:
    """Register SQL functions that pack a row, for rows of the first release, which did not pack them."""
    _register(connection, "llmtrace_metrics", _METRIC_SOURCES, pack_metrics)
    _register(connection, "llmtrace_similarity", tuple(SIMILARITY_LAYOUT), pack_similarity)


def _register(
    connection: sqlite3.Connection, name: str, columns: tuple[str, ...], pack: Callable[..., bytes | None]
) -> None:
    connection.create_function(
        name, len(columns), lambda *values: pack(dict(zip(columns, values, strict=True))), deterministic=True
    )


def metrics_sql(version: int) -> str:
    """Return the SQL expression of a call's packed metrics in a file of that schema version."""
    packed = f"llmtrace_metrics({', '.join(_METRIC_SOURCES)})"
    return packed if version < 2 else f"coalesce(metrics, {packed})"


def similarity_sql(version: int) -> str:
    """Return the SQL expression of a call's packed similarity columns in a file of that schema version."""
    packed = f"coalesce(llmtrace_similarity({', '.join(SIMILARITY_LAYOUT)}), x'{NO_SIMILARITY.hex()}')"
    return packed if version < 2 else f"coalesce(similarity, {packed})"
