"""Advice on saving money, derived from recorded calls. Every figure comes with example traces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np

from .._decimal import PICO
from ..model import is_pinned
from ..store.read import traces_of
from . import formatting
from .calls import Array, CallTable, Dimensions, carried_out, exact_sum

_CACHE_LIFETIME_MICROSECONDS = 300 * 10**6
"""Time for which providers keep a prompt prefix after its last use."""
_SHORTEST_PREFIX = 1024
"""Minimum tokens of a prompt prefix that providers cache."""
_SHORT_INPUT, _SHORT_OUTPUT = 1000, 100
"""Maximum tokens of a short call."""
_FULL_WINDOW_SHARE = 0.8
_SMALL_MODELS = (
    (re.compile(r"gpt-5(\.\d)?(?!.*(mini|nano))"), "gpt-5-mini"),
    (re.compile(r"gpt-4\.1(?!.*(mini|nano))"), "gpt-4.1-mini"),
    (re.compile(r"(chatgpt-)?(gpt-)?4o(?!.*mini)"), "gpt-4o-mini"),
    (re.compile(r"o[13](?!.*mini)"), "o4-mini"),
    (re.compile(r"claude-.*(opus|sonnet)"), "claude-haiku-4-5"),
    (re.compile(r"gemini-(\d\.\d)-pro"), "gemini-2.5-flash"),
    (re.compile(r"mistral-large"), "mistral-small-latest"),
)
"""Patterns of large models, each with the small model of its family that suffices for short, simple calls."""


class PriceList(Protocol):
    """Prices and context windows, for calls that were not made."""

    def price(self, provider: str | None, model: str, counts: Mapping[str, int], at: float) -> int | None:
        """Return the cost of tokens by field of ``Usage``, at a time in seconds since the epoch.

        It is in trillionths of a dollar, and ``None`` if the usage cannot be priced.
        """

    @property
    def window(self) -> Callable[[str | None, str], int | None]:
        """Function that returns the context window of a provider's model in tokens; ``None`` if it is not listed."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One possible improvement, with its saving and examples."""

    kind: str
    title: str
    do: str
    """Action to take."""
    calls: int
    of: int
    """Number of calls that were examined."""
    saving: int | None = None
    """Trillionths of a dollar over the window; ``None`` if the advice is not about money or no price is known."""
    where: tuple[tuple[str, int, int | None], ...] = ()
    """Largest shares by feature and model: name, calls, saving."""
    examples: tuple[str, ...] = ()
    """Ids of example traces."""


@dataclass(slots=True)
class _Finding:
    """Running totals of one piece of advice."""

    calls: int = 0
    saving: int = 0
    priced: int = 0
    groups: dict[str, list[int]] = field(default_factory=dict)
    """Calls, saving and number of priced additions, by feature and model."""
    examples: list[tuple[int, int]] = field(default_factory=list)
    """Saving and position of the calls with the largest savings."""

    def add(self, name: str, calls: int, saving: int | None, example: int | None = None) -> None:
        self.calls += calls
        group = self.groups.setdefault(name, [0, 0, 0])
        group[0] += calls
        if saving is not None:
            self.saving += saving
            self.priced += 1
            group[1] += saving
            group[2] += 1
        if example is not None:
            self.examples.append((saving or 0, example))
            if len(self.examples) > 64:
                self.examples = sorted(self.examples, reverse=True)[:8]


class _Study:
    """The calls of a selection, with the queries that the rules below share.

    A position is the index of a call; an index without further name is that of a row of ``dimensions``.
    """

    def __init__(self, calls: CallTable, prices: PriceList | None) -> None:
        self.prices = prices
        self.calls = calls
        self.dimensions = self.calls.dimensions
        self.total = len(self.calls)

    def matching(self, test: Callable[[Dimensions], bool], condition: Array | None = None) -> Array:
        """Return the positions of the calls whose dimensions pass the test and for which the condition holds."""
        holds = self.calls.each_dimension(test)
        return np.flatnonzero(holds if condition is None else holds & condition)

    def by_dimensions(self, positions: Array) -> Iterator[tuple[int, Array]]:
        """Group positions by dimensions. The latest call of each group comes last."""
        positions = np.sort(positions)  # calls are in the order of their dimensions and of time
        ends = np.cumsum(np.bincount(self.calls.dimension_ids[positions], minlength=len(self.dimensions))).tolist()
        for index, (start, end) in enumerate(pairwise([0, *ends])):
            if end > start:
                yield index, positions[start:end]

    def add_calls(self, finding: _Finding, positions: Array, saving: Array, has_saving: Array) -> None:
        """Add calls to a finding, each with its saving where one can be computed."""
        savings = np.zeros(self.total, np.int64)
        savings[positions] = np.where(has_saving, saving, 0)
        priced = np.zeros(self.total, np.bool_)
        priced[positions] = has_saving
        for index, group in self.by_dimensions(positions):
            best = int(group[np.argmax(savings[group])])
            finding.add(
                self.name_of(index), len(group), int(savings[group].sum()) if priced[group].any() else None, best
            )

    def name_of(self, index: int) -> str:
        row = self.dimensions[index]
        return f"{row['feature'] or '(no feature)'} · {model_of(row) or '(no model)'}"

    def price(self, index: int, counts: Mapping[str, int], started: int, model: str | None = None) -> int | None:
        """Return the cost of a usage in trillionths of a dollar, for the model of the dimensions or another."""
        row = self.dimensions[index]
        name = model or row["response_model"] or row["request_model"]
        if self.prices is None or name is None:
            return None
        return self.prices.price(row["provider"], name, counts, started / 1e6)

    def rates(self, name: str) -> Array:
        """Return the price of one token of a class for each row of dimensions, at the time of its last call."""
        rates = np.full(len(self.dimensions), np.nan)
        for index, group in self.by_dimensions(np.arange(self.total)):
            counts = {"input": 1000} if name == "input" else {"input": 1000, name: 1000}
            price = self.price(index, counts, int(self.calls["started"][group[-1]]))
            rates[index] = np.nan if price is None else price / 1000
        return rates

    def advice(self, finding: _Finding, kind: str, title: str, do: str, *, money: bool = True) -> Iterator[Advice]:
        """Yield the advice of a finding, unless no call was added to it."""
        if not finding.calls:
            return
        groups = sorted(finding.groups.items(), key=lambda item: (-item[1][1], -item[1][0]))[:5]
        yield Advice(
            kind=kind,
            title=title,
            do=do,
            calls=finding.calls,
            of=self.total,
            saving=finding.saving if money and finding.priced else None,
            where=tuple(
                (name, calls, saving if money and priced else None) for name, (calls, saving, priced) in groups
            ),
            examples=tuple(self._traces(sorted(finding.examples, reverse=True)[:3])),
        )

    def _traces(self, examples: list[tuple[int, int]]) -> Iterator[str]:
        for _, position in examples:
            call = int(self.calls["dimensions"][position]), int(self.calls["started"][position])
            yield from (trace.trace_id for trace in traces_of(self.calls.store, [call], limit=1))


def model_of(dimensions: Dimensions) -> str | None:
    """Return the requested model, else the one that responded."""
    model: str | None = dimensions["request_model"] or dimensions["response_model"]
    return model


def advise(calls: CallTable, prices: PriceList | None) -> list[Advice]:
    """Return all advice on calls, the largest saving first.

    Savings overlap: a call that a cache would have answered needs no smaller model either.

    Args:
        calls: Calls that were read with ``similarity=True``.
        prices: Prices for calls that were not made; ``None`` to leave such savings out.
    """
    study = _Study(carried_out(calls), prices)
    if not study.total:
        return []
    found = [advice for rule in _RULES for advice in rule(study)]
    return sorted(found, key=lambda advice: (-(advice.saving or 0), -advice.calls))


def _repeats(study: _Study) -> Iterator[Advice]:
    """Find identical requests, and requests that differ in digits, case or whitespace only."""
    calls = study.calls
    remaining = study.matching(lambda row: row["outcome"] == "ok", calls["exact_hash"] != 0)
    for column, kind, title, do in _REPEATS:
        similar, first = _group_repeats(calls[column], calls["started"], remaining)
        repeats = similar[~first]
        finding = _Finding()
        study.add_calls(finding, repeats, calls["cost"][repeats], calls["cost"][repeats] >= 0)
        yield from study.advice(finding, kind, title, do)
        # Count each call once. A cache that ignores digits also saves the first of each group of identical requests.
        remaining = np.setdiff1d(remaining, repeats)


_REPEATS = (
    ("exact_hash", "repeats", "identical requests", "answer them from a cache of your own"),
    ("near_hash", "near repeats", "requests that differ in digits, case or whitespace only",
     "remove varying parts (dates, ids) from the prompt, and cache"),
)  # fmt: skip


def _group_repeats(keys: Array, started: Array, positions: Array) -> tuple[Array, Array]:
    """Return the positions of calls whose key repeats, by key and time, and a mask of the first of each key."""
    order = positions[np.argsort(keys[positions])]
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    order = order[np.append(False, same) | np.append(same, False)] if len(order) else order
    order = order[np.lexsort((started[order], keys[order]))]
    ordered = keys[order]
    return order, np.append(True, ordered[1:] != ordered[:-1])[: len(order)]


def _prefixes(study: _Study) -> Iterator[Advice]:
    """Find prompt prefixes that were repeated within the cache lifetime and billed in full."""
    calls = study.calls
    models = {model: index for index, model in enumerate(dict.fromkeys(map(model_of, study.dimensions)))}
    model = np.array([models[model_of(row)] for row in study.dimensions], np.int64)[calls.dimension_ids]
    long = np.flatnonzero((calls["prefix_hash"] != 0) & (calls["prefix_tokens"] >= _SHORTEST_PREFIX))
    # Add the model to the key: hashes of request bodies include it, those of recorded content may not.
    key = calls["prefix_hash"] ^ (model << 40)
    positions, first = _group_repeats(key, calls["started"], long)
    if not len(positions):
        return
    started = calls["started"][positions]
    again = ~first & (np.diff(started, prepend=started[0]) <= _CACHE_LIFETIME_MICROSECONDS)
    opens = ~again & np.append(
        again[1:], False
    )  # the next call repeats this one, as the first call of a key is no repetition
    missed = calls["prefix_tokens"][positions] - np.maximum(calls["cache_read"], 0)[positions]
    missed -= np.maximum(calls["cache_write"], 0)[positions]
    full, cached, write = (
        study.rates(name)[calls.dimension_ids[positions]] for name in ("input", "cache_read", "cache_write")
    )
    counts = (missed >= _SHORTEST_PREFIX / 2) & ~(cached >= full)
    saved = np.nan_to_num(missed * (full - cached))
    finding = _Finding()
    chosen = counts & again
    study.add_calls(finding, positions[chosen], np.rint(saved[chosen]), ~np.isnan(full - cached)[chosen])
    paid = counts & opens & (write > full)  # the first call of a run pays for the cache write
    finding.saving -= round(float(np.sum(missed[paid] * (write - full)[paid])))
    yield from study.advice(
        finding,
        "uncached prefix",
        "long prompt prefixes that were repeated within 5 minutes, uncached",
        "put the fixed part first and keep it byte-identical; mark it (cache_control) where the provider requires it",
    )


def _large_models(study: _Study) -> Iterator[Advice]:
    """Find short, simple calls that a smaller model of the same vendor may answer for less."""
    calls, finding = study.calls, _Finding()
    short = (calls["input"] >= 0) & (calls["input"] <= _SHORT_INPUT) & (calls["reasoning"] <= 0)
    short &= (calls["output"] >= 0) & (calls["output"] <= _SHORT_OUTPUT)
    names: set[str] = set()
    for index, group in study.by_dimensions(study.matching(_is_large, short)):
        sibling = _sibling(study.dimensions[index])
        assert sibling is not None
        names.add(sibling)
        # Price the mean call, as prices may have tiers, and multiply it by the number of calls.
        mean = {
            name: round(1000 * exact_sum(calls[name][group])[0] / len(group))
            for name in ("input", "output", "cache_read")
        }
        small = study.price(index, mean, int(calls["started"][group[-1]]), sibling)
        priced = small is not None and bool((calls["cost"][group] >= 0).all())
        saving = exact_sum(calls["cost"][group])[0] - round((small or 0) * len(group) / 1000) if priced else None
        if saving is None or saving > 0:
            finding.add(study.name_of(index), len(group), saving, int(group[-1]))
    yield from study.advice(
        finding,
        "large model",
        "short, simple calls on large models",
        f"up to {_SHORT_INPUT:,} input and {_SHORT_OUTPUT} output tokens; try {', '.join(sorted(names))}",
    )


def _is_large(row: Dimensions) -> bool:
    return _sibling(row) is not None and row["outcome"] == "ok" and row["finish"] == "stop"


def _sibling(row: Dimensions) -> str | None:
    model = model_of(row)
    if model is None or row["operation"] not in ("chat", "generate_content"):
        return None
    name = model.rpartition("/")[2]
    return next((small for pattern, small in _SMALL_MODELS if pattern.match(name)), None)


def _waste(study: _Study) -> Iterator[Advice]:
    """Find prompts with much whitespace or many repeated lines."""
    calls, finding = study.calls, _Finding()
    wasted = calls["wasted_tokens"]
    fresh = np.maximum(calls["input"], 0) - np.maximum(calls["cache_read"], 0) - np.maximum(calls["cache_write"], 0)
    for index, group in study.by_dimensions(np.flatnonzero((wasted >= 20) & (wasted * 20 >= calls["input"]))):
        cost = exact_sum(calls["cost_input"][group])[0]
        tokens = int(fresh[group].sum())
        price = study.price(index, {"input": 1000}, int(calls["started"][group[-1]]))
        unit = cost / tokens if cost and tokens > 0 else None if price is None else price / 1000
        worst = int(group[np.argmax(wasted[group])])
        finding.add(
            study.name_of(index), len(group), None if unit is None else round(exact_sum(wasted[group])[0] * unit), worst
        )
    yield from study.advice(
        finding,
        "waste",
        "whitespace and repeated lines, 5% of the input or more",
        "trim the template; remove repetitions",
    )


def _windows(study: _Study) -> Iterator[Advice]:
    """Find calls that nearly fill the context window of the model."""
    calls, finding = study.calls, _Finding()
    if study.prices is None:
        return
    limits = np.full(len(study.dimensions), np.iinfo(np.int64).max)
    for index, row in enumerate(study.dimensions):
        model = row["response_model"] or row["request_model"]
        window = None if model is None else study.prices.window(row["provider"], model)
        if window:
            limits[index] = int(window * _FULL_WINDOW_SHARE)
    for index, group in study.by_dimensions(np.flatnonzero(calls["input"] >= limits[calls.dimension_ids])):
        finding.add(study.name_of(index), len(group), None, int(group[np.argmax(calls["input"][group])]))
    yield from study.advice(
        finding, "context window", "calls that fill more than 80% of the model's context window",
        "send less: fewer documents, or a summary of the conversation so far", money=False,
    )  # fmt: skip


def _aliases(study: _Study) -> Iterator[Advice]:
    """Find calls that use a model alias instead of a dated name."""
    finding = _Finding()
    moved: dict[str, set[str]] = {}
    for index, group in study.by_dimensions(study.matching(_uses_alias)):
        row = study.dimensions[index]
        moved.setdefault(row["request_model"], set()).add(row["response_model"] or "")
        finding.add(study.name_of(index), len(group), None, int(group[-1]))
    changed = [name for name, models in moved.items() if len(models - {""}) > 1]
    title = "calls that use a model alias, which the provider may point to another model"
    if changed:
        title += f" ({', '.join(changed[:2])} has moved)"
    yield from study.advice(
        finding,
        "floating alias",
        title,
        "pin the dated name; before you change it, run: llmtrace compare model=...",
        money=False,
    )


def _uses_alias(row: Dimensions) -> bool:
    if row["pinned"] is not None:
        return not row["pinned"]
    requested, served = row["request_model"], row["response_model"]
    if not requested or not served or requested == served or is_pinned(requested):
        return False
    return bool(served.startswith(requested))


def _lacks_usage(row: Dimensions) -> bool:
    exhausted = bool(row["streamed"]) and row["stream_end"] == "exhausted"
    return exhausted and row["usage_source"] in ("missing", "estimated")


def _silent_streams(study: _Study) -> Iterator[Advice]:
    """Find streams without reported usage."""
    finding, costs = _Finding(), study.calls["estimated_cost"]
    for index, group in study.by_dimensions(study.matching(_lacks_usage)):
        finding.add(study.name_of(index), len(group), None, int(group[-1]))
        finding.saving += exact_sum(costs[group])[0]
        finding.priced += int((costs[group] >= 0).sum())
    about = f", about {formatting.money(finding.saving / PICO)} that is in no total" if finding.priced else ""
    yield from study.advice(
        finding,
        "silent stream",
        f"streams whose usage the provider did not report{about}",
        'request it: stream_options={"include_usage": True}, or LLMTRACE_STREAM_USAGE=auto',
        money=False,
    )


_RULES = (_repeats, _prefixes, _large_models, _waste, _windows, _aliases, _silent_streams)
