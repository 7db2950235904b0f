"""What a call cost, as span attributes."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.util.types import AttributeValue

from ..budgets.enforcement import Reservation
from ..capture.call import OpenCall
from ..pricing.money import UNIT, Amount
from . import names

__all__ = ["describe_budget", "describe_cost", "describe_estimate"]

Attributes = dict[str, AttributeValue]


def describe_cost(call: OpenCall, options: object, into: Attributes) -> None:
    """The total, its parts, where the price is from; or why there is none."""
    priced = call.priced
    if priced is None:
        return
    if priced.reason is not None:
        into[names.COST_REASON] = priced.reason
        if priced.reason == "partial_usage" and priced.units:
            guess = call.estimate
            into[names.COST_ESTIMATE] = max(priced.total, guess.usd or 0.0) if guess is not None else priced.total
        return
    label = priced.label
    into[names.COST_TOTAL] = into[names.USAGE_COST] = priced.total
    into[names.COST_EXACT] = priced.exact
    into[names.COST_SOURCE] = label.source
    if label.model is not None:
        into[names.COST_MODEL] = label.model
    if label.version is not None:
        into[names.COST_CATALOG] = label.version
    if priced.approximate:
        into[names.COST_APPROXIMATE] = True
    if priced.missing:
        into[names.COST_MISSING] = priced.missing
    _describe_parts(priced.amounts, into)


def describe_estimate(call: OpenCall, into: Attributes) -> None:
    """What was probably used, under names of its own."""
    guess = call.estimate
    if guess is None:
        return
    into[names.ESTIMATED_INPUT] = guess.input
    if guess.output is not None:
        into[names.ESTIMATED_OUTPUT] = guess.output
    into[names.ESTIMATE_METHOD] = guess.method
    into[names.ESTIMATE_FLOOR] = guess.floor
    if guess.usd is not None:
        into[names.COST_ESTIMATE] = guess.usd


def describe_budget(call: OpenCall, options: object, into: Attributes) -> None:
    """Where the tightest of the budgets that the call counts in stands."""
    made: Reservation | None = call.reservation
    part = None if made is None else made.tightest
    if part is None:
        return
    budget = part.budget
    into[names.BUDGET_NAME], into[names.BUDGET_WINDOW], into[names.BUDGET_ACTION] = (
        budget.name,
        part.label,
        part.action,
    )
    if budget.tokens is not None:
        into[names.BUDGET_LIMIT_TOKENS], spent = budget.tokens, names.BUDGET_SPENT_TOKENS
    else:
        into[names.BUDGET_LIMIT], spent = float(budget.usd or 0), names.BUDGET_SPENT
    if part.spent is not None:
        into[spent] = budget.describe_amount(part.spent)


def _describe_parts(amounts: Iterable[tuple[str, Amount]], into: Attributes) -> None:
    given: Amount = 0
    made: Amount = 0
    for part, units in amounts:
        if part in names.INPUT_COSTS:
            given += units
            name = names.INPUT_COSTS[part]
        elif part in names.OUTPUT_COSTS:
            made += units
            name = names.OUTPUT_COSTS[part]
        else:
            name = names.COST + part
        into[name] = float(units / UNIT)
    if given:
        into[names.COST_INPUT] = float(given / UNIT)
    if made:
        into[names.COST_OUTPUT] = float(made / UNIT)
