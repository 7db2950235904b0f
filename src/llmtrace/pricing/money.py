"""Money as whole numbers of a unit so small that every price is one: exact, and quick to add up."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from .._decimal import divide
from ..model import Cost

__all__ = ["UNIT", "Amount", "CostLabel", "PricedCall", "amount", "as_integer", "decimal", "to_plain_text"]

UNIT = 9 * 10**24
"""One USD. The nine makes prices by the hour (a 3600th) whole as well, the power of ten all the other listed ones."""

Amount = int | Fraction
"""Money in units. A count that is no integer (audio seconds) or an odd discount makes it a fraction, still exact."""


def amount(price: Decimal | Fraction, per: int = 1) -> Amount:
    """A price of so much per ``per``, in units."""
    return as_integer(Fraction(price) * UNIT / per)


def as_integer(money: Fraction) -> Amount:
    """The same as an integer, where it is one."""
    return money.numerator if money.denominator == 1 else money


def decimal(money: Amount) -> Decimal:
    """In USD: exact, or where it has no end, to 28 digits."""
    digits = to_plain_text(money)
    if digits is not None:
        return Decimal(digits)
    exact = Fraction(money) / UNIT
    return divide(exact.numerator, exact.denominator)


def to_plain_text(money: Amount) -> str | None:
    """In USD as plain digits; ``None`` where they have no end."""
    if type(money) is not int:
        return None
    tenths, rest = divmod(money, 9)
    if rest:
        return None
    digits = str(tenths)
    if len(digits) < 25:
        digits = digits.zfill(25)
    after = digits[-24:].rstrip("0")
    return f"{digits[:-24]}.{after}" if after else digits[:-24]


class CostLabel:
    """What all costs by one card have in common."""

    __slots__ = ("model", "parts", "source", "version")

    def __init__(self, model: str | None, source: str, version: str | None, parts: tuple[str, ...] = ()) -> None:
        self.model = model
        self.source = source
        self.version = version
        self.parts = parts


_NOTHING = CostLabel(None, "catalog", None)


class PricedCall:
    """What a call cost, or why that cannot be said. Light: one is made for every call."""

    __slots__ = ("_amounts", "approximate", "label", "missing", "reason", "units")

    def __init__(
        self,
        units: Amount = 0,
        label: CostLabel = _NOTHING,
        amounts: Sequence[Amount] = (),
        reason: str | None = None,
        approximate: bool = False,
        missing: tuple[str, ...] = (),
    ) -> None:
        self.units = units
        """The sum. With a ``reason`` of ``partial_usage`` it is of what was told, and no cost."""
        self.label = label
        self._amounts = amounts
        self.reason = reason
        """Why there is no cost: ``unknown_model``, ``unknown_unit``, ``no_usage``, ``partial_usage`` or
        ``inconsistent_usage``."""
        self.approximate = approximate
        self.missing = missing
        """What was used, is billed, and had no price: the names of its fields in ``Usage``."""

    @property
    def source(self) -> str:
        return self.label.source

    @property
    def model(self) -> str | None:
        """The name that was priced."""
        return self.label.model

    @property
    def catalog_version(self) -> str | None:
        return self.label.version

    @property
    def total(self) -> float:
        """USD."""
        return float(self.units / UNIT)

    @property
    def amounts(self) -> list[tuple[str, Amount]]:
        """Class and units, of those that are not zero."""
        return [each for each in zip(self.label.parts, self._amounts, strict=False) if each[1]]

    @property
    def parts(self) -> dict[str, float]:
        """USD by class, without those of zero."""
        return {name: float(units / UNIT) for name, units in self.amounts}

    @property
    def exact(self) -> str:
        """USD, to the last digit."""
        return to_plain_text(self.units) or format(decimal(self.units), "f")

    def add(self, other: PricedCall) -> PricedCall:
        """The sum, class by class, under the name that is priced here."""
        sums = dict(zip(self.label.parts, self._amounts, strict=False))
        for part, units in other.amounts:
            sums[part] = sums.get(part, 0) + units
        return PricedCall(
            self.units + other.units,
            CostLabel(self.model, self.source, self.catalog_version, tuple(sums)),
            tuple(sums.values()),
            self.reason,
            self.approximate or other.approximate,
            self.missing + other.missing,
        )

    def without(self, name: str) -> PricedCall:
        """The same, which says that something billed is not in it."""
        missing = (*self.missing, name)
        return PricedCall(self.units, self.label, self._amounts, self.reason, approximate=True, missing=missing)

    def cost(self) -> Cost | None:
        """As the public record."""
        if self.reason is not None:
            return None
        return Cost(
            total=decimal(self.units),
            parts={name: decimal(units) for name, units in self.amounts},
            source=self.source,
            catalog_version=self.catalog_version,
            model=self.model,
            approximate=self.approximate,
        )

    def __repr__(self) -> str:
        return f"Priced({self.reason or self.exact}, model={self.model!r}, approximate={self.approximate})"
