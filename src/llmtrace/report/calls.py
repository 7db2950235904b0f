"""The calls of a selection as columns, each an array: what a report then adds up, sorts and groups at once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..store.packed import METRIC_LAYOUT, SIMILARITY_LAYOUT, metrics_sql, similarity_sql
from ..store.schema import DIMENSION_COLUMNS
from .select import ROWS, Condition, Selection, columns

__all__ = [
    "Array",
    "CallTable",
    "Dimensions",
    "blocked",
    "carried_out",
    "exact_sum",
    "label",
    "matching_dimensions",
    "read",
    "texts",
    "values_of",
    "where",
]

Array = np.ndarray[Any, np.dtype[Any]]
Dimensions = Mapping[str, Any]
_FLAGS = ("streamed", "approximate", "pinned")
_PIECE = 26
"""Bits of a number that a sum of floats adds up exactly, for up to a hundred million numbers."""


@dataclass(frozen=True, slots=True)
class CallTable:
    """The calls of a selection, in the order of their facts and, within these, of time."""

    store: sqlite3.Connection
    dimensions: Sequence[Dimensions]
    """What they have in common, one for each combination that occurs."""
    dimension_ids: Array
    """For each call its place in ``facts``."""
    columns: Mapping[str, Array]
    """By the names of ``store.packed``; -1, or a hash of 0, is "not told"."""
    orders: dict[str, Array] = field(default_factory=dict)
    """Columns that have been sorted: the places of their values."""

    def __len__(self) -> int:
        return len(self.dimension_ids)

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def only(self, chosen: Array) -> CallTable:
        """Those at these places, or where this is true."""
        kept = {name: column[chosen] for name, column in self.columns.items()}
        return CallTable(self.store, self.dimensions, self.dimension_ids[chosen], kept)

    def order(self, name: str) -> Array:
        """The places of the calls that tell this, the lowest value first; worked out once."""
        found = self.orders.get(name)
        if found is None:
            told = np.flatnonzero(self[name] >= 0)
            found = self.orders[name] = told[np.argsort(self[name][told])]
        return found

    def each_dimension(self, test: Callable[[Dimensions], bool]) -> Array:
        """Of each call, whether this holds of its facts."""
        found: Array = np.array([test(fact) for fact in self.dimensions], np.bool_)[self.dimension_ids]
        return found


def read(store: sqlite3.Connection, chosen: Selection, *, likeness: bool = False) -> CallTable:
    """The calls of a selection.

    Args:
        store: A connection to the store.
        chosen: Which calls.
        likeness: Also what says which other requests a call was like.
    """
    facts = matching_dimensions(store, chosen)
    (version,) = store.execute("PRAGMA user_version").fetchone()
    layouts, packed = [METRIC_LAYOUT], [metrics_sql(version)]
    if likeness:
        layouts, packed = [METRIC_LAYOUT, SIMILARITY_LAYOUT], [*packed, similarity_sql(version)]
    found: dict[str, Array] = {}
    for names, told in zip(layouts, _packed(store, chosen, facts, packed), strict=True):
        rows = np.frombuffer(told, np.dtype([(name, f"<{letter}") for name, letter in names.items()]))
        found |= {name: np.ascontiguousarray(rows[name]) for name in names}
    numbers = np.array(sorted(facts), np.int64)
    fact = np.searchsorted(numbers, found["facts"])
    made = CallTable(store, [facts[number] for number in numbers.tolist()], fact, found)
    inside = np.append(numbers, -1)[fact] == found["facts"]
    if not inside.all():  # facts have come since they were read
        made = made.only(inside)
    for condition in chosen.where:
        if condition.dimension in ROWS or condition.dimension.startswith("tag."):
            made = made.only(_holding(made, condition))
    return made


def blocked(fact: Dimensions) -> bool:
    """Return whether a budget has refused the calls of these facts: nothing was sent and nothing is known of them."""
    return bool(fact["outcome"] == "blocked")


def carried_out(calls: CallTable) -> CallTable:
    """Return the calls without those that a budget has blocked."""
    return calls.only(~calls.each_dimension(blocked)) if any(map(blocked, calls.dimensions)) else calls


def _packed(
    store: sqlite3.Connection, chosen: Selection, facts: Mapping[int, Any], packed: Sequence[str]
) -> list[bytes]:
    """What is packed of the calls, one after the other."""
    clause, values = where(chosen, _unless_all(store, facts))
    try:
        # SQLite puts them together faster than Python would row by row; a blob passes as it is.
        joined = ", ".join(f"CAST(group_concat({each}, '') AS BLOB)" for each in packed)
        rows = store.execute(f"SELECT {joined} FROM calls {clause} GROUP BY facts", values).fetchall()
    except (sqlite3.DataError, MemoryError):  # longer than SQLite lets a value be
        rows = store.execute(
            f"SELECT {', '.join(packed)} FROM calls {clause} ORDER BY facts, started", values
        ).fetchall()
    return [b"".join(parts) for parts in zip(*rows, strict=True)] or [b"" for _ in packed]


def _unless_all(store: sqlite3.Connection, facts: Mapping[int, Any]) -> Mapping[int, Any] | None:
    (known,) = store.execute("SELECT count(*) FROM facts").fetchone()
    return None if len(facts) == known else facts


def _holding(calls: CallTable, condition: Condition) -> Array:
    """Which calls have the user, session or free tag that a condition asks for."""
    name = condition.dimension
    ids = calls[name if name in ROWS else "labels"]
    known = np.unique(ids)
    told = texts(calls.store, known.tolist())
    value: Iterable[str | None]
    if name in ROWS:
        value = (told.get(number) for number in known.tolist())
    else:
        value = (label(told.get(number), name[4:]) for number in known.tolist())
    holds = np.fromiter((condition.holds([each]) for each in value), np.bool_, len(known))
    found: Array = holds[np.searchsorted(known, ids)]
    return found


def label(text: str | None, key: str) -> str | None:
    """The free tag of that key in the tags of a call."""
    value = None if text is None else json.loads(text).get(key)
    return None if value is None else str(value)


def texts(store: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, str]:
    """Texts by their number."""
    if len(numbers) > 2_000:
        return dict(store.execute("SELECT id, text FROM texts"))
    found = store.execute(f"SELECT id, text FROM texts WHERE id IN ({','.join(map(str, numbers))})")
    return dict(found)


def matching_dimensions(store: sqlite3.Connection, chosen: Selection) -> dict[int, dict[str, Any]]:
    """The facts, by their number, for which all conditions on facts hold."""
    conditions = [each for each in chosen.where if each.dimension not in ROWS and not each.dimension.startswith("tag.")]
    found = {}
    for number, *values in store.execute(f"SELECT id, {', '.join(DIMENSION_COLUMNS)} FROM facts"):
        fact = dict(zip(DIMENSION_COLUMNS, values, strict=True))
        fact["tag"] = json.loads(fact["tags"]) if fact["tags"] else []
        if all(condition.holds(values_of(fact, condition.dimension)) for condition in conditions):
            found[number] = fact
    return found


def values_of(fact: Dimensions, dimension: str) -> list[str | None]:
    """What a call of these facts has for a dimension; several for tags."""
    if dimension == "tag":
        return list(fact["tag"]) or [None]
    for column in columns(dimension):
        value = fact[column]
        if value is not None:
            return ["true" if value else "false"] if column in _FLAGS else [value]
    return [None]


def where(chosen: Selection, facts: Mapping[int, Any] | None) -> tuple[str, list[Any]]:
    """The SQL condition on ``calls`` of a window and of facts; ``None`` for all of them."""
    parts: list[str] = []
    values: list[Any] = []
    if facts is not None:
        # Numbers of our own, and too many of them for parameters.
        parts.append(f"facts IN ({','.join(map(str, facts))})")
    elif chosen.since is not None or chosen.until is not None:
        # Spelt out, so that the window is sought in the index for each of them.
        parts.append("facts IN (SELECT id FROM facts)")
    for sign, bound in ((">=", chosen.since), ("<", chosen.until)):
        if bound is not None:
            parts.append(f"started {sign} ?")
            values.append(bound)
    return (f"WHERE {' AND '.join(parts)}" if parts else ""), values


def exact_sum(values: Array, groups: Array | None = None, count: int = 1) -> list[int]:
    """The exact sums of what was told, by group: a sum of 64 bits could overflow, and one of floats be rounded."""
    told = np.maximum(values, 0)
    sums = [0] * count
    for shift in _shifts(told):
        piece = (told >> shift) & ((1 << _PIECE) - 1)
        if groups is None:
            parts = [int(piece.sum())]
        else:
            parts = np.bincount(groups, weights=piece, minlength=count).astype(np.int64).tolist()
        sums = [known + (part << shift) for known, part in zip(sums, parts, strict=True)]
    return sums


def _shifts(values: Array) -> Iterator[int]:
    bits = int(values.max()).bit_length() if len(values) else 0
    yield from range(0, bits, _PIECE)
