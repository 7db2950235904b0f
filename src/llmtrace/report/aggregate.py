"""Sums and distributions of calls, grouped by dimensions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from .._decimal import PICO, divide, from_pico
from .calls import Array, CallTable, Dimensions, blocked, carried_out, exact_sum, read
from .distribution import Distribution
from .group import Groups, Key, grouped
from .select import TIMES, Selection

_TOKENS = ("input", "output", "cache_read", "cache_write", "reasoning")
_SUMS = (*_TOKENS, "cost", "estimated_cost")
_LISTS = ("duration", "first_token", "speed")


@dataclass(slots=True)
class Aggregate:
    """Totals of a group of calls. Money is in trillionths of a dollar, times are in microseconds."""

    calls: int = 0
    """Number of calls that were sent; calls that a budget blocked count in ``blocked`` only."""
    errors: int = 0
    refusals: int = 0
    blocked: int = 0
    cancelled: int = 0
    streamed: int = 0
    cut: int = 0
    """Streams that did not run to their end, for any reason."""
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost: int = 0
    priced: int = 0
    unpriced: int = 0
    """Billed calls that could not be priced."""
    estimated: int = 0
    """Calls with estimated usage; its cost counts in ``estimated_cost``, never in ``cost``."""
    estimated_cost: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Number of unpriced calls by reason; in the overall total only."""
    ends: dict[str, int] = field(default_factory=dict)
    """Number of streams by outcome; in the overall total only."""
    duration: Distribution = field(default_factory=Distribution)
    first_token: Distribution = field(default_factory=Distribution)
    speed: Distribution = field(default_factory=Distribution)
    """Thousandths of a token per second."""

    @property
    def dollars(self) -> Decimal:
        """Cost in dollars."""
        return from_pico(self.cost)

    @property
    def dollars_per_call(self) -> Decimal | None:
        """Mean cost in dollars of the priced calls."""
        return divide(self.cost, PICO * self.priced) if self.priced else None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures with their units in the names, in dollars and seconds, for JSON and CSV."""
        figures: dict[str, Any] = {
            **{name: getattr(self, name) for name in ("calls", "errors", "refusals", "blocked", "cancelled")},
            **{f"{name}_tokens": getattr(self, name) for name in _TOKENS},
            "cost_usd": float(self.dollars) if self.priced else None,
            "cost_per_call_usd": None if self.dollars_per_call is None else float(self.dollars_per_call),
            "estimated_cost_usd": self.estimated_cost / PICO if self.estimated_cost else None,
            "cache_hit_share": self.cache_read / self.input if self.input else None,
        }
        for name, values in (("latency", self.duration), ("first_token", self.first_token)):
            for percent in (50, 95, 99):
                figures[f"{name}_p{percent}_seconds"] = values.seconds(percent)
        speed = self.speed.quantile(50)
        figures["tokens_per_second_p50"] = None if speed is None else speed / 1e3
        figures |= {
            "streams": self.streamed,
            "streams_cut": self.cut,
            "estimated_share": self.estimated / self.calls if self.calls else None,
            "unpriced_share": self.unpriced / self.calls if self.calls else None,
        }
        return figures


@dataclass(frozen=True, slots=True)
class Report:
    """Groups in display order, and the overall total."""

    rows: list[tuple[Key, Aggregate]]
    total: Aggregate
    hidden: int = 0
    """Number of groups that are not shown."""


def report(store: sqlite3.Connection, chosen: Selection, by: Sequence[str], *, top: int = 0) -> Report:
    """Group the calls of a selection. A call with several tags counts under each of them, and once in the total.

    At most ``top`` groups are returned; 0 for all.
    """
    calls = read(store, chosen)
    rows, hidden = aggregate(calls, by, top=top)
    return Report(rows, overall(calls), hidden)


def aggregate(calls: CallTable, by: Sequence[str], *, top: int = 0) -> tuple[list[tuple[Key, Aggregate]], int]:
    """Return the groups and the number of groups beyond ``top``.

    Groups by time are in order of time, others in descending order of cost, then of calls.
    """
    groups = grouped(calls, by)
    shown = _first(groups, by, top)
    hidden = groups.count - len(shown)
    numbers = [number for number, _ in shown]
    members, number = groups.calls, groups.number
    place = np.full(groups.count, -1, np.int64)
    place[numbers] = np.arange(len(numbers))
    number = place[number]
    if hidden:
        kept = number >= 0
        members, number = members.only(kept), number[kept]
    return list(zip((key for _, key in shown), _aggregates(members, number, len(shown)), strict=True)), hidden


def _first(groups: Groups, by: Sequence[str], top: int) -> list[tuple[int, Key]]:
    """Return the numbers and keys of the groups to show, in display order."""
    if by and by[0] in TIMES:
        named = list(enumerate(groups.keys(range(groups.count))))
        named.sort(key=lambda group: tuple(part or "" for part in group[1]))
        return named[: top or None]
    costs_per_call = (
        np.where(groups.calls.each_dimension(blocked), -1, groups.calls["cost"]) if len(groups.calls) else ()
    )
    costs = exact_sum(np.asarray(costs_per_call, np.int64), groups.number, groups.count)
    calls = np.bincount(groups.number, minlength=groups.count).tolist()
    ranks = [(-cost, -count) for cost, count in zip(costs, calls, strict=True)]
    numbers = list(range(groups.count))
    if 0 < top < groups.count:
        limit = sorted(ranks)[top - 1]
        numbers = [number for number in numbers if ranks[number] <= limit]  # groups that tie are sorted by name
    named = list(zip(numbers, groups.keys(numbers), strict=True))
    named.sort(key=lambda group: (ranks[group[0]], str(group[1])))
    return named[: top or None]


def overall(calls: CallTable) -> Aggregate:
    """Return the totals of all calls."""
    if not len(calls):
        return Aggregate()
    (total,) = _aggregates(calls, np.zeros(len(calls), np.int64), 1)
    for row, count in zip(
        calls.dimensions, np.bincount(calls.dimension_ids, minlength=len(calls.dimensions)).tolist(), strict=True
    ):
        if blocked(row):
            continue
        for counts, value in ((total.reasons, row["unpriced"]), (total.ends, row["stream_end"])):
            if value is not None and count:
                counts[value] = counts.get(value, 0) + count
    return total


def costs(calls: CallTable, by: Sequence[str]) -> dict[Key, int]:
    """Return the priced cost of each group, in trillionths of a dollar."""
    groups = grouped(carried_out(calls), by)
    sums = exact_sum(groups.calls["cost"], groups.number, groups.count)
    return dict(zip(groups.keys(range(groups.count)), sums, strict=True))


def _aggregates(calls: CallTable, number: Array, count: int) -> list[Aggregate]:
    blocked_calls = [0] * count
    if any(map(blocked, calls.dimensions)):
        # Count blocked calls separately: they were not sent and belong to no other figure.
        is_blocked = calls.each_dimension(blocked)
        blocked_calls = np.bincount(number[is_blocked], minlength=count).tolist()
        calls, number = calls.only(~is_blocked), number[~is_blocked]

    def count_calls(which: Array | None = None) -> list[int]:
        counts: list[int] = np.bincount(number if which is None else number[which], minlength=count).tolist()
        return counts

    figures = {name: exact_sum(calls[name], number, count) for name in _SUMS}
    figures |= {name: count_calls(calls.each_dimension(test)) for name, test in _TESTS.items()}
    figures |= {"blocked": blocked_calls, "calls": count_calls()}
    figures |= {"priced": count_calls(calls["cost"] >= 0), "estimated": count_calls(calls["estimated"] > 0)}
    lists = {name: _ordered(calls, name, number, count) for name in _LISTS}
    names = (*figures, *lists)
    return [
        Aggregate(**dict(zip(names, row, strict=True))) for row in zip(*figures.values(), *lists.values(), strict=True)
    ]


_TESTS: dict[str, Callable[[Dimensions], bool]] = {
    "errors": lambda row: row["outcome"] == "error",
    "cancelled": lambda row: row["outcome"] == "cancelled",
    "refusals": lambda row: "content_filter" in (row["finish"] or "").split(","),
    "streamed": lambda row: row["stream_end"] is not None,  # a failed request for a stream has no end
    "cut": lambda row: row["stream_end"] not in (None, "exhausted"),
    "unpriced": lambda row: row["unpriced"] is not None,
}


def _ordered(calls: CallTable, name: str, number: Array, count: int) -> list[Distribution]:
    """Return the sorted values of a column, without missing ones, as one distribution per group."""
    order = calls.order(name)
    values = calls[name][order]
    if count == 1:
        return [Distribution(values)]
    number = number[order]
    # A stable sort by group keeps the values sorted. For 16-bit integers it is a radix sort, in two passes.
    small = number.astype(np.uint16) if count <= 1 << 16 else number
    values = values[np.argsort(small, kind="stable")]
    ends = np.cumsum(np.bincount(number, minlength=count)).tolist()
    return [Distribution(values[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
