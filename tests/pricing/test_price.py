"""What a call may cost at most, and what of a cost that a provider states is believed."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrace.model import Request, Response
from llmtrace.pricing.money import UNIT
from llmtrace.pricing.price import Pricer

PRICER = Pricer([{"model": "test-model", "input": "1", "output": "10"}])


@pytest.mark.parametrize(
    ("operation", "params", "millionths"),
    [
        ("chat", {"max_tokens": 100}, 1000),
        ("chat", {"max_tokens": 100, "choice.count": 2}, 2000),
        ("count_tokens", {"max_tokens": 100}, 0),
        *(("chat", {"max_tokens": odd}, 0) for odd in (None, 0, -1, True, "9", 9.0)),
    ],
)
def test_maximum_cost_is_the_output_limit_of_each_choice(
    operation: str, params: dict[str, Any], millionths: int
) -> None:
    """A request without a limit, or of an operation that is not billed, reserves nothing."""
    PRICER.load()
    most = PRICER.max_cost("openai", None, Request(operation, "test-model", params=params))
    assert most == millionths * UNIT // 1_000_000


@pytest.mark.parametrize("stated", [float("nan"), float("inf"), -0.5])
def test_invalid_stated_cost_is_ignored(stated: float) -> None:
    """An invalid amount is never recorded as the cost of a call: its tokens are priced."""
    answer = Response(usage={"input": 1_000_000, "output": 0}, stated_cost=stated)
    priced = PRICER.price("openai", None, Request("chat", "test-model"), answer)
    assert priced is not None
    assert priced.total == 1.0
