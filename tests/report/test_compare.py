"""``compare`` distinguishes a change from chance."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from llmtrace.report.compare import Change, Sample, compare, exceeded, parse_limit
from llmtrace.report.select import QueryError


def side(seed: int, calls: int, *, cost: float = 1.0, error: float = 0.02) -> Sample:
    rng = random.Random(seed)
    sample = Sample(calls=calls)
    sample.values["cost"] = [cost * rng.lognormvariate(0, 0.5) for _ in range(calls)]
    sample.values["latency"] = [cost * rng.lognormvariate(0, 0.5) for _ in range(calls)]
    sample.values["output"] = [float(rng.randint(50, 150)) for _ in range(calls)]
    sample.errors = sum(rng.random() < error for _ in range(calls))
    sample.finishes = {"stop": calls - sample.errors}
    return sample


def by_metric(changes: list[Change]) -> dict[str, Change]:
    return {change.metric: change for change in changes}


def test_regression_has_a_clear_change() -> None:
    """20 % more cost, latency and errors are clear with enough calls; unchanged metrics are not."""
    changes = by_metric(compare(side(1, 3000), side(2, 3000, cost=1.2, error=0.06)))
    assert changes["cost"].change == pytest.approx(0.2, abs=0.04)
    assert [changes[name].clear for name in ("cost", "latency", "error", "output")] == [True, True, True, False]
    limits = [parse_limit("cost +10 %"), parse_limit("cost +30%"), parse_limit("error +1 %")]
    assert exceeded(limits, list(changes.values())) == [limits[0], limits[2]]


def test_intervals_contain_the_true_change() -> None:
    """For two equal sides, the 95 % interval excludes "no change" about once in twenty."""
    wrong: Counter[str] = Counter()
    for seed in range(150):
        wrong.update(change.metric for change in compare(side(seed, 150), side(seed + 5000, 150)) if change.clear)
    assert max(wrong.values()) <= 18
    assert {"cost", "latency", "output"} <= wrong.keys()


def test_few_calls_have_no_interval() -> None:
    """A handful of calls has no interval and exceeds no limit."""
    changes = compare(side(1, 5), side(2, 5, cost=3))
    assert all(change.low is None for change in changes)
    assert exceeded([parse_limit("cost +10%")], changes) == []


def test_comparison_of_empty_sides_has_no_changes() -> None:
    """A metric without values on both sides is left out."""
    assert compare(Sample(calls=1), Sample(calls=1))[0].metric == "error"


@pytest.mark.parametrize("text", ["cost", "cost 10", "beauty +1%", "cost +-1%", ""])
def test_invalid_limit_raises_query_error(text: str) -> None:
    """The error lists the valid names."""
    with pytest.raises(QueryError, match="cost, latency"):
        parse_limit(text)


@pytest.mark.parametrize(
    ("text", "by"), [("cost +10 %", 0.1), ("First  Token -5%", -0.05), ("finish length +0.5", 0.005)]
)
def test_valid_limits_are_parsed(text: str, by: float) -> None:
    """Spaces, case and the percent sign are optional."""
    assert parse_limit(text).by == pytest.approx(by)
