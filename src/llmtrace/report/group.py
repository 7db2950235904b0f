"""Grouping of calls by dimensions: every call gets the number of its group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from .calls import Array, CallTable, label, texts, values_of
from .select import ROWS, TIMES

Key = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Groups:
    """Calls with the numbers of their groups, counted from 0."""

    calls: CallTable
    """The grouped calls. When grouping by tag, a call occurs once for each of its tags."""
    number: Array
    """Group number of each call."""
    count: int
    keys: Callable[[Sequence[int]], list[Key]]
    """Function that returns the keys of groups by their numbers."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """One dimension: a code for each call, and the names of the codes."""

    codes: Array
    count: int
    names: Callable[[Sequence[int]], Sequence[str | None]]


def grouped(calls: CallTable, by: Sequence[str]) -> Groups:
    """Group calls by dimensions; without any, all calls form one group."""
    tag = None
    if "tag" in by:
        calls, tag = _by_tag(calls)
    axes = [tag if name == "tag" and tag is not None else _axis(calls, name) for name in by]
    number, count = np.zeros(len(calls), np.int64), min(1, len(calls))
    members: list[Array] = []
    """Codes of each group, for each dimension so far."""
    for axis in axes:
        # The product cannot overflow: both factors are at most the number of calls or texts.
        present, number = _numbered(number * axis.count + axis.codes, count * axis.count)
        before, own = np.divmod(present, max(1, axis.count))
        members = [*(member[before] for member in members), own]
        count = len(present)

    def keys(numbers: Sequence[int]) -> list[Key]:
        columns = [axis.names(member[list(numbers)].tolist()) for axis, member in zip(axes, members, strict=True)]
        return list(zip(*columns, strict=True)) if columns else [() for _ in numbers]

    return Groups(calls, number, count, keys)


def _numbered(codes: Array, limit: int) -> tuple[Array, Array]:
    """Return the sorted codes that occur, and for each input code its index among them."""
    if limit > 4 * len(codes) + 65536:
        present, place = np.unique(codes, return_inverse=True)
        return present, place.reshape(-1)
    present = np.flatnonzero(np.bincount(codes, minlength=limit))
    places = np.zeros(limit, np.int64)
    places[present] = np.arange(len(present))
    return present, places[codes]


def _axis(calls: CallTable, name: str) -> _Axis:
    if name in TIMES:
        return _time_axis(calls, name)
    if name in ROWS or name.startswith("tag."):
        ids = calls[name if name in ROWS else "labels"].astype(np.int64) + 1  # 0 means "none"
        present, codes = _numbered(ids, int(ids.max()) + 1 if len(ids) else 0)
        if name in ROWS:
            return _Axis(codes, len(present), lambda numbers: _names(calls, (present - 1)[list(numbers)].tolist()))
        return _named([label(text, name[4:]) for text in _names(calls, (present - 1).tolist())], codes)
    return _named([values_of(row, name)[0] for row in calls.dimensions], calls.dimension_ids)


def _names(calls: CallTable, ids: Sequence[int]) -> list[str | None]:
    names = texts(calls.store, ids)
    return [names.get(number) for number in ids]


def _named(values: Sequence[str | None], codes: Array) -> _Axis:
    """Build an axis from the value of each code; equal values share a code."""
    distinct = list(dict.fromkeys(values))
    place = {value: at for at, value in enumerate(distinct)}
    lookup = np.array([place[value] for value in values], np.int64)
    return _Axis(lookup[codes], len(distinct), lambda numbers: [distinct[number] for number in numbers])


def _by_tag(calls: CallTable) -> tuple[CallTable, _Axis]:
    """Repeat each call once for each of its tags, and return the axis of those tags."""
    tags = [values_of(row, "tag") for row in calls.dimensions]
    sizes = np.array([len(row_tags) for row_tags in tags], np.int64)
    firsts = np.cumsum(sizes) - sizes
    times = sizes[calls.dimension_ids] if len(calls) else calls.dimension_ids
    repeated = calls.only(np.repeat(np.arange(len(calls)), times))
    within = np.arange(len(repeated)) - np.repeat(np.cumsum(times) - times, times)
    return repeated, _named(
        [tag for row_tags in tags for tag in row_tags], (firsts[repeated.dimension_ids] if tags else 0) + within
    )


def _time_axis(calls: CallTable, name: str) -> _Axis:
    numbers = unit_number(name, calls["started"])
    first = int(numbers.min()) if len(numbers) else 0
    present, codes = _numbered(numbers - first, int(numbers.max()) - first + 1 if len(numbers) else 0)
    return _named([unit_label(name, first + number) for number in present.tolist()], codes)


def unit_number(name: str, started: Any) -> Any:
    """Return the number of the hour, day or week since the epoch that contains a time, or each of an array.

    Times are in microseconds. Months, which differ in length, are numbered by day.
    """
    return (started - _offset(name) * 10**6) // ((TIMES[name] or 86400) * 10**6)


def unit_label(name: str, number: int) -> str:
    """Return the label of the unit with a number of ``unit_number``."""
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=number * (TIMES[name] or 86400) + _offset(name))
    return when.strftime({"hour": "%Y-%m-%d %H:00", "month": "%Y-%m"}.get(name, "%Y-%m-%d"))


def _offset(name: str) -> int:
    # Shift weeks by four days: they begin on Monday, and the epoch was a Thursday.
    return 4 * 86400 if name == "week" else 0
