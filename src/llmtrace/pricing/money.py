"""Money as integers of a unit so small that every listed price is an integer: exact, and fast to add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from .._decimal import divide
from ..model import Cost

UNIT = 9 * 10**24
"""Units in one USD. The factor 9 makes prices per hour (1/3600) integers, the power of ten all other listed prices."""

Amount = int | Fraction
"""Money in units. Fractional counts (audio seconds) and some discounts result in a fraction, which is still exact."""


def amount(price: Decimal | Fraction, per: int = 1) -> Amount:
    """Convert a price in USD per ``per`` things into units for one thing."""
    return as_integer(Fraction(price) * UNIT / per)


def as_integer(money: Fraction) -> Amount:
    """Return the integer that equals ``money``, or ``money`` itself if there is none."""
    return money.numerator if money.denominator == 1 else money


def decimal(money: Amount) -> Decimal:
    """Convert units into USD: exactly, or to 28 digits where the decimal fraction is infinite."""
    digits = to_plain_text(money)
    if digits is not None:
        return Decimal(digits)
    exact = Fraction(money) / UNIT
    return divide(exact.numerator, exact.denominator)


def to_plain_text(money: Amount) -> str | None:
    """Convert units into USD as plain digits; return ``None`` where the decimal fraction is infinite."""
    if type(money) is not int:
        return None
    scaled, remainder = divmod(money, 9)
    if remainder:
        return None
    digits = str(scaled)
    if len(digits) < 25:
        digits = digits.zfill(25)
    decimals = digits[-24:].rstrip("0")
    return f"{digits[:-24]}.{decimals}" if decimals else digits[:-24]


@dataclass(frozen=True, slots=True)
class CostLabel:
    """The model, price source and classes that all costs of one rate card share."""

    model: str | None
    source: str
    """Source of the prices: ``catalog``, ``override`` or ``provider``."""
    version: str | None
    """Version of the catalog; ``None`` for overrides and stated costs."""
    parts: tuple[str, ...] = ()


_NO_LABEL = CostLabel(None, "catalog", None)


@dataclass(slots=True, eq=False)
class PricedCall:
    """The cost of a call, or the reason why it is unknown."""

    units: Amount = 0
    """Total in units. With the reason ``partial_usage`` it covers only the reported usage, and is not a cost."""
    label: CostLabel = _NO_LABEL
    _amounts: Sequence[Amount] = ()
    reason: str | None = None
    """Reason why there is no cost: ``unknown_model``, ``unknown_unit``, ``no_usage``, ``partial_usage``,
    ``inconsistent_usage`` or ``provisioned_capacity``."""
    approximate: bool = False
    missing: tuple[str, ...] = ()
    """Names of the fields of ``Usage`` that are billed but have no price."""

    @property
    def total(self) -> float:
        """The total in USD."""
        return float(self.units / UNIT)

    @property
    def amounts(self) -> list[tuple[str, Amount]]:
        """The classes of usage that cost something, with their amounts in units."""
        return [item for item in zip(self.label.parts, self._amounts, strict=False) if item[1]]

    @property
    def parts(self) -> dict[str, float]:
        """The amounts in USD by class of usage, without zeros."""
        return {name: float(units / UNIT) for name, units in self.amounts}

    @property
    def exact(self) -> str:
        """The total in USD as text, with all its digits (28 where the decimal fraction is infinite)."""
        return to_plain_text(self.units) or format(decimal(self.units), "f")

    def add(self, other: PricedCall) -> PricedCall:
        """Return the sum with ``other``, class by class, with the model and source of this price."""
        sums = dict(zip(self.label.parts, self._amounts, strict=False))
        for part, units in other.amounts:
            sums[part] = sums.get(part, 0) + units
        return PricedCall(
            self.units + other.units,
            replace(self.label, parts=tuple(sums)),
            tuple(sums.values()),
            self.reason,
            self.approximate or other.approximate,
            self.missing + other.missing,
        )

    def without(self, name: str) -> PricedCall:
        """Return a copy that is approximate because the usage ``name`` is billed but not included."""
        missing = (*self.missing, name)
        return PricedCall(self.units, self.label, self._amounts, self.reason, approximate=True, missing=missing)

    def cost(self) -> Cost | None:
        """Return the public record of the cost, or ``None`` if the cost is unknown."""
        if self.reason is not None:
            return None
        return Cost(
            total=decimal(self.units),
            parts={name: decimal(units) for name, units in self.amounts},
            source=self.label.source,
            catalog_version=self.label.version,
            model=self.label.model,
            approximate=self.approximate,
        )
