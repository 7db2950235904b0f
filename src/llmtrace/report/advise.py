"""What the calls themselves say about saving. Every figure comes with the calls behind it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..store.columns import PICO
from . import figures
from .quotes import Quotes
from .select import Selection
from .tally import facts_chosen, where

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
_DATED = re.compile(r"\d{4}-?\d{2}-?\d{2}|-\d{4}$|@\d|:\w|-\d{3}$")


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
class _Found:
    """A finding while it is being counted."""

    calls: int = 0
    saving: int = 0
    priced: int = 0
    places: dict[str, list[int]] = field(default_factory=dict)
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Saving and number of the spans that say it best."""

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

    def __init__(self, store: sqlite3.Connection, chosen: Selection, quotes: Quotes | None) -> None:
        self.store = store
        self.quotes = quotes
        self.chosen = chosen
        self.facts = facts_chosen(store, chosen)
        self.of: int = self.query("count(*)").fetchone()[0]

    def query(
        self, what: str, condition: str = "", rest: str = "", facts: Mapping[int, Any] | None = None
    ) -> sqlite3.Cursor:
        clause, values = where(self.chosen, self.facts if facts is None else facts)
        if condition:
            clause = f"{clause} AND {condition}" if clause else f"WHERE {condition}"
        return self.store.execute(f"SELECT {what} FROM calls {clause} {rest}", values)

    def having(self, test: Callable[[Mapping[str, Any]], bool]) -> dict[int, dict[str, Any]]:
        return {number: fact for number, fact in self.facts.items() if test(fact)}

    def place(self, facts: int) -> str:
        fact = self.facts[facts]
        return f"{fact['feature'] or '(no feature)'} · {model_of(fact) or '(no model)'}"

    def price(self, facts: int, counts: Mapping[str, int], started: int, model: str | None = None) -> int | None:
        fact = self.facts[facts]
        name = model or fact["response_model"] or fact["request_model"]
        if self.quotes is None or name is None:
            return None
        return self.quotes.price(fact["provider"], name, counts, started / 1e6)

    def advice(self, found: _Found, kind: str, title: str, do: str, *, money: bool = True) -> Iterator[Advice]:
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

    def _traces(self, spans: list[tuple[int, int]]) -> Iterator[str]:
        for _, span in spans:
            row = self.store.execute(
                "SELECT t.trace FROM spans s JOIN traces t ON t.id = s.trace WHERE s.id = ?", (span,)
            )
            for (trace,) in row:
                yield trace.hex()


def model_of(fact: Mapping[str, Any]) -> str | None:
    model: str | None = fact["request_model"] or fact["response_model"]
    return model


def advise(store: sqlite3.Connection, chosen: Selection, quotes: Quotes | None) -> list[Advice]:
    """Everything there is to say of the selected calls, the largest saving first.

    Savings overlap: a call that a cache would have answered needs no smaller model either.
    """
    study = _Study(store, chosen, quotes)
    if not study.facts or not study.of:
        return []
    found = [advice for question in _QUESTIONS for advice in question(study)]
    return sorted(found, key=lambda advice: (-(advice.saving or 0), -advice.calls))


def _repeats(study: _Study) -> Iterator[Advice]:
    answered = study.having(lambda fact: fact["outcome"] == "ok")
    for column, kind, title, do in (
        ("exact_hash", "repeats", "identical requests", "answer them from a cache of your own"),
        ("near_hash", "near repeats", "requests that differ in digits, case or blanks only",
         "take what varies (dates, ids) out of the prompt, and cache"),
    ):  # fmt: skip
        if not answered:
            return
        found = _Found()
        # SQLite takes the columns that are not aggregated from the row that has the minimum: the first of the group.
        rest = f"GROUP BY {column} HAVING count(*) > 1"
        what = (
            f"facts, min(started), span, count(*), sum(cost), cost, count(cost), count(DISTINCT exact_hash), {column}"
        )
        for facts, _, span, same, cost, first, priced, distinct, alike in study.query(
            what, f"{column} IS NOT NULL", rest, answered
        ):
            if column == "near_hash":
                if distinct < 2:
                    continue
                # What is identical has been counted; a cache without the digits saves the first of each of those, too.
                saving, calls = _first_of_each(study, answered, alike)
                found.add(study.place(facts), calls, saving, span)
            else:
                found.add(study.place(facts), same - 1, cost - (first or 0) if priced else None, span)
        yield from study.advice(found, kind, title, do)


def _first_of_each(study: _Study, answered: Mapping[int, Any], near: int) -> tuple[int | None, int]:
    """The cost of all but the first of the distinct requests that are nearly the same, and how many those are."""
    rows = study.query(
        "exact_hash, min(started), cost", f"near_hash = {near}", "GROUP BY exact_hash", answered
    ).fetchall()
    rows.sort(key=lambda row: row[1])
    costs = [cost for _, _, cost in rows[1:] if cost is not None]
    return (sum(costs) if costs else None), len(rows) - 1


def _prefixes(study: _Study) -> Iterator[Advice]:
    """Prompt prefixes that came again while a provider would have kept them, and were paid in full."""
    found = _Found()
    last: dict[tuple[Any, int], int] = {}
    rates: dict[tuple[int, str], float | None] = {}

    def rate(facts: int, name: str, started: int) -> float | None:
        if (facts, name) not in rates:
            counts = {"input": 1000} if name == "input" else {"input": 1000, name: 1000}
            price = study.price(facts, counts, started)
            rates[facts, name] = None if price is None else price / 1000
        return rates[facts, name]

    rows = study.query(
        "facts, started, span, prefix_hash, prefix_tokens, coalesce(cache_read, 0), coalesce(cache_write, 0)",
        f"prefix_hash IS NOT NULL AND prefix_tokens >= {_SHORTEST_PREFIX}",
        "ORDER BY started",
    )
    for facts, started, span, prefix, tokens, read, written in rows:
        key = (model_of(study.facts[facts]), prefix)
        before = last.get(key)
        last[key] = started
        missed = tokens - read - written
        full, cached, write = (rate(facts, name, started) for name in ("input", "cache_read", "cache_write"))
        if missed < _SHORTEST_PREFIX / 2 or (full is not None and cached is not None and cached >= full):
            continue
        if before is not None and started - before <= _CACHE_LIFE:
            saving = None if full is None or cached is None else round(missed * (full - cached))
            found.add(study.place(facts), 1, saving, span)
        elif full is not None and write is not None and write > full:
            found.saving -= round(missed * (write - full))  # the first of a run pays for being kept
    yield from study.advice(
        found,
        "uncached prefix",
        "long prompt beginnings that came again within 5 minutes, uncached",
        "keep the fixed part first and byte for byte the same; mark it (cache_control) where the provider asks for it",
    )


def _large_models(study: _Study) -> Iterator[Advice]:
    found = _Found()
    large = study.having(
        lambda fact: _sibling(fact) is not None and fact["outcome"] == "ok" and fact["finish"] == "stop"
    )
    if not large:
        return
    rows = study.query(
        "facts, max(started), span, count(*), sum(cost), count(cost), sum(input), sum(output), sum(cache_read)",
        f"input <= {_SHORT_INPUT} AND output <= {_SHORT_OUTPUT} AND reasoning IS NULL",
        "GROUP BY facts",
        large,
    )
    names: set[str] = set()
    for facts, started, span, calls, cost, priced, given, output, read in rows:
        sibling = _sibling(study.facts[facts])
        assert sibling is not None
        names.add(sibling)
        # The mean call, as prices may have steps, times their number.
        mean = {"input": given, "output": output, "cache_read": read or 0}
        small = study.price(
            facts, {name: round(1000 * count / calls) for name, count in mean.items()}, started, sibling
        )
        saving = None if small is None or priced < calls else cost - round(small * calls / 1000)
        if saving is None or saving > 0:
            found.add(study.place(facts), calls, saving, span)
    yield from study.advice(
        found,
        "large model",
        f"short, simple calls on large models (up to {_SHORT_INPUT} tokens in, {_SHORT_OUTPUT} out)",
        f"try {', '.join(sorted(names))}, and see with: llmtrace compare",
    )


def _sibling(fact: Mapping[str, Any]) -> str | None:
    model = model_of(fact)
    if model is None or fact["operation"] not in ("chat", "generate_content"):
        return None
    bare = model.rpartition("/")[2]
    return next((small for pattern, small in _SMALL if pattern.match(bare)), None)


def _waste(study: _Study) -> Iterator[Advice]:
    found = _Found()
    rows = study.query(
        "facts, max(wasted_tokens), span, count(*), sum(wasted_tokens), sum(input), sum(cost_input),"
        " sum(input - coalesce(cache_read, 0) - coalesce(cache_write, 0)), max(started)",
        "wasted_tokens >= 20 AND wasted_tokens * 20 >= input",
        "GROUP BY facts",
    )
    for facts, _, span, calls, wasted, _given, cost, fresh, started in rows:
        price = study.price(facts, {"input": 1000}, started)
        unit = cost / fresh if cost is not None and fresh else None if price is None else price / 1000
        found.add(study.place(facts), calls, None if unit is None else round(wasted * unit), span)
    yield from study.advice(
        found, "waste", "blank space and repeated lines, 5% of the input or more", "trim the template; say things once"
    )


def _windows(study: _Study) -> Iterator[Advice]:
    found = _Found()
    if study.quotes is None:
        return
    for facts, fact in study.facts.items():
        model = fact["response_model"] or fact["request_model"]
        window = None if model is None else study.quotes.window(fact["provider"], model)
        if window:
            row = study.query(
                "count(*), span, max(input)", f"input >= {int(window * _FULL)}", "", {facts: fact}
            ).fetchone()
            if row[0]:
                found.add(study.place(facts), row[0], None, row[1])
    yield from study.advice(
        found, "context window", "calls that fill more than 80% of the model's context window",
        "send less: fewer documents, or a summary of the conversation so far", money=False,
    )  # fmt: skip


def _aliases(study: _Study) -> Iterator[Advice]:
    found = _Found()
    moved: dict[str, set[str]] = {}
    floating = study.having(_floats)
    if not floating:
        return
    for facts, calls, span in study.query("facts, count(*), max(span)", "", "GROUP BY facts", floating):
        fact = study.facts[facts]
        moved.setdefault(fact["request_model"], set()).add(fact["response_model"] or "")
        found.add(study.place(facts), calls, None, span)
    changed = [name for name, answers in moved.items() if len(answers - {""}) > 1]
    title = "calls that name a model by an alias, which the provider moves when it likes"
    if changed:
        title += f" ({', '.join(changed[:2])} has moved)"
    yield from study.advice(
        found, "floating alias", title, "pin the dated name; move with: llmtrace compare model=...", money=False
    )


def _floats(fact: Mapping[str, Any]) -> bool:
    if fact["pinned"] is not None:
        return not fact["pinned"]
    asked, answered = fact["request_model"], fact["response_model"]
    if not asked or not answered or asked == answered or _DATED.search(asked):
        return False
    return bool(answered.startswith(asked))


def _silent_streams(study: _Study) -> Iterator[Advice]:
    found = _Found()
    silent = study.having(
        lambda fact: (
            bool(fact["streamed"])
            and fact["stream_end"] == "exhausted"
            and fact["usage_source"] in ("missing", "estimated")
        )
    )
    if not silent:
        return
    rows = study.query(
        "facts, count(*), max(span), sum(estimated_cost), count(estimated_cost)", "", "GROUP BY facts", silent
    )
    for facts, calls, span, cost, known in rows:
        found.add(study.place(facts), calls, None, span)
        found.saving += cost or 0
        found.priced += known
    about = f", about {figures.money(found.saving / PICO)} that is in no sum" if found.priced else ""
    yield from study.advice(
        found,
        "silent stream",
        f"streams whose usage the provider did not tell{about}",
        'ask for it: stream_options={"include_usage": True}, or LLMTRACE_STREAM_USAGE=auto',
        money=False,
    )


_QUESTIONS = (_repeats, _prefixes, _large_models, _waste, _windows, _aliases, _silent_streams)
