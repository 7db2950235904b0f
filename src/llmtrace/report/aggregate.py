"""Sums and distributions of calls, by whatever they have in common."""

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

__all__ = ["Aggregate", "Key", "Report", "aggregate", "costs", "overall", "report"]

_SUMS = ("input", "output", "cache_read", "cache_write", "reasoning", "cost", "estimated_cost")
_LISTS = ("duration", "first_token", "speed")


@dataclass(slots=True)
class Aggregate:
    """What a group of calls adds up to. Money is in trillionths of a dollar, times are in microseconds."""

    calls: int = 0
    """Those that were carried out; what a budget has blocked is in ``blocked`` alone."""
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
    """Why calls are unpriced; of the sum of everything only."""
    ends: dict[str, int] = field(default_factory=dict)
    """How the streams ended; of the sum of everything only."""
    duration: Distribution = field(default_factory=Distribution)
    first_token: Distribution = field(default_factory=Distribution)
    speed: Distribution = field(default_factory=Distribution)
    """Thousandths of a token per second."""

    @property
    def dollars(self) -> Decimal:
        return from_pico(self.cost)

    @property
    def dollars_per_call(self) -> Decimal | None:
        """The mean over the calls that have a price."""
        return divide(self.cost, PICO * self.priced) if self.priced else None

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
            "cost_per_call_usd": None if self.dollars_per_call is None else float(self.dollars_per_call),
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


@dataclass(frozen=True, slots=True)
class Report:
    """Groups in the order in which they are shown, and the sum of everything."""

    rows: list[tuple[Key, Aggregate]]
    total: Aggregate
    hidden: int = 0
    """How many groups there are besides."""


def report(store: sqlite3.Connection, chosen: Selection, by: Sequence[str], *, top: int = 0) -> Report:
    """The calls of a selection, grouped. A call with several tags counts under each of them, and once in the sum.

    Args:
        store: A connection to the store.
        chosen: Which calls.
        by: The dimensions to group by; none for one group of everything.
        top: So many groups only; 0 for all.
    """
    calls = read(store, chosen)
    rows, hidden = aggregate(calls, by, top=top)
    return Report(rows, overall(calls), hidden)


def aggregate(calls: CallTable, by: Sequence[str], *, top: int = 0) -> tuple[list[tuple[Key, Aggregate]], int]:
    """The groups, times in their order and all else by cost, then by calls; and how many there are beyond ``top``."""
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
    """The groups to be shown, in their order: numbers and names."""
    if by and by[0] in TIMES:
        named = list(enumerate(groups.keys(range(groups.count))))
        named.sort(key=lambda each: tuple(part or "" for part in each[1]))
        return named[: top or None]
    known = np.where(groups.calls.each_dimension(blocked), -1, groups.calls["cost"]) if len(groups.calls) else ()
    costs = exact_sum(np.asarray(known, np.int64), groups.number, groups.count)
    calls = np.bincount(groups.number, minlength=groups.count).tolist()
    ranks = [(-cost, -count) for cost, count in zip(costs, calls, strict=True)]
    numbers = list(range(groups.count))
    if 0 < top < groups.count:
        last = sorted(ranks)[top - 1]
        numbers = [number for number in numbers if ranks[number] <= last]  # those that tie are told apart by name
    named = list(zip(numbers, groups.keys(numbers), strict=True))
    named.sort(key=lambda each: (ranks[each[0]], str(each[1])))
    return named[: top or None]


def overall(calls: CallTable) -> Aggregate:
    """The sum of everything."""
    if not len(calls):
        return Aggregate()
    (made,) = _aggregates(calls, np.zeros(len(calls), np.int64), 1)
    for fact, count in zip(
        calls.dimensions, np.bincount(calls.dimension_ids, minlength=len(calls.dimensions)).tolist(), strict=True
    ):
        if blocked(fact):
            continue
        for into, value in ((made.reasons, fact["unpriced"]), (made.ends, fact["stream_end"])):
            if value is not None and count:
                into[value] = into.get(value, 0) + count
    return made


def costs(calls: CallTable, by: Sequence[str]) -> dict[Key, int]:
    """The known cost of each group, in trillionths of a dollar."""
    groups = grouped(carried_out(calls), by)
    sums = exact_sum(groups.calls["cost"], groups.number, groups.count)
    return dict(zip(groups.keys(range(groups.count)), sums, strict=True))


def _aggregates(calls: CallTable, number: Array, count: int) -> list[Aggregate]:
    refused = [0] * count
    if any(map(blocked, calls.dimensions)):
        # Nothing was sent: such calls are counted apart, and are in no other figure.
        those = calls.each_dimension(blocked)
        refused = np.bincount(number[those], minlength=count).tolist()
        calls, number = calls.only(~those), number[~those]

    def counted(which: Array | None = None) -> list[int]:
        found: list[int] = np.bincount(number if which is None else number[which], minlength=count).tolist()
        return found

    figures = {name: exact_sum(calls[name], number, count) for name in _SUMS}
    figures |= {name: counted(calls.each_dimension(test)) for name, test in _TESTS.items()}
    figures |= {"blocked": refused, "calls": counted()}
    figures |= {"priced": counted(calls["cost"] >= 0), "estimated": counted(calls["estimated"] > 0)}
    lists = {name: _ordered(calls, name, number, count) for name in _LISTS}
    names = (*figures, *lists)
    return [
        Aggregate(**dict(zip(names, row, strict=True))) for row in zip(*figures.values(), *lists.values(), strict=True)
    ]


_TESTS: dict[str, Callable[[Dimensions], bool]] = {
    "errors": lambda fact: fact["outcome"] == "error",
    "cancelled": lambda fact: fact["outcome"] == "cancelled",
    "refusals": lambda fact: "content_filter" in (fact["finish"] or "").split(","),
    "streamed": lambda fact: fact["stream_end"] is not None,  # a request for a stream that was refused has none
    "cut": lambda fact: fact["stream_end"] not in (None, "exhausted"),
    "unpriced": lambda fact: fact["unpriced"] is not None,
}


def _ordered(calls: CallTable, name: str, number: Array, count: int) -> list[Distribution]:
    """What was told, by group, each in its order."""
    order = calls.order(name)
    values = calls[name][order]
    if count == 1:
        return [Distribution(values)]
    number = number[order]
    # The values are in their order: put by group they stay so, and small numbers are put so in two passes.
    small = number.astype(np.uint16) if count <= 1 << 16 else number
    values = values[np.argsort(small, kind="stable")]
    ends = np.cumsum(np.bincount(number, minlength=count)).tolist()
    return [Distribution(values[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
