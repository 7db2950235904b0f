"""What the calls themselves say about saving. Every figure comes with the calls behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from ..model import is_pinned
from ..store.columns import PICO
from ..store.read import traces_of
from . import formatting
from .calls import Array, CallTable, Dimensions, carried_out, exact_sum
from .what_if import PriceList

__all__ = ["Advice", "advise"]

_CACHE_LIFE = 300 * 10**6
"""Microseconds for which providers keep a prompt prefix after its last use."""
_SHORTEST_PREFIX = 1024
"""Tokens below which providers cache nothing."""
_SHORT_INPUT, _SHORT_OUTPUT = 1000, 100
_FULL = 0.8
_SMALL = (
    (re.compile(r"gpt-5(\.\d)?(?!.*(mini|nano))"), "gpt-5-mini"),
    (re.compile(r"gpt-4\.1(?!.*(mini|nano))"), "gpt-4.1-mini"),
    (re.compile(r"(chatgpt-)?(gpt-)?4o(?!.*mini)"), "gpt-4o-mini"),
    (re.compile(r"o[13](?!.*mini)"), "o4-mini"),
    (re.compile(r"claude-.*(opus|sonnet)"), "claude-haiku-4-5"),
    (re.compile(r"gemini-(\d\.\d)-pro"), "gemini-2.5-flash"),
    (re.compile(r"mistral-large"), "mistral-small-latest"),
)
"""The large models, and the small one of the same family that short and simple calls do well on."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing that could be better."""

    kind: str
    title: str
    do: str
    """What to do about it."""
    calls: int
    of: int
    """How many calls were looked at."""
    saving: int | None = None
    """Trillionths of a dollar over the window; ``None`` where it is not about money, or no price is known."""
    where: tuple[tuple[str, int, int | None], ...] = ()
    """The same by feature and model: name, calls, saving."""
    examples: tuple[str, ...] = ()
    """Ids of traces to look at."""


@dataclass(slots=True)
class _Finding:
    """A finding while it is being counted."""

    calls: int = 0
    saving: int = 0
    priced: int = 0
    places: dict[str, list[int]] = field(default_factory=dict)
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Saving and place of the calls that say it best."""

    def add(self, place: str, calls: int, saving: int | None, span: int | None = None) -> None:
        self.calls += calls
        at = self.places.setdefault(place, [0, 0, 0])
        at[0] += calls
        if saving is not None:
            self.saving += saving
            self.priced += 1
            at[1] += saving
            at[2] += 1
        if span is not None:
            self.spans.append((saving or 0, span))
            if len(self.spans) > 64:
                self.spans = sorted(self.spans, reverse=True)[:8]


class _Study:
    """The calls of a selection, as the questions below ask for them."""

    def __init__(self, calls: CallTable, quotes: PriceList | None) -> None:
        self.quotes = quotes
        self.calls = calls
        self.facts = self.calls.dimensions
        self.of = len(self.calls)

    def having(self, test: Callable[[Dimensions], bool], condition: Array | None = None) -> Array:
        """The places of the calls whose facts pass the test, where a condition on each call holds too."""
        holds = self.calls.each_dimension(test)
        return np.flatnonzero(holds if condition is None else holds & condition)

    def by_dimensions(self, places: Array) -> Iterator[tuple[int, Array]]:
        """The same by what they have in common, each with the latest of them last."""
        places = np.sort(places)  # the calls lie in the order of their facts and of time
        ends = np.cumsum(np.bincount(self.calls.dimension_ids[places], minlength=len(self.facts))).tolist()
        for fact, (start, end) in enumerate(pairwise([0, *ends])):
            if end > start:
                yield fact, places[start:end]

    def count(self, found: _Finding, places: Array, saving: Array, known: Array) -> None:
        """Add calls, each with what it would have saved where that is known."""
        worth = np.zeros(self.of, np.int64)
        worth[places] = np.where(known, saving, 0)
        told = np.zeros(self.of, np.bool_)
        told[places] = known
        for fact, some in self.by_dimensions(places):
            best = int(some[np.argmax(worth[some])])
            found.add(self.place(fact), len(some), int(worth[some].sum()) if told[some].any() else None, best)

    def place(self, facts: int) -> str:
        fact = self.facts[facts]
        return f"{fact['feature'] or '(no feature)'} · {model_of(fact) or '(no model)'}"

    def price(self, facts: int, counts: Mapping[str, int], started: int, model: str | None = None) -> int | None:
        fact = self.facts[facts]
        name = model or fact["response_model"] or fact["request_model"]
        if self.quotes is None or name is None:
            return None
        return self.quotes.price(fact["provider"], name, counts, started / 1e6)

    def rates(self, name: str) -> Array:
        """The price of a token of that kind, for each of the facts at the time of the last of their calls."""
        known = np.full(len(self.facts), np.nan)
        for fact, some in self.by_dimensions(np.arange(self.of)):
            counts = {"input": 1000} if name == "input" else {"input": 1000, name: 1000}
            price = self.price(fact, counts, int(self.calls["started"][some[-1]]))
            known[fact] = np.nan if price is None else price / 1000
        return known

    def advice(self, found: _Finding, kind: str, title: str, do: str, *, money: bool = True) -> Iterator[Advice]:
        if not found.calls:
            return
        places = sorted(found.places.items(), key=lambda each: (-each[1][1], -each[1][0]))[:5]
        yield Advice(
            kind=kind,
            title=title,
            do=do,
            calls=found.calls,
            of=self.of,
            saving=found.saving if money and found.priced else None,
            where=tuple(
                (name, calls, saving if money and priced else None) for name, (calls, saving, priced) in places
            ),
            examples=tuple(self._traces(sorted(found.spans, reverse=True)[:3])),
        )

    def _traces(self, best: list[tuple[int, int]]) -> Iterator[str]:
        for _, at in best:
            call = int(self.calls["facts"][at]), int(self.calls["started"][at])
            yield from (trace.trace_id for trace in traces_of(self.calls.store, [call], limit=1))


def model_of(dimensions: Dimensions) -> str | None:
    model: str | None = dimensions["request_model"] or dimensions["response_model"]
    return model


def advise(calls: CallTable, quotes: PriceList | None) -> list[Advice]:
    """Everything there is to say of calls that were read with their likeness, the largest saving first.

    Savings overlap: a call that a cache would have answered needs no smaller model either.
    """
    study = _Study(carried_out(calls), quotes)
    if not study.of:
        return []
    found = [advice for question in _QUESTIONS for advice in question(study)]
    return sorted(found, key=lambda advice: (-(advice.saving or 0), -advice.calls))


def _repeats(study: _Study) -> Iterator[Advice]:
    calls = study.calls
    answered = study.having(_answered, calls["exact_hash"] != 0)
    alike, first = _alike(calls["exact_hash"], calls["started"], answered)
    again = alike[~first]
    found = _Finding()
    study.count(found, again, calls["cost"][again], calls["cost"][again] >= 0)
    yield from study.advice(found, "repeats", "identical requests", "answer them from a cache of your own")
    # What is identical has been counted; a cache without the digits saves the first of each of those, too.
    repeated = np.zeros(study.of, np.bool_)
    repeated[again] = True
    alike, first = _alike(calls["near_hash"], calls["started"], answered[~repeated[answered]])
    again = alike[~first]
    found = _Finding()
    study.count(found, again, calls["cost"][again], calls["cost"][again] >= 0)
    yield from study.advice(
        found, "near repeats", "requests that differ in digits, case or blanks only",
        "take what varies (dates, ids) out of the prompt, and cache",
    )  # fmt: skip


def _answered(fact: Dimensions) -> bool:
    return bool(fact["outcome"] == "ok")


def _alike(keys: Array, started: Array, places: Array) -> tuple[Array, Array]:
    """Of the calls at these places those whose key occurs again, in the order of key and time, and which come first."""
    order = places[np.argsort(keys[places])]
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    order = order[np.append(False, same) | np.append(same, False)] if len(order) else order
    order = order[np.lexsort((started[order], keys[order]))]
    ordered = keys[order]
    return order, np.append(True, ordered[1:] != ordered[:-1])[: len(order)]


def _prefixes(study: _Study) -> Iterator[Advice]:
    """Prompt prefixes that came again while a provider would have kept them, and were paid in full."""
    calls = study.calls
    models = {model: number for number, model in enumerate(dict.fromkeys(map(model_of, study.facts)))}
    model = np.array([models[model_of(fact)] for fact in study.facts], np.int64)[calls.dimension_ids]
    long = np.flatnonzero((calls["prefix_hash"] != 0) & (calls["prefix_tokens"] >= _SHORTEST_PREFIX))
    # The model is part of a prefix's hash where the call says it, and need not be where the content does.
    key = calls["prefix_hash"] ^ (model << 40)
    some, first = _alike(key, calls["started"], long)
    if not len(some):
        return
    started = calls["started"][some]
    again = ~first & (np.diff(started, prepend=started[0]) <= _CACHE_LIFE)
    opens = ~again & np.append(again[1:], False)  # of the next one's kind, as the first of a key is not again
    missed = calls["prefix_tokens"][some] - np.maximum(calls["cache_read"], 0)[some]
    missed -= np.maximum(calls["cache_write"], 0)[some]
    full, cached, write = (
        study.rates(name)[calls.dimension_ids[some]] for name in ("input", "cache_read", "cache_write")
    )
    counts = (missed >= _SHORTEST_PREFIX / 2) & ~(cached >= full)
    saved = np.nan_to_num(missed * (full - cached))
    found = _Finding()
    chosen = counts & again
    study.count(found, some[chosen], np.rint(saved[chosen]), ~np.isnan(full - cached)[chosen])
    paid = counts & opens & (write > full)  # the first of a run pays for being kept
    found.saving -= round(float(np.sum(missed[paid] * (write - full)[paid])))
    yield from study.advice(
        found,
        "uncached prefix",
        "long prompt beginnings that came again within 5 minutes, uncached",
        "keep the fixed part first and byte for byte the same; mark it (cache_control) where the provider asks for it",
    )


def _large_models(study: _Study) -> Iterator[Advice]:
    calls, found = study.calls, _Finding()
    short = (calls["input"] >= 0) & (calls["input"] <= _SHORT_INPUT) & (calls["reasoning"] <= 0)
    short &= (calls["output"] >= 0) & (calls["output"] <= _SHORT_OUTPUT)
    names: set[str] = set()
    for fact, some in study.by_dimensions(study.having(_large, short)):
        sibling = _sibling(study.facts[fact])
        assert sibling is not None
        names.add(sibling)
        # The mean call, as prices may have steps, times their number.
        mean = {
            name: round(1000 * exact_sum(calls[name][some])[0] / len(some))
            for name in ("input", "output", "cache_read")
        }
        small = study.price(fact, mean, int(calls["started"][some[-1]]), sibling)
        known = small is not None and bool((calls["cost"][some] >= 0).all())
        saving = exact_sum(calls["cost"][some])[0] - round((small or 0) * len(some) / 1000) if known else None
        if saving is None or saving > 0:
            found.add(study.place(fact), len(some), saving, int(some[-1]))
    yield from study.advice(
        found,
        "large model",
        "short, simple calls on large models",
        f"of up to {_SHORT_INPUT:,} tokens in and {_SHORT_OUTPUT} out; try {', '.join(sorted(names))}",
    )


def _large(fact: Dimensions) -> bool:
    return _sibling(fact) is not None and fact["outcome"] == "ok" and fact["finish"] == "stop"


def _sibling(fact: Dimensions) -> str | None:
    model = model_of(fact)
    if model is None or fact["operation"] not in ("chat", "generate_content"):
        return None
    bare = model.rpartition("/")[2]
    return next((small for pattern, small in _SMALL if pattern.match(bare)), None)


def _waste(study: _Study) -> Iterator[Advice]:
    calls, found = study.calls, _Finding()
    wasted = calls["wasted_tokens"]
    fresh = np.maximum(calls["input"], 0) - np.maximum(calls["cache_read"], 0) - np.maximum(calls["cache_write"], 0)
    for fact, some in study.by_dimensions(np.flatnonzero((wasted >= 20) & (wasted * 20 >= calls["input"]))):
        cost = exact_sum(calls["cost_input"][some])[0]
        given = int(fresh[some].sum())
        price = study.price(fact, {"input": 1000}, int(calls["started"][some[-1]]))
        unit = cost / given if cost and given > 0 else None if price is None else price / 1000
        worst = int(some[np.argmax(wasted[some])])
        found.add(
            study.place(fact), len(some), None if unit is None else round(exact_sum(wasted[some])[0] * unit), worst
        )
    yield from study.advice(
        found, "waste", "blank space and repeated lines, 5% of the input or more", "trim the template; say things once"
    )


def _windows(study: _Study) -> Iterator[Advice]:
    calls, found = study.calls, _Finding()
    if study.quotes is None:
        return
    full = np.full(len(study.facts), np.iinfo(np.int64).max)
    for number, fact in enumerate(study.facts):
        model = fact["response_model"] or fact["request_model"]
        window = None if model is None else study.quotes.window(fact["provider"], model)
        if window:
            full[number] = int(window * _FULL)
    for at, some in study.by_dimensions(np.flatnonzero(calls["input"] >= full[calls.dimension_ids])):
        found.add(study.place(at), len(some), None, int(some[np.argmax(calls["input"][some])]))
    yield from study.advice(
        found, "context window", "calls that fill more than 80% of the model's context window",
        "send less: fewer documents, or a summary of the conversation so far", money=False,
    )  # fmt: skip


def _aliases(study: _Study) -> Iterator[Advice]:
    found = _Finding()
    moved: dict[str, set[str]] = {}
    for number, some in study.by_dimensions(study.having(_floats)):
        fact = study.facts[number]
        moved.setdefault(fact["request_model"], set()).add(fact["response_model"] or "")
        found.add(study.place(number), len(some), None, int(some[-1]))
    changed = [name for name, answers in moved.items() if len(answers - {""}) > 1]
    title = "calls that name a model by an alias, which the provider moves when it likes"
    if changed:
        title += f" ({', '.join(changed[:2])} has moved)"
    yield from study.advice(
        found, "floating alias", title, "pin the dated name; move with: llmtrace compare model=...", money=False
    )


def _floats(fact: Dimensions) -> bool:
    if fact["pinned"] is not None:
        return not fact["pinned"]
    asked, answered = fact["request_model"], fact["response_model"]
    if not asked or not answered or asked == answered or is_pinned(asked):
        return False
    return bool(answered.startswith(asked))


def _silent(fact: Dimensions) -> bool:
    whole = bool(fact["streamed"]) and fact["stream_end"] == "exhausted"
    return whole and fact["usage_source"] in ("missing", "estimated")


def _silent_streams(study: _Study) -> Iterator[Advice]:
    found, costs = _Finding(), study.calls["estimated_cost"]
    for number, some in study.by_dimensions(study.having(_silent)):
        found.add(study.place(number), len(some), None, int(some[-1]))
        found.saving += exact_sum(costs[some])[0]
        found.priced += int((costs[some] >= 0).sum())
    about = f", about {formatting.money(found.saving / PICO)} that is in no sum" if found.priced else ""
    yield from study.advice(
        found,
        "silent stream",
        f"streams whose usage the provider did not tell{about}",
        'ask for it: stream_options={"include_usage": True}, or LLMTRACE_STREAM_USAGE=auto',
        money=False,
    )


_QUESTIONS = (_repeats, _prefixes, _large_models, _waste, _windows, _aliases, _silent_streams)
