"""Span attributes that describe costs, estimates and budgets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from opentelemetry.util.types import AttributeValue

from .._read import put
from ..model import INFERENCE_OPERATIONS
from ..model.call_stages import FinishedCall
from ..pricing.money import UNIT, Amount
from . import names

if TYPE_CHECKING:
    from .spans import SpanEmitter


def describe_cost(call: FinishedCall, options: SpanEmitter, into: dict[str, AttributeValue]) -> None:
    """Add the cost, its parts and the source of the price, or the reason why the call is unpriced."""
    priced = call.priced
    if priced is None:
        return
    if priced.reason is not None:
        into[names.COST_REASON] = priced.reason
        if priced.reason == "partial_usage" and priced.units:
            estimate = call.estimate
            into[names.COST_ESTIMATE] = max(priced.total, estimate.usd or 0.0) if estimate is not None else priced.total
        return
    label, total = priced.label, priced.total
    into[names.COST_TOTAL] = total
    if not options.proposed_cost:
        into[names.USAGE_COST] = total
    elif call.request.operation in INFERENCE_OPERATIONS:
        # The flat name is a prefix of these, which some backends cannot store side by side.
        into[names.PROPOSED_COST], into[names.PROPOSED_CURRENCY] = total, "USD"
        into[names.PROPOSED_SOURCE] = "provider" if label.source == "provider" else "local"
    into[names.COST_EXACT], into[names.COST_SOURCE] = priced.exact, label.source
    if label.model is not None:
        into[names.COST_MODEL] = label.model
    if label.version is not None:
        into[names.COST_CATALOG] = label.version
    if priced.approximate:
        into[names.COST_APPROXIMATE] = True
    if priced.missing:
        into[names.COST_MISSING] = priced.missing
    _describe_parts(priced.amounts, into)


def describe_estimate(call: FinishedCall, into: dict[str, AttributeValue]) -> None:
    """Add the estimated token counts and cost, under names distinct from those of reported usage."""
    estimate = call.estimate
    if estimate is None:
        return
    values = {
        names.ESTIMATED_INPUT: estimate.input,
        names.ESTIMATED_OUTPUT: estimate.output,
        names.ESTIMATE_METHOD: estimate.method,
        names.ESTIMATE_FLOOR: estimate.floor,
        names.COST_ESTIMATE: estimate.usd,
    }
    put(into, values)


def describe_budget(call: FinishedCall, options: SpanEmitter, into: dict[str, AttributeValue]) -> None:
    """Add limit and spent amount of the tightest budget that applies to the call."""
    window = None if call.reservation is None else call.reservation.tightest
    if window is None:
        return
    budget = window.budget
    into[names.BUDGET_NAME], into[names.BUDGET_WINDOW] = budget.name, window.label
    into[names.BUDGET_ACTION] = window.action
    if budget.tokens is not None:
        into[names.BUDGET_LIMIT_TOKENS], spent_name = budget.tokens, names.BUDGET_SPENT_TOKENS
    else:
        into[names.BUDGET_LIMIT], spent_name = float(budget.usd or 0), names.BUDGET_SPENT
    if window.spent is not None:
        into[spent_name] = budget.describe_amount(window.spent)


def _describe_parts(amounts: Iterable[tuple[str, Amount]], into: dict[str, AttributeValue]) -> None:
    totals: dict[str, Amount] = {}
    for part, units in amounts:
        into[_PARTS.get(part) or names.COST + part] = float(units / UNIT)
        if (total := _TOTALS.get(part)) is not None:
            totals[total] = totals.get(total, 0) + units
    for total, units in totals.items():
        into[total] = float(units / UNIT)


_PARTS = {**names.INPUT_COSTS, **names.OUTPUT_COSTS}
_TOTALS = {
    **dict.fromkeys(names.INPUT_COSTS, names.COST_INPUT),
    **dict.fromkeys(names.OUTPUT_COSTS, names.COST_OUTPUT),
}
