"""Calls put into groups by dimensions: every call gets the number of its group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from .calls import Array, CallTable, label, texts, values_of
from .select import ROWS, TIMES

__all__ = ["Groups", "Key", "grouped"]

Key = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups are numbered from 0."""

    calls: CallTable
    """A call with several tags occurs as often as it has tags."""
    number: Array
    """For each call the number of its group."""
    count: int
    keys: Callable[[Sequence[int]], list[Key]]
    """What the groups of these numbers are called."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """One dimension: a number for each call, and what the numbers are called."""

    codes: Array
    count: int
    names: Callable[[Sequence[int]], Sequence[str | None]]


def grouped(calls: CallTable, by: Sequence[str]) -> Groups:
    """The calls by some dimensions; by none they are one group."""
    tag = None
    if "tag" in by:
        calls, tag = _by_tag(calls)
    axes = [tag if name == "tag" and tag is not None else _axis(calls, name) for name in by]
    number, count = np.zeros(len(calls), np.int64), min(1, len(calls))
    members: list[Array] = []
    """For each dimension so far, its code in each of the groups."""
    for axis in axes:
        # Neither factor is larger than the number of calls, or of texts: there is room for their product.
        present, number = _numbered(number * axis.count + axis.codes, count * axis.count)
        before, own = np.divmod(present, max(1, axis.count))
        members = [*(member[before] for member in members), own]
        count = len(present)

    def keys(numbers: Sequence[int]) -> list[Key]:
        told = [axis.names(member[list(numbers)].tolist()) for axis, member in zip(axes, members, strict=True)]
        return list(zip(*told, strict=True)) if told else [() for _ in numbers]

    return Groups(calls, number, count, keys)


def _numbered(codes: Array, limit: int) -> tuple[Array, Array]:
    """The codes that occur, in their order, and for each code its place among them."""
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
        ids = calls[name if name in ROWS else "labels"].astype(np.int64) + 1  # 0 for none
        known, codes = _numbered(ids, int(ids.max()) + 1 if len(ids) else 0)
        if name in ROWS:
            return _Axis(codes, len(known), _Texts(calls, known - 1))
        told = texts(calls.store, (known - 1).tolist())
        return _named([label(told.get(number), name[4:]) for number in (known - 1).tolist()], codes)
    return _named([values_of(fact, name)[0] for fact in calls.dimensions], calls.dimension_ids)


def _named(values: Sequence[str | None], codes: Array) -> _Axis:
    """An axis of equal values, given the value of each code."""
    distinct = list(dict.fromkeys(values))
    place = {value: at for at, value in enumerate(distinct)}
    lookup = np.array([place[value] for value in values], np.int64)
    return _Axis(lookup[codes], len(distinct), lambda numbers: [distinct[number] for number in numbers])


def _by_tag(calls: CallTable) -> tuple[CallTable, _Axis]:
    """Each call as often as it has tags, and which tag it is there for."""
    tags = [values_of(fact, "tag") for fact in calls.dimensions]
    sizes = np.array([len(each) for each in tags], np.int64)
    firsts = np.cumsum(sizes) - sizes
    times = sizes[calls.dimension_ids] if len(calls) else calls.dimension_ids
    several = calls.only(np.repeat(np.arange(len(calls)), times))
    within = np.arange(len(several)) - np.repeat(np.cumsum(times) - times, times)
    return several, _named(
        [tag for each in tags for tag in each], (firsts[several.dimension_ids] if tags else 0) + within
    )


def _time_axis(calls: CallTable, name: str) -> _Axis:
    seconds = TIMES["day"] if name == "month" else TIMES[name]
    # Weeks begin on Monday; the epoch was a Thursday.
    numbers = (calls["started"] - (4 * 86400 * 10**6 if name == "week" else 0)) // (seconds * 10**6)
    first = int(numbers.min()) if len(numbers) else 0
    known, codes = _numbered(numbers - first, int(numbers.max()) - first + 1 if len(numbers) else 0)
    return _named([_time(name, first + number) for number in known.tolist()], codes)


def _time(name: str, number: int) -> str:
    seconds = number * (TIMES[name] or 86400) + (4 * 86400 if name == "week" else 0)
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return when.strftime({"hour": "%Y-%m-%d %H:00", "month": "%Y-%m"}.get(name, "%Y-%m-%d"))


class _Texts:
    """Names of users or sessions, of which there may be as many as calls: looked up when they are shown."""

    def __init__(self, calls: CallTable, ids: Array) -> None:
        self._store = calls.store
        self._ids = ids

    def __call__(self, numbers: Sequence[int]) -> list[str | None]:
        wanted = self._ids[list(numbers)].tolist()
        told = texts(self._store, wanted)
        return [told.get(number) for number in wanted]
