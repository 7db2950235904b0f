"""Calls of a selection as columns: arrays that a report sums, sorts and groups."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..store.packed import METRIC_LAYOUT, SIMILARITY_LAYOUT, metrics_sql, similarity_sql
from ..store.read import ALL_TIMES
from ..store.schema import DIMENSION_COLUMNS
from .select import ROWS, Condition, Selection, columns

Array = np.ndarray[Any, np.dtype[Any]]
Dimensions = Mapping[str, Any]
_FLAGS = ("streamed", "approximate", "pinned")
_EXACT_BITS = 26
"""Bits of a number that a sum of floats adds up exactly, for up to a hundred million numbers."""


@dataclass(frozen=True, slots=True)
class CallTable:
    """The calls of a selection, in the order of their dimensions and, within these, of time."""

    store: sqlite3.Connection
    dimensions: Sequence[Dimensions]
    """One row of dimensions for each combination that occurs."""
    dimension_ids: Array
    """Index into ``dimensions`` for each call."""
    columns: Mapping[str, Array]
    """Arrays by the names of ``store.packed``; -1, or a hash of 0, means "missing"."""
    orders: dict[str, Array] = field(default_factory=dict)
    """Cache of ``order``, by column."""

    def __len__(self) -> int:
        return len(self.dimension_ids)

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def only(self, chosen: Array) -> CallTable:
        """Return the calls at these positions, or where the mask is true."""
        kept = {name: column[chosen] for name, column in self.columns.items()}
        return CallTable(self.store, self.dimensions, self.dimension_ids[chosen], kept)

    def order(self, name: str) -> Array:
        """Return the positions of the calls with a value in a column, lowest value first. The result is cached."""
        found = self.orders.get(name)
        if found is None:
            present = np.flatnonzero(self[name] >= 0)
            found = self.orders[name] = present[np.argsort(self[name][present])]
        return found

    def each_dimension(self, test: Callable[[Dimensions], bool]) -> Array:
        """Return a mask of the calls whose dimensions pass a test."""
        holds: Array = np.array([test(row) for row in self.dimensions], np.bool_)[self.dimension_ids]
        return holds


def read(store: sqlite3.Connection, chosen: Selection, *, similarity: bool = False) -> CallTable:
    """Read the calls of a selection, with ``similarity`` also the columns of ``SIMILARITY_LAYOUT``."""
    dimensions = matching_dimensions(store, chosen)
    (version,) = store.execute("PRAGMA user_version").fetchone()
    layouts, packed = [METRIC_LAYOUT], [metrics_sql(version)]
    if similarity:
        layouts, packed = [METRIC_LAYOUT, SIMILARITY_LAYOUT], [*packed, similarity_sql(version)]
    found: dict[str, Array] = {}
    for names, blob in zip(layouts, _packed(store, chosen, dimensions, packed), strict=True):
        rows = np.frombuffer(blob, np.dtype([(name, f"<{letter}") for name, letter in names.items()]))
        found |= {name: np.ascontiguousarray(rows[name]) for name in names}
    numbers = np.array(sorted(dimensions), np.int64)
    indices = np.searchsorted(numbers, found["dimensions"])
    table = CallTable(store, [dimensions[number] for number in numbers.tolist()], indices, found)
    matches = np.append(numbers, -1)[indices] == found["dimensions"]
    if not matches.all():  # dimensions were added after they were read
        table = table.only(matches)
    for condition in chosen.where:
        if condition.dimension in ROWS or condition.dimension.startswith("tag."):
            table = table.only(_holding(table, condition))
    return table


def blocked(dimensions: Dimensions) -> bool:
    """Return True if a budget blocked the calls with these dimensions, so that nothing was sent."""
    return bool(dimensions["outcome"] == "blocked")


def carried_out(calls: CallTable) -> CallTable:
    """Return the calls that were sent: all but those that a budget blocked."""
    return calls.only(~calls.each_dimension(blocked)) if any(map(blocked, calls.dimensions)) else calls


def _packed(
    store: sqlite3.Connection, chosen: Selection, dimensions: Mapping[int, Any], packed: Sequence[str]
) -> list[bytes]:
    """Return the packed columns of all selected calls, one concatenated blob for each layout."""
    (total,) = store.execute("SELECT count(*) FROM dimensions").fetchone()
    clause, values = where(chosen, None if len(dimensions) == total else dimensions)
    try:
        # Concatenate in SQLite, which is faster than Python row by row. Blobs are not altered.
        joined = ", ".join(f"CAST(group_concat({column}, '') AS BLOB)" for column in packed)
        rows = store.execute(f"SELECT {joined} FROM calls {clause} GROUP BY dimensions", values).fetchall()
    except (sqlite3.DataError, MemoryError):  # longer than a value may be in SQLite
        rows = store.execute(
            f"SELECT {', '.join(packed)} FROM calls {clause} ORDER BY dimensions, started", values
        ).fetchall()
    return [b"".join(parts) for parts in zip(*rows, strict=True)] or [b"" for _ in packed]


def _holding(calls: CallTable, condition: Condition) -> Array:
    """Return a mask of the calls whose user, session or free tag meets a condition."""
    name = condition.dimension
    ids = calls[name if name in ROWS else "labels"]
    ids_present = np.unique(ids)
    names = texts(calls.store, ids_present.tolist())
    value: Iterable[str | None]
    if name in ROWS:
        value = (names.get(number) for number in ids_present.tolist())
    else:
        value = (label(names.get(number), name[4:]) for number in ids_present.tolist())
    holds = np.fromiter((condition.holds([text]) for text in value), np.bool_, len(ids_present))
    mask: Array = holds[np.searchsorted(ids_present, ids)]
    return mask


def label(text: str | None, key: str) -> str | None:
    """Return the free tag with a key from the JSON labels of a call."""
    value = None if text is None else json.loads(text).get(key)
    return None if value is None else str(value)


def texts(store: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, str]:
    """Return the texts with these ids."""
    if len(numbers) > 2_000:
        return dict(store.execute("SELECT id, text FROM texts"))
    rows = store.execute(f"SELECT id, text FROM texts WHERE id IN ({','.join(map(str, numbers))})")
    return dict(rows)


def matching_dimensions(store: sqlite3.Connection, chosen: Selection) -> dict[int, dict[str, Any]]:
    """Return the rows of dimensions that meet all conditions on dimensions, by id."""
    conditions = [
        condition
        for condition in chosen.where
        if condition.dimension not in ROWS and not condition.dimension.startswith("tag.")
    ]
    matching = {}
    for number, *values in store.execute(f"SELECT id, {', '.join(DIMENSION_COLUMNS)} FROM dimensions"):
        row = dict(zip(DIMENSION_COLUMNS, values, strict=True))
        row["tag"] = json.loads(row["tags"]) if row["tags"] else []
        if all(condition.holds(values_of(row, condition.dimension)) for condition in conditions):
            matching[number] = row
    return matching


def values_of(dimensions: Dimensions, dimension: str) -> list[str | None]:
    """Return the values of one dimension; several for tags."""
    if dimension == "tag":
        return list(dimensions["tag"]) or [None]
    for column in columns(dimension):
        value = dimensions[column]
        if value is not None:
            return ["true" if value else "false"] if column in _FLAGS else [value]
    return [None]


def where(chosen: Selection, dimensions: Mapping[int, Any] | None) -> tuple[str, Sequence[int]]:
    """Return the SQL condition on ``calls`` for a time window and dimensions ids; ``None`` for all ids."""
    parts: list[str] = []
    if dimensions is not None:
        # Integers from the store, and too many of them for parameters.
        parts.append(f"dimensions IN ({','.join(map(str, dimensions))})")
    elif chosen.window != ALL_TIMES:
        # Name all ids, so that SQLite seeks the window in the index for each of them.
        parts.append("dimensions IN (SELECT id FROM dimensions)")
    if chosen.window != ALL_TIMES:
        parts.append("started >= ? AND started < ?")
    return (f"WHERE {' AND '.join(parts)}" if parts else ""), chosen.window if chosen.window != ALL_TIMES else ()


def exact_sum(values: Array, groups: Array | None = None, count: int = 1) -> list[int]:
    """Return exact sums by group, without missing values. 64-bit sums could overflow and float sums be rounded."""
    present = np.maximum(values, 0)
    sums = [0] * count
    bits = int(present.max()).bit_length() if len(present) else 0
    for shift in range(0, bits, _EXACT_BITS):
        piece = (present >> shift) & ((1 << _EXACT_BITS) - 1)
        if groups is None:
            parts = [int(piece.sum())]
        else:
            parts = np.bincount(groups, weights=piece, minlength=count).astype(np.int64).tolist()
        sums = [total + (part << shift) for total, part in zip(sums, parts, strict=True)]
    return sums
