"""Rate cards: the prices of one model, compiled so that pricing a call is a few integer multiplications."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from typing import Any

from .._tables import read_tables
from ..model import Counts
from .money import Amount, CostLabel, PricedCall, as_integer

TABLES: dict[str, Any] = read_tables(__package__, "catalog.toml")
FIELDS: dict[str, str] = TABLES["fields"]
"""Fields of ``Usage`` by the catalog's unit that they count."""
_NON_TOKEN_FIELDS = (
    "web_searches", "maps_searches", "file_searches", "code_executions", "audio_seconds", "characters", "search_units",
)  # fmt: skip
"""Fields that some providers bill apart from tokens. Without a price for a used one the total may be too low."""
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
"""Classes of tokens and the total that each is part of. Without a price of its own a class is billed as the total."""
_PARTS_OF_TOTALS = (("cache_read", "input"), ("cache_write", "input"), ("reasoning", "output"))
"""Counts and the total that they may not exceed."""
_MAX_PLANS = 64
"""Maximum number of compiled plans per rate card."""


@dataclass(frozen=True)
class Unit:
    """A billed unit of the catalog, such as ``cache_read_tokens``."""

    name: str
    dimensions: Mapping[str, str] = field(hash=False)
    """Properties of the unit, such as ``direction`` and ``modality``. A finer unit has more of them."""

    def contains(self, other: Unit) -> bool:
        """Return true if everything that ``other`` counts is counted by this unit too."""
        return self.dimensions.items() <= other.dimensions.items()

    @property
    def part(self) -> str:
        """The class of cost that the unit is reported under."""
        get = self.dimensions.get
        modality, kind, direction = get("modality"), get("token_type"), get("direction")
        match get("family"):
            case "tokens" if kind in ("cache_read", "cache_write", "reasoning"):
                return str(kind)
            case "tokens":
                return f"{modality}_{direction}" if modality in ("audio", "image", "video") else str(direction)
            case "durations":
                return "audio_output" if direction == "output" else "audio_input"
            case "tool_calls":
                kind = get("tool_type", "tool")
                return "file_search" if kind == "storage_search" else kind
            case "requests":
                return "request"
            case family:
                return str(family)


@dataclass(frozen=True, slots=True)
class Rates:
    """The price of one unit, which may depend on the number of input tokens of the call."""

    base: Amount
    tiers: tuple[tuple[int, Amount], ...] = ()
    """Input token counts, and the prices of the complete call above each, in ascending order."""

    def at(self, tokens: float) -> Amount:
        """Return the price for a call with this number of input tokens."""
        rate = self.base
        for start, price in self.tiers:
            if tokens > start:
                rate = price
        return rate

    def times(self, factor: Fraction) -> Rates:
        """Return all prices multiplied by ``factor``."""
        return Rates(
            as_integer(self.base * factor), tuple((start, as_integer(price * factor)) for start, price in self.tiers)
        )

    @property
    def all(self) -> tuple[Amount, ...]:
        """The base price and the prices of all tiers."""
        return (self.base, *(price for _, price in self.tiers))

    @property
    def free(self) -> bool:
        """True if all prices are zero."""
        return not any(self.all)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The way to price one set of reported ``Usage`` fields."""

    terms: tuple[tuple[str, tuple[int, ...], int], ...]
    """Priced fields, the finest first, each with the indexes of those whose counts it contains and of its part."""
    fixed: tuple[Amount, ...]
    """Amounts by part that do not depend on counts: the price of the request."""
    limits: tuple[tuple[str, str], ...]
    """Fields, and the fields whose counts they may not exceed."""
    rates: tuple[Amount, ...]
    """Rates of the priced fields."""
    tiers: tuple[tuple[int, tuple[Amount, ...]], ...]
    """Input token counts, and the rates of the complete call above each, in ascending order."""
    simple: bool
    """True if the fields below are empty and no count needs a correction."""
    unclear: tuple[tuple[str, ...], ...]
    """Sets of fields. If all of one are positive, the count of another priced unit is missing from the report."""
    missing: tuple[str, ...]
    """Fields without a price: their counts are excluded, or billed as another class."""
    reason: str | None
    """Reason why this set of fields cannot be priced."""

    def multiply(self, counts: Mapping[str, Any], rates: tuple[Amount, ...]) -> tuple[Amount, tuple[Amount, ...], bool]:
        """Return the total, the amounts by part, and true if counts contradict each other."""
        amounts = list(self.fixed)
        units: list[Any] = []
        inconsistent = False
        for (name, finer, part), rate in zip(self.terms, rates, strict=True):
            count = counts[name]
            if finer:
                for index in finer:
                    count -= units[index]
                inconsistent = inconsistent or count < 0
            units.append(count)
            amounts[part] += count * rate
        inconsistent = inconsistent or any(counts[name] > counts[total] for name, total in self.limits)
        return sum(amounts), tuple(amounts), inconsistent


@dataclass(slots=True)
class RateCard:
    """The prices of one model, in one context, at one time."""

    model: str
    source: str
    """Source of the prices: ``catalog`` or ``override``."""
    version: str | None
    """Version of the catalog; ``None`` if the prices are the user's own."""
    rates: Mapping[Unit, Rates]
    units_by_field: Mapping[str, Unit]
    """Units of the catalog by the field of ``Usage`` that counts them."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Fields by unit name, where another field than usual counts the unit."""
    included: frozenset[str] = frozenset()
    """Classes that, without a price of their own, are correctly billed at the price of the total."""
    min_audio_seconds: int = 0
    """Minimum seconds of audio that are billed."""
    unreported_search: bool = False
    """True if every call bills a web search that the response may not count."""
    omits_zeros: bool = False
    """True if the provider omits zero counts from its responses."""
    label: CostLabel = field(init=False)
    request: Amount = field(init=False)
    """Price of the request itself, apart from its usage."""
    highest_output_rate: Amount = field(init=False)
    """Maximum price of one output token."""
    _plans: dict[tuple[str, ...], _Plan] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        parts = tuple(dict.fromkeys(unit.part for unit in self.rates))
        self.label = CostLabel(self.model, self.source, self.version, parts)
        outputs = [rates for unit, rates in self.rates.items() if unit.name.startswith("output_")]
        self.highest_output_rate = max((price for rates in outputs for price in rates.all), default=0)
        self.request = next((rates.base for unit, rates in self.rates.items() if unit.name == "requests"), 0)

    @property
    def free(self) -> bool:
        """True if there are prices and all are zero."""
        return bool(self.rates) and all(rates.free for rates in self.rates.values())

    def price(self, counts: Counts, *, approximate: bool = False) -> PricedCall:
        """Return the cost of ``counts``, or the reason why it is unknown."""
        plan = self._plans.get(tuple(counts))
        if plan is None:
            plan = self._compile(tuple(counts))
        rates = plan.rates
        for start, tier_rates in plan.tiers:
            if counts["input"] > start:
                rates = tier_rates
        if plan.simple:
            total, amounts, inconsistent = plan.multiply(counts, rates)
            return PricedCall(total, self.label, amounts, "inconsistent_usage" if inconsistent else None, approximate)
        return self._price(plan, rates, self._with_billed_seconds(counts), approximate)

    def _price(
        self, plan: _Plan, rates: tuple[Amount, ...], counts: Mapping[str, Any], approximate: bool
    ) -> PricedCall:
        total, amounts, inconsistent = plan.multiply(counts, rates)
        reason = plan.reason or ("inconsistent_usage" if inconsistent else None)
        if any(all(counts[name] for name in fields) for fields in plan.unclear):
            reason = reason or "partial_usage"
        missing = () if reason is not None else tuple(name for name in plan.missing if counts[name])
        if self.unreported_search and "web_searches" not in counts:
            missing = ("web_searches",)
        return PricedCall(total, self.label, amounts, reason, approximate or bool(missing), missing)

    def _with_billed_seconds(self, counts: Counts) -> Mapping[str, Any]:
        seconds = counts.get("audio_seconds")
        if seconds is None:
            return counts
        if 0 < seconds < self.min_audio_seconds:
            seconds = self.min_audio_seconds
        return {**counts, "audio_seconds": seconds if type(seconds) is int else Fraction(repr(seconds))}

    def _compile(self, shape: tuple[str, ...]) -> _Plan:
        reported = frozenset(shape)
        used: list[tuple[str, Unit]] = []
        unclear: list[tuple[str, ...]] = []
        # Sort the finest units first: their counts are subtracted from the units that contain them.
        for unit in sorted(self.rates, key=lambda unit: (-len(unit.dimensions), unit.name)):
            name = self.renamed.get(unit.name) or FIELDS.get(unit.name)
            if name in reported:
                used.append((name, unit))
            else:
                unclear.extend(self._ambiguous_units(unit, reported))
        names = [name for name, _ in used]
        rates = [self.rates[unit] for _, unit in used]
        starts = {start for rate in rates for start, _ in rate.tiers} if "input" in reported else ()
        missing = () if self.free else tuple(self._unpriced(reported, names))
        reason = self._reason(reported, bool(used))
        special = unclear or missing or reason or self.unreported_search or "audio_seconds" in reported
        plan = _Plan(
            terms=_terms(used, self.label.parts),
            fixed=tuple(self.request if part == "request" else 0 for part in self.label.parts),
            limits=_unpriced_parts(reported, names),
            rates=tuple(rate.base for rate in rates),
            tiers=tuple((start, tuple(rate.at(start + 1) for rate in rates)) for start in sorted(starts)),
            simple=not special,
            unclear=tuple(unclear),
            missing=missing,
            reason=reason,
        )
        if len(self._plans) < _MAX_PLANS:
            self._plans[shape] = plan
        return plan

    def _unpriced(self, reported: frozenset[str], priced: Sequence[str]) -> Iterator[str]:
        for name in _NON_TOKEN_FIELDS:
            if name in reported and self.renamed.get(name, name) not in priced:
                yield name
        for name, total in CLASSES.items():
            # Cache writes may be priced by their lifetime instead.
            lifetimes = name == "cache_write" and not {"cache_write_5m", "cache_write_1h"}.isdisjoint(priced)
            if (
                name in reported
                and total in priced
                and name not in priced
                and name not in self.included
                and not lifetimes
            ):
                yield name

    def _reason(self, reported: frozenset[str], has_priced_fields: bool) -> str | None:
        if not has_priced_fields and not self.request:
            return "unknown_unit"
        for unit, rates in self.rates.items():
            # Do not take a missing total for zero, if it has a price.
            total = unit.name in ("input_tokens", "output_tokens") and not rates.free
            if total and FIELDS[unit.name] not in reported and not (self.omits_zeros and "input" in reported):
                return "partial_usage"
        return None

    def _ambiguous_units(self, unit: Unit, reported: frozenset[str]) -> list[tuple[str, ...]]:
        """Return sets of reported fields that make the count of ``unit`` uncertain if all of a set are positive.

        A set is one field that counts a part of ``unit``, or two fields whose overlap ``unit`` is.
        """
        counted = [(name, other) for name, other in self.units_by_field.items() if name in reported and other != unit]
        parts: list[tuple[str, ...]] = [(name,) for name, other in counted if unit.contains(other)]
        overlaps: list[tuple[str, ...]] = [
            (left, right)
            for (left, one), (right, two) in combinations(counted, 2)
            if {**one.dimensions, **two.dimensions} == {**two.dimensions, **one.dimensions} == dict(unit.dimensions)
            and not one.contains(two)
            and not two.contains(one)
        ]
        return parts + overlaps


def _unpriced_parts(reported: frozenset[str], priced: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return reported counts without a price of their own, and the totals that they may not exceed."""
    return tuple(
        (part, total)
        for part, total in _PARTS_OF_TOTALS
        if part in reported and total in reported and part not in priced
    )


def _terms(used: Sequence[tuple[str, Unit]], parts: tuple[str, ...]) -> tuple[tuple[str, tuple[int, ...], int], ...]:
    """Return the terms of a plan for fields and their units, the finest first."""
    return tuple(
        (name, tuple(other for other in range(index) if unit.contains(used[other][1])), parts.index(unit.part))
        for index, (name, unit) in enumerate(used)
    )
