"""A shared store that responds slowly or not at all delays only the first call, and blocks no event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from budget_calls import ask

import llmtrace
from llmtrace.budgets import budget as budgets
from llmtrace.budgets.budget import Budget
from llmtrace.budgets.enforcement import BudgetEnforcer, PendingVerdict
from llmtrace.budgets.remote_store import RemoteStore
from llmtrace.budgets.stores import Claim
from llmtrace.model import CallContext, Request, Response
from llmtrace.pricing.price import Pricer
from vendor_proxy import PROMPT, Vendor, make_chat

CLAIM = Claim("budget::day", 10_000, 1_000, 600, True)


@pytest.fixture(autouse=True)
def no_budgets() -> Iterator[None]:
    budgets.forget()
    yield
    llmtrace.uninstrument()
    budgets.forget()


class StalledStore:
    """A shared store that responds when the test lets it."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def run(self, steps: Any) -> list[Any]:
        self.go.wait(30)
        return [ConnectionError("stalled")] * len(steps)


def make_enforcer(backend: Any, **options: Any) -> BudgetEnforcer:
    limit = Budget("b", tokens=10_000, per="total", action="block", **options)
    return BudgetEnforcer(Pricer(), {"b": limit}, RemoteStore(backend))


def make_call() -> Any:
    return SimpleNamespace(
        call_context=CallContext(),
        request=Request("chat", "m", params={"max_tokens": 100}),
        provider="openai",
        server=None,
        started_ns=0,
        response=Response(usage={"input": 1, "output": 1}),
        priced=None,
        estimate=None,
        outcome="ok",
        ended_early=False,
        refused=False,
        reservation=None,
    )


def test_slow_store_does_not_block_the_event_loop() -> None:
    """While a call waits for its reservation other tasks run: one of them lets the store respond."""
    backend = StalledStore()
    engine = make_enforcer(backend)

    async def main() -> Any:
        verdict = ask(engine, make_call())
        assert isinstance(verdict, PendingVerdict)
        asyncio.get_running_loop().call_soon(backend.go.set)
        return await verdict.wait_async()

    assert asyncio.run(main()) is None
    assert backend.go.is_set()


@pytest.mark.parametrize("responds", [True, False])
def test_slow_store_does_not_block_trio(responds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tasks run under trio too, and a store that does not respond is given up in time."""
    trio = pytest.importorskip("trio")
    backend = StalledStore()
    engine = make_enforcer(backend, on_store_error="open" if responds else "closed")
    if not responds:
        monkeypatch.setattr("llmtrace.budgets.remote_store._RESERVE_TIMEOUT_SECONDS", 0.05)
    ran: list[bool] = []

    async def other() -> None:
        ran.append(True)
        if responds:
            backend.go.set()

    async def main() -> Any:
        verdict = ask(engine, make_call())
        assert isinstance(verdict, PendingVerdict)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            refusal = await verdict.wait_async()
            assert ran  # before the verdict
            return refusal

    refusal = trio.run(main)
    assert (refusal is None) is responds
    backend.go.set()


def test_unknown_event_loop_waits_as_in_a_thread() -> None:
    """Without asyncio or trio the wait blocks, for the time of a reservation at most."""
    backend = StalledStore()
    engine = make_enforcer(backend)
    verdict = ask(engine, make_call())
    assert isinstance(verdict, PendingVerdict)
    backend.go.set()
    with pytest.raises(StopIteration) as returned:
        verdict.wait_async().send(None)
    assert returned.value.value is None


@pytest.mark.parametrize("policy", ["open", "closed"])
def test_stalled_store_delays_only_the_first_call(
    policy: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first call waits as long as it may; the next ones do not wait, and the store is mentioned once in the log."""
    monkeypatch.setattr("llmtrace.budgets.remote_store._RESERVE_TIMEOUT_SECONDS", 0.01)
    backend = StalledStore()
    engine = make_enforcer(backend, on_store_error=policy)
    for number in range(20):
        call = make_call()
        verdict = ask(engine, call)
        assert isinstance(verdict, PendingVerdict)
        assert verdict._future.done() is (number > 0)
        refusal = verdict.wait()
        assert (refusal is None) is (policy == "open")
        if refusal is None:
            engine.settle(call)
    assert [record.message for record in caplog.records] == [
        "llmtrace cannot reach the budget store (no response within 0.01 s); budgets are not enforced until it "
        "responds in time, except those with on_store_error='closed', which refuse calls"
    ]
    backend.go.set()


def test_call_cancelled_while_it_waits_for_the_store_spends_nothing(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request is not sent: it is cancelled, once, and its reservation is released."""
    backend = StalledStore()
    monkeypatch.setattr("llmtrace._runtime.RedisStore", lambda url: backend)
    llmtrace.instrument(budget_store="redis://127.0.0.1:1/0", store="off", strict=True)
    llmtrace.budget("b", usd="1", action="block")
    vendor.response = make_chat("gpt-4o", 1_000, 100)

    async def main() -> None:
        client = openai.AsyncOpenAI(
            api_key="k", max_retries=0, base_url="http://api.openai.com/v1",
            http_client=openai.DefaultAsyncHttpxClient(proxy=vendor.url),
        )  # fmt: skip
        async with client:
            task = asyncio.create_task(client.chat.completions.create(model="gpt-4o", messages=PROMPT, max_tokens=100))
            await asyncio.sleep(0)
            while not task.done():
                task.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task

    with llmtrace.collect() as calls:
        asyncio.run(main())
        assert [each.outcome for each in calls] == ["cancelled"]
    backend.go.set()
    assert not vendor.requests


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_starts_with_its_own_thread_and_queue() -> None:
    """The child does not repeat the steps that the parent has queued, and can run its own."""
    backend = StalledStore()
    store = RemoteStore(backend)
    store.settle("of the parent", [CLAIM], [400])
    child = os.fork()
    if child == 0:
        stored: list[str] = []
        backend.run = lambda steps: [stored.append(step.call) or [0] for step in steps]  # type: ignore[method-assign,func-returns-value]
        idle = store.drain(0)
        store.settle("of the child", [CLAIM], [400])
        os._exit(0 if idle and store.drain(10) and stored == ["of the child"] else 1)
    _, status = os.waitpid(child, 0)
    backend.go.set()
    assert os.waitstatus_to_exitcode(status) == 0


def test_settlements_beyond_the_maximum_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that stays unreachable costs a bounded amount of memory."""
    monkeypatch.setattr("llmtrace.budgets.remote_store._MAX_UNSETTLED", 5)
    backend = StalledStore()
    backend.go.set()
    store = RemoteStore(backend)
    for number in range(50):
        store.settle(str(number), [CLAIM], [1])
    assert not store.drain(10)
    assert len(store._unsettled) == 5


def test_idle_thread_ends_and_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that makes no calls has no thread for its budgets."""
    monkeypatch.setattr("llmtrace.budgets.remote_store._IDLE_SECONDS", 0.01)

    class FastStore:
        def run(self, steps: Any) -> list[Any]:
            return [[0]] * len(steps)

    store = RemoteStore(FastStore())
    for name in ("one", "two"):
        assert store.settle(name, [CLAIM], [0]).result(10) == [0]
        thread = store._thread
        if thread is not None:
            thread.join(10)
        assert store._thread is None


def test_slow_store_warns_when_its_response_arrives(caplog: pytest.LogCaptureFixture) -> None:
    """The end of a call waits only briefly; the warning follows when the store has responded."""
    warned = threading.Event()
    backend = StalledStore()

    def run(steps: Any) -> list[Any]:
        backend.go.wait(30)
        return [[99]] * len(steps)

    backend.run = run  # type: ignore[method-assign]
    limit = Budget("b", usd=Decimal("0.000000000001"), callback=lambda *_: warned.set())
    engine = BudgetEnforcer(Pricer(), {"b": limit}, RemoteStore(backend))
    one = make_call()
    one.reservation = engine.count(one)
    engine.settle(one)
    assert one.reservation.tightest.spent is None
    backend.go.set()
    assert warned.wait(10)
