"""A rate card: what one model charges per unit, compiled so that pricing a call is a few integer multiplications."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from typing import Any

from ..model import Counts
from .money import Amount, CostLabel, PricedCall, as_integer

__all__ = ["CLASSES", "FIELDS", "RateCard", "Rates", "Unit"]

FIELDS = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_tokens": "cache_read",
    "cache_write_tokens": "cache_write",
    "cache_write_5m_tokens": "cache_write_5m",
    "cache_write_1h_tokens": "cache_write_1h",
    "output_reasoning_tokens": "reasoning",
    "output_citation_tokens": "citation_output",
    "input_text_tokens": "text_input",
    "input_image_tokens": "image_input",
    "input_audio_tokens": "audio_input",
    "input_video_tokens": "video_input",
    "input_tool_tokens": "tool_input",
    "cache_text_read_tokens": "text_cache_read",
    "cache_image_read_tokens": "image_cache_read",
    "cache_audio_read_tokens": "audio_cache_read",
    "cache_video_read_tokens": "video_cache_read",
    "output_text_tokens": "text_output",
    "output_image_tokens": "image_output",
    "output_audio_tokens": "audio_output",
    "output_video_tokens": "video_output",
    "web_searches": "web_searches",
    "storage_searches": "file_searches",
    "code_executions": "code_executions",
    "audio_seconds": "audio_seconds",
    "input_audio_seconds": "audio_seconds",
    "input_characters": "characters",
    "rerank_searches": "search_units",
}
"""The catalogue's name of a unit, and the field of ``Usage`` that counts it. Nothing we read counts the others."""

_TOOLS = (
    "web_searches", "maps_searches", "file_searches", "code_executions", "audio_seconds", "characters", "search_units",
)  # fmt: skip
"""Billed apart from tokens where they are billed at all: used, but without a price, the sum may be too low."""
CLASSES = {
    "cache_read": "input",
    "cache_write": "input",
    "image_input": "input",
    "audio_input": "input",
    "video_input": "input",
    "image_output": "output",
    "audio_output": "output",
    "video_output": "output",
}
"""Classes with prices of their own, and the total they are part of: without a row they are billed as the rest of it."""
_WITHIN = (("cache_read", "input"), ("cache_write", "input"), ("reasoning", "output"))
_SHAPES = 64


@dataclass(frozen=True)
class Unit:
    """Something with a price: its name in the catalogue, and what it is."""

    name: str
    dimensions: Mapping[str, str] = field(hash=False)

    def holds(self, other: Unit) -> bool:
        """Whether every one of ``other`` is one of these too."""
        return self.dimensions.items() <= other.dimensions.items()

    @property
    def part(self) -> str:
        """The class of cost it is reported under."""
        known = self.dimensions.get
        modality, kind, way = known("modality"), known("token_type"), known("direction")
        match known("family"):
            case "tokens" if kind in ("cache_read", "cache_write", "reasoning"):
                return str(kind)
            case "tokens":
                return f"{modality}_{way}" if modality in ("audio", "image", "video") else str(way)
            case "durations":
                return "audio_output" if way == "output" else "audio_input"
            case "tool_calls":
                kind = known("tool_type", "tool")
                return "file_search" if kind == "storage_search" else kind
            case "requests":
                return "request"
            case family:
                return str(family)


@dataclass(frozen=True, slots=True)
class Rates:
    """The price of one unit of use: the base, and what replaces it for the whole call beyond so many input tokens."""

    base: Amount
    tiers: tuple[tuple[int, Amount], ...] = ()

    def at(self, tokens: float) -> Amount:
        rate = self.base
        for start, price in self.tiers:
            if tokens > start:
                rate = price
        return rate

    def times(self, factor: Fraction) -> Rates:
        return Rates(
            as_integer(self.base * factor), tuple((start, as_integer(price * factor)) for start, price in self.tiers)
        )

    @property
    def all(self) -> tuple[Amount, ...]:
        return (self.base, *(price for _, price in self.tiers))

    @property
    def free(self) -> bool:
        return not any(self.all)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to price one shape of usage, which is the fields that the provider told."""

    multiply: Callable[..., tuple[Amount, tuple[Amount, ...], bool]]
    """Takes the counts and a rate for each step; gives the sum, the amounts by part, whether a count was too small."""
    rates: tuple[Amount, ...]
    beyond: tuple[tuple[int, tuple[Amount, ...]], ...]
    """What replaces the rates for a call of more than so many input tokens, in ascending order."""
    simple: bool
    """Nothing below has to be looked at."""
    unclear: tuple[tuple[str, ...], ...]
    """Where all fields of one of these are positive, a count with a price of its own was not told."""
    missing: tuple[str, ...]
    """Fields that no row prices: what they count is left out, or billed as another class."""
    reason: str | None


@dataclass(slots=True)
class RateCard:
    """The prices of one model, in one context, at one time."""

    model: str
    source: str
    version: str | None
    rates: Mapping[Unit, Rates]
    known: Mapping[str, Unit]
    """What each field of ``Usage`` is, where the catalogue has a word for it."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Units that another field than usual counts."""
    included: frozenset[str] = frozenset()
    """Classes that the price of the total is meant for, where they have no row."""
    least_seconds: int = 0
    """Shorter audio is billed as this."""
    silent_search: bool = False
    """Every call searches the web and bills it, whether or not the answer counts it."""
    omits_zeros: bool = False
    """The provider leaves a count of zero out of its answers."""
    label: CostLabel = field(init=False)
    request: Amount = field(init=False)
    """For the call itself."""
    highest_output_rate: Amount = field(init=False)
    """The most that one token of an answer can cost."""
    _plans: dict[tuple[str, ...], _Plan] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        parts = tuple(dict.fromkeys(unit.part for unit in self.rates))
        self.label = CostLabel(self.model, self.source, self.version, parts)
        outputs = [rates for unit, rates in self.rates.items() if unit.name.startswith("output_")]
        self.highest_output_rate = max((price for each in outputs for price in each.all), default=0)
        self.request = next((rates.base for unit, rates in self.rates.items() if unit.name == "requests"), 0)

    @property
    def free(self) -> bool:
        """Whether everything it prices is given away."""
        return bool(self.rates) and all(rates.free for rates in self.rates.values())

    def price(self, counts: Counts, *, approximate: bool = False) -> PricedCall:
        """What ``counts`` costs by this card."""
        plan = self._plans.get(tuple(counts))
        if plan is None:
            plan = self._compile(tuple(counts))
        rates = plan.rates
        for start, others in plan.beyond:
            if counts["input"] > start:
                rates = others
        if plan.simple:
            total, amounts, wrong = plan.multiply(counts, *rates)
            return PricedCall(total, self.label, amounts, "inconsistent_usage" if wrong else None, approximate)
        return self._price(plan, rates, self._billed(counts), approximate)

    def _price(
        self, plan: _Plan, rates: tuple[Amount, ...], counts: Mapping[str, Any], approximate: bool
    ) -> PricedCall:
        total, amounts, wrong = plan.multiply(counts, *rates)
        reason = plan.reason or ("inconsistent_usage" if wrong else None)
        if any(all(counts[name] for name in fields) for fields in plan.unclear):
            reason = reason or "partial_usage"
        missing = () if reason is not None else tuple(name for name in plan.missing if counts[name])
        if self.silent_search and "web_searches" not in counts:
            missing = ("web_searches",)
        return PricedCall(total, self.label, amounts, reason, approximate or bool(missing), missing)

    def _billed(self, counts: Counts) -> Mapping[str, Any]:
        seconds = counts.get("audio_seconds")
        if seconds is None:
            return counts
        if 0 < seconds < self.least_seconds:
            seconds = self.least_seconds
        return {**counts, "audio_seconds": seconds if type(seconds) is int else Fraction(repr(seconds))}

    def _compile(self, shape: tuple[str, ...]) -> _Plan:
        told = frozenset(shape)
        used: list[tuple[str, Unit]] = []
        unclear: list[tuple[str, ...]] = []
        # The finest units first: what is counted in one of them is left out of those that hold it.
        for unit in sorted(self.rates, key=lambda unit: (-len(unit.dimensions), unit.name)):
            name = self.renamed.get(unit.name) or FIELDS.get(unit.name)
            if name in told:
                used.append((name, unit))
            else:
                unclear.extend(self._blurred(unit, told))
        names = [name for name, _ in used]
        rates = [self.rates[unit] for _, unit in used]
        starts = {start for each in rates for start, _ in each.tiers} if "input" in told else ()
        missing = () if self.free else tuple(self._unpriced(told, names))
        reason = self._reason(told, bool(used))
        special = unclear or missing or reason or self.silent_search or "audio_seconds" in told
        plan = _Plan(
            multiply=_compile_pricing(used, self.label.parts, self.request, _unpriced_parts(told, names)),
            rates=tuple(each.base for each in rates),
            beyond=tuple((start, tuple(each.at(start + 1) for each in rates)) for start in sorted(starts)),
            simple=not special,
            unclear=tuple(unclear),
            missing=missing,
            reason=reason,
        )
        if len(self._plans) < _SHAPES:
            self._plans[shape] = plan
        return plan

    def _unpriced(self, told: frozenset[str], priced: Sequence[str]) -> Iterator[str]:
        for name in _TOOLS:
            if name in told and self.renamed.get(name, name) not in priced:
                yield name
        for name, total in CLASSES.items():
            # A write is priced by its lifetime too.
            lifetimes = name == "cache_write" and not {"cache_write_5m", "cache_write_1h"}.isdisjoint(priced)
            if name in told and total in priced and name not in priced and name not in self.included and not lifetimes:
                yield name

    def _reason(self, told: frozenset[str], anything: bool) -> str | None:
        if not anything and not self.request:
            return "unknown_unit"
        for unit, rates in self.rates.items():
            # A total that has a price and was not told is not zero.
            total = unit.name in ("input_tokens", "output_tokens") and not rates.free
            if total and FIELDS[unit.name] not in told and not (self.omits_zeros and "input" in told):
                return "partial_usage"
        return None

    def _blurred(self, unit: Unit, told: frozenset[str]) -> list[tuple[str, ...]]:
        """Told fields that, all positive, leave the count of ``unit`` open: a part of it, or two that meet in it."""
        known = [(name, other) for name, other in self.known.items() if name in told and other != unit]
        below: list[tuple[str, ...]] = [(name,) for name, other in known if unit.holds(other)]
        joins: list[tuple[str, ...]] = [
            (left, right)
            for (left, one), (right, two) in combinations(known, 2)
            if {**one.dimensions, **two.dimensions} == {**two.dimensions, **one.dimensions} == dict(unit.dimensions)
            and not one.holds(two)
            and not two.holds(one)
        ]
        return below + joins


def _unpriced_parts(told: frozenset[str], priced: Sequence[str]) -> list[tuple[str, str]]:
    """Told counts without a price of their own, and the counts that they cannot exceed."""
    return [(part, total) for part, total in _WITHIN if part in told and total in told and part not in priced]


def _compile_pricing(
    used: Sequence[tuple[str, Unit]], parts: Sequence[str], request: Amount, within: Sequence[tuple[str, str]]
) -> Callable[..., tuple[Amount, tuple[Amount, ...], bool]]:
    """The sums for one shape of usage as a function written out, as dataclasses are: a loop takes three times as long.

    Only names of our own go into its text.
    """
    lines, small = [], []
    sums: dict[str, list[str]] = {part: ["request"] if part == "request" else [] for part in parts}
    for index, (name, unit) in enumerate(used):
        inner = [f" - n{other}" for other in range(index) if unit.holds(used[other][1])]
        lines.append(f"    n{index} = counts[{name!r}]{''.join(inner)}")
        small += [f"n{index} < 0"] if inner else []
        sums[unit.part].append(f"n{index} * r{index}")
    small += [f"counts[{part!r}] > counts[{total!r}]" for part, total in within]
    lines += [f"    p{place} = {' + '.join(terms) or 0}" for place, terms in enumerate(sums.values())]
    amounts = [f"p{place}" for place in range(len(parts))]
    result = f"{' + '.join(amounts) or 0}, ({''.join(each + ', ' for each in amounts)}), {' or '.join(small) or False}"
    rates = "".join(f", r{index}" for index in range(len(used)))
    scope: dict[str, Any] = {"request": request}
    exec("\n".join([f"def multiply(counts{rates}):", *lines, f"    return {result}"]), scope)
    multiply: Callable[..., tuple[Amount, tuple[Amount, ...], bool]] = scope["multiply"]
    return multiply
