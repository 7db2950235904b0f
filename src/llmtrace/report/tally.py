"""Sums and distributions of calls, by whatever they have in common."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from ..store.columns import PICO
from ..store.schema import FACTS
from .distribution import Distribution
from .select import ROWS, TIMES, Selection, columns

__all__ = [
    "Key",
    "Tally",
    "costs",
    "dearest",
    "facts_chosen",
    "regroup",
    "summed",
    "tally",
    "total",
    "values_of",
    "where",
]

_SUMS = ("input", "output", "cache_read", "cache_write", "reasoning", "cost", "estimated_cost")
_LISTS = ("duration", "first_token", "speed")
_COUNTED = len(_SUMS) + 3
"""Numbers of a row: calls, sums, priced, estimated. Lists come after them."""
Key = tuple[str | None, ...]


@dataclass(slots=True)
class Tally:
    """What a group of calls adds up to. Money is in trillionths of a dollar, times are in microseconds."""

    calls: int = 0
    errors: int = 0
    refusals: int = 0
    blocked: int = 0
    cancelled: int = 0
    streamed: int = 0
    cut: int = 0
    """Streams that did not run to their end, whoever ended them."""
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost: int = 0
    priced: int = 0
    unpriced: int = 0
    """Calls that cost something nobody knows."""
    estimated: int = 0
    """Calls whose usage was not told and is estimated; the estimate is in ``estimated_cost``, never in ``cost``."""
    estimated_cost: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Why calls are unpriced."""
    finishes: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    """How the streams ended."""
    duration: Distribution = field(default_factory=Distribution)
    first_token: Distribution = field(default_factory=Distribution)
    speed: Distribution = field(default_factory=Distribution)
    """Thousandths of a token per second."""

    @property
    def dollars(self) -> Decimal:
        return Decimal(self.cost) / PICO

    def as_dict(self) -> dict[str, Any]:
        """The figures under plain names, in dollars and seconds, for JSON and CSV."""
        found: dict[str, Any] = {
            "calls": self.calls,
            "errors": self.errors,
            "refusals": self.refusals,
            "blocked": self.blocked,
            "cancelled": self.cancelled,
            "input_tokens": self.input,
            "output_tokens": self.output,
            "cache_read_tokens": self.cache_read,
            "cache_write_tokens": self.cache_write,
            "reasoning_tokens": self.reasoning,
            "cost_usd": float(self.dollars) if self.priced else None,
            "cost_per_call_usd": float(self.dollars / self.priced) if self.priced else None,
            "estimated_cost_usd": self.estimated_cost / PICO if self.estimated_cost else None,
            "cache_hit_share": self.cache_read / self.input if self.input else None,
        }
        for name, values in (("latency", self.duration), ("first_token", self.first_token)):
            for percent in (50, 95, 99):
                found[f"{name}_p{percent}_seconds"] = _scaled(values.quantile(percent), 1e6)
        found["tokens_per_second_p50"] = _scaled(self.speed.quantile(50), 1e3)
        found |= {
            "streams": self.streamed,
            "streams_cut": self.cut,
            "estimated_share": self.estimated / self.calls if self.calls else None,
            "unpriced_share": self.unpriced / self.calls if self.calls else None,
        }
        return found


def _scaled(value: int | None, unit: float) -> float | None:
    return None if value is None else value / unit


def tally(
    store: sqlite3.Connection, chosen: Selection, by: Sequence[str] = (), *, lists: Sequence[str] = _LISTS
) -> dict[Key, Tally]:
    """The calls of a selection, grouped. A call with several tags counts under each of them.

    Args:
        store: A connection to the store.
        chosen: Which calls.
        by: The dimensions to group by; none for one group of everything.
        lists: Which distributions are wanted; they cost most of the time.
    """
    facts = facts_chosen(store, chosen)
    extra = _extra(by, [condition.dimension for condition in chosen.where])
    keys = _Keys(store, chosen, by, facts, list(extra))
    gathered: dict[Key, _Gathered] = {}
    width = 1 + len(extra)
    for row in _scan(store, chosen, facts, extra, lists):
        for key in keys.of(row[:width]):
            group = gathered.get(key)
            if group is None:
                group = gathered[key] = _Gathered(len(lists))
            group.add(row[0], row[width:])
    return {key: group.tally(facts, lists) for key, group in gathered.items()}


def summed(store: sqlite3.Connection, chosen: Selection, by: Sequence[str]) -> tuple[dict[Key, Tally], Tally]:
    """The groups, and the sum of all: a call with two tags is in two groups, and once in the sum."""
    # By the whole set of tags first, so that one pass over the calls does for both.
    sets = tally(store, chosen, ["tags" if name == "tag" else name for name in by])
    whole = total(sets)
    if "tag" not in by:
        return sets, whole
    at = list(by).index("tag")
    parts: dict[Key, dict[Key, Tally]] = {}
    for key, group in sets.items():
        tags = key[at]
        for tag in json.loads(tags) if tags is not None else [None]:
            parts.setdefault((*key[:at], tag, *key[at + 1 :]), {})[key] = group
    return {key: total(part) for key, part in parts.items()}, whole


def costs(store: sqlite3.Connection, chosen: Selection, unit: str, dimension: str) -> dict[Key, int]:
    """The known cost by time and one dimension, in trillionths of a dollar."""
    facts = facts_chosen(store, chosen)
    clause, values = where(chosen, facts)
    keys = _Keys(store, chosen, (unit, dimension), facts, [unit, "labels"] if _labelled(chosen) else [unit])
    extra = _extra((unit,), [condition.dimension for condition in chosen.where])
    names = ", ".join(["facts", *extra.values()])
    found: dict[Key, int] = {}
    for *row, cost in store.execute(f"SELECT {names}, sum(cost) FROM calls {clause} GROUP BY {names}", values):
        for key in keys.of(tuple(row)):
            found[key] = found.get(key, 0) + (cost or 0)
    return found


def _labelled(chosen: Selection) -> bool:
    return any(condition.dimension.startswith("tag.") for condition in chosen.where)


def regroup(groups: Mapping[Key, Tally], positions: Sequence[int]) -> dict[Key, Tally]:
    """The same by fewer dimensions: those at these positions of the keys."""
    parts: dict[Key, dict[Key, Tally]] = {}
    for key, group in groups.items():
        parts.setdefault(tuple(key[at] for at in positions), {})[key] = group
    return {key: total(part) for key, part in parts.items()}


class _Gathered:
    """A group while its rows come in: sums, calls by facts, and numbers as text."""

    __slots__ = ("calls", "sums", "texts")

    def __init__(self, lists: int) -> None:
        self.calls: dict[int, int] = {}
        self.sums = [0] * _COUNTED
        self.texts: list[list[str]] = [[] for _ in range(lists)]

    def add(self, facts: int, row: Sequence[Any]) -> None:
        self.calls[facts] = self.calls.get(facts, 0) + row[0]
        self.sums = [known + (more or 0) for known, more in zip(self.sums, row, strict=False)]
        for texts, text in zip(self.texts, row[_COUNTED:], strict=True):
            if text:
                texts.append(text)

    def tally(self, facts: Mapping[int, Mapping[str, Any]], lists: Sequence[str]) -> Tally:
        made = Tally()
        for name, value in zip(("calls", *_SUMS, "priced", "estimated"), self.sums, strict=True):
            setattr(made, name, value)
        for number, calls in self.calls.items():
            _add(made, facts[number], calls)
        for name, texts in zip(lists, self.texts, strict=True):
            setattr(made, name, Distribution.read(texts))
        return made


def _add(group: Tally, fact: Mapping[str, Any], calls: int) -> None:
    """What the facts of so many calls say."""
    outcome, finish, end = fact["outcome"], fact["finish"], fact["stream_end"]
    group.errors += calls if outcome == "error" else 0
    group.blocked += calls if outcome == "blocked" else 0
    group.cancelled += calls if outcome == "cancelled" else 0
    if finish is not None:
        group.refusals += calls if "content_filter" in finish.split(",") else 0
        group.finishes[finish] = group.finishes.get(finish, 0) + calls
    if end is not None:  # a request for a stream that was refused has none
        group.streamed += calls
        group.ends[end] = group.ends.get(end, 0) + calls
        group.cut += calls if end != "exhausted" else 0
    if fact["unpriced"] is not None:
        group.unpriced += calls
        group.reasons[fact["unpriced"]] = group.reasons.get(fact["unpriced"], 0) + calls


def total(groups: Mapping[Key, Tally]) -> Tally:
    """The sum of groups in which no call occurs twice."""
    whole = Tally()
    parts = list(groups.values())
    for name in Tally.__slots__:
        values = [getattr(part, name) for part in parts]
        if isinstance(getattr(whole, name), Distribution):
            setattr(whole, name, Distribution.union(values))
        elif isinstance(getattr(whole, name), int):
            setattr(whole, name, sum(values))
        else:
            into = getattr(whole, name)
            for value in values:
                for reason, count in value.items():
                    into[reason] = into.get(reason, 0) + count
    return whole


def dearest(store: sqlite3.Connection, chosen: Selection, dimension: str, limit: int) -> list[str]:
    """The users or sessions that cost most: there may be as many as there are calls."""
    clause, values = where(chosen, facts_chosen(store, chosen))
    found = store.execute(
        f"SELECT text FROM (SELECT {dimension} AS id, sum(cost) AS cost, count(*) AS calls FROM calls {clause}"
        f" GROUP BY {dimension} ORDER BY cost DESC, calls DESC LIMIT ?) JOIN texts USING (id)",
        [*values, limit],
    )
    return [text for (text,) in found]


def _extra(by: Sequence[str], conditions: Sequence[str]) -> dict[str, str]:
    """What must be told apart beyond the facts: name -> SQL."""
    found: dict[str, str] = {}
    for name in (*by, *conditions):
        if name in TIMES and name in by:
            seconds = TIMES["day"] if name == "month" else TIMES[name]
            # Weeks begin on Monday; the epoch was a Thursday.
            found[name] = f"(started - {4 * 86400 * 10**6 if name == 'week' else 0}) / {seconds * 10**6}"
        elif name in ROWS and name in by:
            found[name] = name
        elif name.startswith("tag."):
            found["labels"] = "labels"
    return found


def facts_chosen(store: sqlite3.Connection, chosen: Selection) -> dict[int, dict[str, Any]]:
    conditions = [each for each in chosen.where if each.dimension not in ROWS and not each.dimension.startswith("tag.")]
    found = {}
    for number, *values in store.execute(f"SELECT id, {', '.join(FACTS)} FROM facts"):
        fact = dict(zip(FACTS, values, strict=True))
        fact["tag"] = json.loads(fact["tags"]) if fact["tags"] else []
        if all(condition.holds(values_of(fact, condition.dimension)) for condition in conditions):
            found[number] = fact
    return found


def values_of(fact: Mapping[str, Any], dimension: str) -> list[str | None]:
    """What a call of these facts has for a dimension; several for tags."""
    if dimension == "tag":
        return list(fact["tag"]) or [None]
    for column in columns(dimension):
        value = fact[column]
        if value is not None:
            if column in ("streamed", "approximate", "pinned"):
                return ["true" if value else "false"]
            return [value]
    return [None]


def _scan(
    store: sqlite3.Connection,
    chosen: Selection,
    facts: Mapping[int, Any],
    extra: Mapping[str, str],
    lists: Sequence[str],
) -> Iterator[tuple[Any, ...]]:
    """Rows of facts, what is told apart beyond them, counts, sums and lists."""
    (known,) = store.execute("SELECT count(*) FROM facts").fetchone()
    clause, values = where(chosen, None if len(facts) == known else facts)
    keys = ["facts", *extra.values()]
    sums = ["count(*)", *(f"sum({name})" for name in _SUMS), "count(cost)"]
    sums += ["sum(estimated_input IS NOT NULL OR estimated_output IS NOT NULL OR estimated_cost IS NOT NULL)"]
    sums += [f"group_concat({name})" for name in lists]
    query = f"SELECT {', '.join([*keys, *sums])} FROM calls {clause} GROUP BY {', '.join(keys)}"
    # Facts may have come since they were counted.
    return (row for row in store.execute(query, values) if row[0] in facts)


def where(chosen: Selection, facts: Mapping[int, Any] | None) -> tuple[str, list[Any]]:
    """The SQL condition on ``calls`` of a selection whose facts are these; ``None`` for all of them."""
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
    for condition in chosen.where:
        if condition.dimension in ROWS:
            if condition.among is not None:
                marks = ", ".join("?" * len(condition.among))
                parts.append(f"{condition.dimension} IN (SELECT id FROM texts WHERE text IN ({marks}))")
                values += condition.among
                continue
            sign = "IS" if condition.wanted else "IS NOT"
            found = "NULL" if condition.value == "" else "coalesce((SELECT id FROM texts WHERE text = ?), -1)"
            parts.append(f"{condition.dimension} {sign} {found}")
            values += [condition.value] if condition.value else []
    return (f"WHERE {' AND '.join(parts)}" if parts else ""), values


class _Keys:
    """The groups that a row belongs to."""

    def __init__(
        self,
        store: sqlite3.Connection,
        chosen: Selection,
        by: Sequence[str],
        facts: Mapping[int, Mapping[str, Any]],
        extra: Sequence[str],
    ) -> None:
        self._by = by
        self._facts = facts
        self._extra = extra
        self._texts = _Texts(store)
        self._labels = [each for each in chosen.where if each.dimension.startswith("tag.")]
        self._known: dict[tuple[Any, ...], list[Key]] = {}

    def of(self, row: tuple[Any, ...]) -> list[Key]:
        found = self._known.get(row)
        if found is None:
            found = self._find(self._facts[row[0]], dict(zip(self._extra, row[1:], strict=True)))
            if len(row) == 1:  # beyond facts there may be as many as there are calls
                self._known[row] = found
        return found

    def _find(self, fact: Mapping[str, Any], told: Mapping[str, Any]) -> list[Key]:
        labels = self._texts.labels(told.get("labels"))
        if not all(each.holds([labels.get(each.dimension[4:])]) for each in self._labels):
            return []
        found: list[Key] = [()]
        for name in self._by:
            values: list[str | None]
            if name in TIMES:
                values = [_time(name, told[name])]
            elif name in ROWS:
                values = [self._texts.text(told[name])]
            elif name.startswith("tag."):
                value = labels.get(name[4:])
                values = [None if value is None else str(value)]
            else:
                values = values_of(fact, name)
            found = [(*key, value) for key in found for value in values]
        return found


@cache
def _time(name: str, number: int) -> str:
    seconds = number * (TIMES[name] or 86400) + (4 * 86400 if name == "week" else 0)
    when = datetime.fromtimestamp(seconds, UTC)
    return when.strftime({"hour": "%Y-%m-%d %H:00", "month": "%Y-%m"}.get(name, "%Y-%m-%d"))


class _Texts:
    """Texts by their id, read when first needed."""

    def __init__(self, store: sqlite3.Connection) -> None:
        self._store = store
        self._texts: dict[int, str] = {}
        self._labels: dict[int, dict[str, Any]] = {}

    def text(self, number: int | None) -> str | None:
        if number is None:
            return None
        if not self._texts:
            self._texts = dict(self._store.execute("SELECT id, text FROM texts"))
        return self._texts.get(number)

    def labels(self, number: int | None) -> dict[str, Any]:
        if number is None:
            return {}
        found = self._labels.get(number)
        if found is None:
            text = self.text(number)
            found = self._labels[number] = json.loads(text) if text else {}
        return found
