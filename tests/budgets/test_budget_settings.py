"""Budgets as they are configured: keys, files and errors."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from budget_calls import admit, make_call, make_enforcer

from llmtrace import ConfigError
from llmtrace.budgets import budget as budgets
from llmtrace.budgets.budget import Budget
from llmtrace.pricing.price import Pricer


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "LLMTRACE_BUDGETS=5 is not accepted; use a path or a list of Budget"),
        ([5], "LLMTRACE_BUDGETS, entry 1: 5 is not accepted; use a table with name, usd"),
        ([{"name": "a", "usd": 1}, {"usd": 1}], "LLMTRACE_BUDGETS, entry 2: field 'name' is missing"),
        ([{"name": "a", "dollars": 1}], "unknown field 'dollars'; accepted: name, usd"),
        ([{"name": "a", "usd": 1, "per": "moment"}], "LLMTRACE_BUDGETS, entry 1: budget 'a': per='moment'"),
        ([{"name": 5, "usd": 1}], "name=5 is not accepted; use text"),
        ([{"name": "", "usd": 1}], "name='' is not accepted; use text"),
    ],
)
def test_invalid_list_of_budgets_names_setting_entry_and_field(value: Any, message: str) -> None:
    """The error names the setting, the entry and the field, and the accepted values."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        budgets.read(value)


@pytest.mark.parametrize("text", ["", "[[budgets]]\nname = 'a'\n", "budget = 'a'"])
def test_file_without_budgets_names_the_expected_tables(tmp_path: Path, text: str) -> None:
    """A file that has other tables, or none, is refused with the name of the required one."""
    file = tmp_path / "budgets.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"use \[\[budget\]\] tables"):
        budgets.read(file)


@pytest.mark.parametrize(
    ("match", "meant"),
    [
        ({"provider": "openai", "operation": "chat"}, True),
        ({"provider": "anthropic"}, False),
        ({"operation": "embeddings"}, False),
        ({"model": "test-model", "tag": "live"}, True),
        ({"plan": "free"}, True),
        ({"plan": "paid"}, False),
        ({"session": "s"}, False),
    ],
)
def test_budget_matches_calls_by_any_key(pricer: Pricer, match: dict[str, str], meant: bool) -> None:
    """A match by provider, operation, model, tag or another key refuses only the calls that have the value."""
    engine = make_enforcer(pricer, Budget("b", usd=Decimal("0.0001"), action="block", match=match))
    one = make_call(tags=("live", "eu"), metadata={"plan": "free"})
    assert (admit(engine, one) is not None) is meant


def test_budget_per_call_refuses_expensive_calls(pricer: Pricer) -> None:
    """A budget per call refuses a call that may cost too much, whatever the spending before."""
    engine = make_enforcer(pricer, Budget("b", usd=Decimal("0.001"), per="call", action="block"))
    assert admit(engine, make_call(max_tokens=100)) is None
    assert admit(engine, make_call(max_tokens=101)) is not None


def test_budget_with_the_same_name_replaces_the_first() -> None:
    """``budget`` registers at once, and the last budget of a name counts."""
    budgets.budget("b", usd="1")
    budget = budgets.budget("b", tokens=5, action="block")
    assert list(budgets.registered().values()) == [budget]
    assert budget.by is None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({}, "usd or tokens"),
        ({"usd": "1", "tokens": 1}, "usd or tokens"),
        ({"usd": "many"}, "usd='many'"),
        ({"usd": float("nan")}, "usd=nan"),
        ({"usd": True}, "usd=True"),
        ({"usd": "-1"}, "usd='-1'"),
        ({"tokens": 1.5}, "tokens=1.5"),
        ({"usd": "1", "per": "week"}, "per='week'"),
        ({"usd": "1", "action": "stop"}, "action='stop'"),
        ({"usd": "1", "on_store_error": "maybe"}, "on_store_error='maybe'"),
        ({"usd": "1", "match": {"feature": 1}}, "match="),
        ({"usd": "1", "by": 3}, "by=3"),
        ({"tokens": 10**30}, "tokens=10"),
        ({"usd": "1", "callback": 5}, "callback=5"),
    ],
)
def test_invalid_budget_names_the_field(wrong: dict[str, Any], named: str) -> None:
    """Every mistake in a budget is a ConfigError that names it."""
    with pytest.raises(ConfigError, match=named):
        budgets.budget("b", **wrong)
    assert not budgets.registered()


def test_budgets_are_read_from_a_file(tmp_path: Path) -> None:
    """The documented TOML results in the documented budgets; unknown fields are named."""
    file = tmp_path / "budgets.toml"
    file.write_text('[[budget]]\nname = "d"\nusd = 5.10\nby = "feature"\nmatch = { feature = "search" }\n')
    budget = budgets.read(str(file))["d"]
    assert (budget.usd, budget.per, budget.by, budget.action) == (Decimal("5.10"), "day", "feature", "warn")
    file.write_text('[[budget]]\nname = "d"\nusd = 5\nlimit = 3\n')
    with pytest.raises(ConfigError, match=r"LLMTRACE_BUDGETS, entry 1: unknown field 'limit'"):
        budgets.read(str(file))
    with pytest.raises(ConfigError, match="cannot be read"):
        budgets.read(str(tmp_path / "none.toml"))
