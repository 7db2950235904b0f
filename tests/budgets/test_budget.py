"""Budgets: who counts where, who is refused, and that no crowd of calls overshoots."""

from __future__ import annotations

import copy
import logging
import pickle
from decimal import Decimal
from typing import Any

import pytest
from budget_calls import NOON, admit, end, make_call, make_enforcer

from llmtrace.budgets.budget import Budget, BudgetExceeded
from llmtrace.pricing.price import Pricer


def test_blocking_budget_refuses_calls_that_may_exceed_it(pricer: Pricer) -> None:
    """A call is refused when its maximum cost exceeds the rest of the budget; a smaller one is allowed."""
    engine = make_enforcer(pricer, Budget("b", usd=Decimal("0.0025"), action="block"))
    first, second, third = make_call(), make_call(), make_call()
    assert admit(engine, first) is None  # 100 tokens of output at 10 USD per million: 0.001
    assert admit(engine, second) is None
    refusal = admit(engine, third)
    assert isinstance(refusal, BudgetExceeded)
    assert refusal.spent == pytest.approx(0.002)
    assert "0.002 of 0.0025 USD" in str(refusal)
    end(engine, pricer, first, output=10)  # cost a tenth of what it had reserved
    assert admit(engine, make_call()) is None


def test_failed_call_releases_its_reservation(pricer: Pricer) -> None:
    """A call that the provider refused costs nothing."""
    engine = make_enforcer(pricer, Budget("b", usd=Decimal("0.001"), action="block"))
    for _ in range(3):
        call = make_call()
        assert admit(engine, call) is None
        end(engine, pricer, call, outcome="error")


def test_cancelled_call_without_usage_counts_its_maximum_cost(pricer: Pricer) -> None:
    """The cost of a cancelled call is unknown: the budget counts the maximum."""
    engine = make_enforcer(pricer, Budget("b", usd=Decimal("0.001"), action="block"))
    call = make_call()
    assert admit(engine, call) is None
    end(engine, pricer, call, outcome="cancelled")
    assert admit(engine, make_call()) is not None


def test_windows_begin_in_utc(pricer: Pricer) -> None:
    """Each window has its own spending."""
    engine = make_enforcer(pricer, Budget("b", tokens=100, per="day", action="block"))
    assert admit(engine, make_call()) is None
    assert admit(engine, make_call()) is not None
    assert admit(engine, make_call(NOON + 86_400)) is None


@pytest.mark.parametrize("by", ["feature", "user", "tenant", "session", "team"])
def test_each_share_has_its_own_limit(pricer: Pricer, by: str) -> None:
    """A budget with a key limits each value of it separately."""
    engine = make_enforcer(pricer, Budget("b", tokens=100, by=by, action="block"))

    def call_of(value: str) -> Any:
        return make_call(metadata={by: value}) if by == "team" else make_call(**{by: value})

    assert admit(engine, call_of("a")) is None
    assert admit(engine, call_of("a")) is not None
    assert admit(engine, call_of("b")) is None


def test_only_calls_that_match_count(pricer: Pricer) -> None:
    """A budget with a match ignores other calls."""
    engine = make_enforcer(pricer, Budget("b", tokens=0, action="block", match={"feature": "sea*", "tag": "live"}))
    assert admit(engine, make_call(feature="search", tags=("live",))) is not None
    assert admit(engine, make_call(feature="search")) is None
    assert admit(engine, make_call(feature="search", tags=("live",), user="u")) is not None
    silent = make_enforcer(pricer, Budget("b", tokens=0, action="block", match={"team": "*"}))
    assert admit(silent, make_call()) is None
    assert admit(silent, make_call(metadata={"team": "red"})) is not None
    other = make_call(feature="chat", tags=("live",))
    assert admit(engine, other) is None
    assert other.reservation is None


def test_warning_is_logged_once_per_window_and_share(pricer: Pricer, caplog: pytest.LogCaptureFixture) -> None:
    """An exceeded limit is logged and reported to the callback once per window and share, and refuses no call."""
    reported: list[float] = []
    limit = Budget("b", usd=Decimal("0.001"), by="feature", callback=lambda budget, spent: reported.append(spent))
    engine = make_enforcer(pricer, limit)
    with caplog.at_level(logging.WARNING, "llmtrace"):
        for feature in ("a", "a", "a", "b"):
            one = make_call(feature=feature)
            assert admit(engine, one) is None
            end(engine, pricer, one, output=90)
    assert reported == [pytest.approx(0.0018)]
    assert len(caplog.records) == 1
    assert one.reservation.tightest.action == "allow"


def test_failing_callback_is_logged_and_spending_counted(pricer: Pricer, caplog: pytest.LogCaptureFixture) -> None:
    """The failure is logged, and the budget continues to count."""

    def fail(*_: Any) -> None:
        raise RuntimeError("theirs")

    engine = make_enforcer(pricer, Budget("b", usd=Decimal("0.0001"), per="total", callback=fail))
    with caplog.at_level(logging.WARNING, "llmtrace"):
        for _ in range(2):
            one = make_call()
            assert admit(engine, one) is None
            end(engine, pricer, one, output=90)
    assert [record.message for record in caplog.records if "callback" in record.message] == [
        "the callback of budget 'b' failed"
    ]
    assert one.reservation.tightest.spent > 1_000_000


def test_refusal_can_be_pickled_and_copied() -> None:
    """Process pools pickle exceptions, whatever the callback of the budget is."""
    refusal = BudgetExceeded(
        Budget("b", usd=Decimal(1), by="user", callback=lambda *_: None), "2026-09", 0.5, share="ada"
    )
    for again in (pickle.loads(pickle.dumps(refusal)), copy.copy(refusal)):
        assert type(again) is BudgetExceeded
        assert (str(again), again.share, again.spent, again.window) == (str(refusal), "ada", 0.5, "2026-09")
        assert again.budget == refusal.budget


def test_reservation_counts_the_limit_for_each_choice(pricer: Pricer) -> None:
    """A budget in tokens reserves the output limit once for every requested choice."""
    engine = make_enforcer(pricer, Budget("b", tokens=1_000, action="block"))
    large_call = make_call(max_tokens=400)
    large_call.request.params["choice.count"] = 3
    refused = admit(engine, large_call)
    assert refused is not None
    assert admit(engine, make_call(max_tokens=400)) is None


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (
            {"usd": "0.0025"},
            "budget 'b' (2026-09-21): 0.0011 of 0.0025 USD are spent or reserved (0.0001 spent, 0.001 reserved by "
            "calls under way); this call could cost 0.01 USD",
        ),
        (
            {"tokens": 1_000},
            "budget 'b' (2026-09-21): 110 of 1000 tokens are spent or reserved (10 spent, 100 reserved by calls under "
            "way); this call could cost 1000 tokens",
        ),
        (
            {"usd": "0.0025", "per": "call"},
            "budget 'b' (call): this call could cost 0.01 USD, more than the limit of 0.0025 USD",
        ),
    ],
)
def test_refusal_states_spent_reserved_and_requested_amounts(pricer: Pricer, limit: Any, text: str) -> None:
    """The text contains each amount in plain decimals, and the exception has them as numbers."""
    engine = make_enforcer(pricer, Budget("b", action="block", **limit))
    one = make_call()
    assert admit(engine, one) is None
    end(engine, pricer, one, output=10)
    assert admit(engine, make_call()) is None
    refusal = admit(engine, make_call(max_tokens=1_000))
    assert isinstance(refusal, BudgetExceeded)
    assert str(refusal) == text
    for again in (pickle.loads(pickle.dumps(refusal)), copy.copy(refusal)):
        assert (str(again), again.reserved, again.call_cost) == (text, refusal.reserved, refusal.call_cost)


def test_small_amounts_have_no_exponent(pricer: Pricer) -> None:
    """Amounts far below a cent are written with all digits."""
    refusal = BudgetExceeded(Budget("b", usd=Decimal("1E-7")), "2026", 4.2e-08)
    assert str(refusal) == "budget 'b' (2026): 0.000000042 of 0.0000001 USD are spent"
