"""Calls that are admitted and settled by a budget enforcer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from llmtrace.budgets.budget import Budget
from llmtrace.budgets.enforcement import BudgetEnforcer, PendingVerdict
from llmtrace.budgets.stores import Claim, MemoryStore, RedisStore, Step
from llmtrace.model import CallContext, Request, Response
from llmtrace.pricing.price import Pricer

NOON = 1_790_000_000  # 2026-09-21, UTC
PRICES = [{"model": "test-model", "input": "1", "output": "10"}]


def make_call(at: float = NOON, *, max_tokens: int | None = 100, **scope: Any) -> Any:
    params = {} if max_tokens is None else {"max_tokens": max_tokens}
    return SimpleNamespace(
        call_context=CallContext(**scope),
        request=Request("chat", "test-model", params=params),
        provider="openai",
        server=("api.openai.com", 443),
        started_ns=int(at * 1e9),
        response=Response(),
        priced=None,
        estimate=None,
        outcome="",
        ended_early=False,
        refused=False,
        reservation=None,
    )


def end(
    engine: BudgetEnforcer, pricer: Pricer | None, call: Any, *, input: int = 0, output: int = 0, outcome: str = "ok"
) -> None:
    call.outcome = outcome
    call.refused = outcome == "error"
    if outcome == "ok":
        call.response = Response(model="test-model", usage={"input": input, "output": output})
        call.priced = pricer and pricer.price("openai", None, call.request, call.response)
    if call.reservation is None:
        call.reservation = engine.count(call)
    engine.settle(call)


def ask(engine: BudgetEnforcer, call: Any) -> Any:
    """Reserve the maximum cost of a call, and return the verdict, which may be pending."""
    call.reservation, verdict = engine.admit(call)
    return verdict


def admit(engine: BudgetEnforcer, call: Any) -> Any:
    """Return the error that refuses a call, or None, for stores of both kinds."""
    verdict = ask(engine, call)
    return verdict.wait() if isinstance(verdict, PendingVerdict) else verdict


class SynchronousStore:
    """A shared store that is called directly, without its thread."""

    def __init__(self, backend: RedisStore) -> None:
        self._backend = backend

    def reserve(self, call: str, claims: list[Claim]) -> Any:
        return self._backend.run([Step(call, claims)])[0]

    def settle(self, call: str, claims: list[Claim], spent: list[int]) -> Any:
        return self._backend.run([Step(call, claims, spent)])[0]


def make_enforcer(pricer: Pricer, *limits: Budget, store: Any = None) -> BudgetEnforcer:
    return BudgetEnforcer(pricer, {each.name: each for each in limits}, store or MemoryStore())


def run_calls(engine: BudgetEnforcer, pricer: Pricer | None, calls: int) -> tuple[int, int]:
    """Make calls of 50 input tokens and a full response; return the number of allowed calls and their tokens."""
    through = 0
    for _ in range(calls):
        call = make_call(max_tokens=100)
        if admit(engine, call) is None:
            end(engine, pricer, call, input=50, output=100)
            through += 1
    return through, through * 150
