"""A shared store that is slow, cut off, replaced or read-only: each call counts once, and waits for little."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from time import sleep
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import openai
import pytest
from budget_calls import ask
from redis_server import PROGRAM, Proxy, RedisServer, balances

import llmtrace
from llmtrace.budgets import budget as budgets
from llmtrace.budgets.budget import Budget
from llmtrace.budgets.enforcement import BudgetEnforcer, PendingVerdict
from llmtrace.budgets.remote_store import RemoteStore
from llmtrace.budgets.stores import Claim, RedisStore, Step
from llmtrace.model import CallContext, Request, Response
from llmtrace.pricing.price import Pricer
from vendor_proxy import PROMPT, Vendor, make_chat

CLAIM = Claim("budget::day", 10_000, 1_000, 600, True)
needs_redis = pytest.mark.skipif(PROGRAM is None, reason="redis-server is not installed (Debian: redis-server)")


@pytest.fixture
def server(tmp_path: Any) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    running = Proxy(server.port)
    yield running
    running.close()


@pytest.fixture
def client(server: RedisServer) -> Iterator[Any]:
    import redis

    connected = redis.Redis.from_url(server.url)
    yield connected
    connected.close()


def prefix() -> str:
    return f"{{{uuid4().hex}}}:"


@needs_redis
def test_repeated_step_changes_nothing(server: RedisServer, client: Any) -> None:
    """Reservation and settlement count once, however often and in whatever order they arrive."""
    place = prefix()
    store = RedisStore(server.url, prefix=place)
    reserve, settle = (lambda: Step("call", [CLAIM])), (lambda: Step("call", [CLAIM], [400]))
    assert [result.refused for result in store.run([reserve(), reserve()])] == [-1, -1]
    assert balances(client, place) == {CLAIM.key: (0, 1_000)}
    assert store.run([settle(), settle()]) == [[400], [400]]
    store.run([reserve(), settle()])
    assert balances(client, place) == {CLAIM.key: (400, 0)}


@needs_redis
def test_reservation_after_its_settlement_reserves_nothing(server: RedisServer, client: Any) -> None:
    """A reservation that a client has given up may run after its settlement."""
    place = prefix()
    RedisStore(server.url, prefix=place).run([Step("call", [CLAIM], [400]), Step("call", [CLAIM])])
    assert balances(client, place) == {CLAIM.key: (400, 0)}


@needs_redis
def test_refused_reservation_releases_nothing(server: RedisServer, client: Any) -> None:
    """A refused call reserved nothing, so its settlement does not reduce the reservations of others."""
    place = prefix()
    store = RedisStore(server.url, prefix=place)
    store.run([Step(str(number), [CLAIM]) for number in range(10)])
    (refused,) = store.run([Step("one too many", [CLAIM])])
    assert (refused.refused, refused.balances) == (0, [(0, 10_000)])
    store.run([Step("one too many", [CLAIM], [0])])
    assert balances(client, place) == {CLAIM.key: (0, 10_000)}


@needs_redis
@pytest.mark.parametrize("fault", ["delayed", "cut"])
@pytest.mark.parametrize("step", ["reserve", "settle"])
def test_step_with_a_lost_response_counts_once(
    server: RedisServer, proxy: Proxy, client: Any, fault: str, step: str
) -> None:
    """The script has run although the client got no answer: what it repeats changes nothing."""
    place = prefix()
    store = RemoteStore(RedisStore(proxy.url, prefix=place, timeout=0.2))
    for number in range(3):
        name = str(number)
        store.wait(store.reserve(name, [CLAIM]))
        if step == "settle":
            break_responses(proxy, fault)
        store.settle(name, [CLAIM], [400])
        if step == "settle":
            assert not store.drain(10)
            restore(proxy)
            assert store.drain(10)
        else:
            break_responses(proxy, fault)
            store._down_until = 0.0
            assert isinstance(store.wait(store.reserve(f"{name} again", [CLAIM])), Exception)
            store.settle(f"{name} again", [CLAIM], [0])
            restore(proxy)
            assert store.drain(10)
        store._down_until = 0.0
    assert balances(client, place) == {CLAIM.key: (1_200, 0)}


def break_responses(proxy: Proxy, fault: str) -> None:
    proxy.cutting = fault == "cut"
    if fault == "delayed":
        proxy.open.clear()


def restore(proxy: Proxy) -> None:
    proxy.cutting = False
    proxy.open.set()


@needs_redis
def test_empty_replacement_server_counts_calls_under_way(server: RedisServer, client: Any) -> None:
    """After a failover that lost the data, calls under way count their spending and no amount is negative."""
    place = prefix()
    store = RemoteStore(RedisStore(server.url, prefix=place))
    assert store.wait(store.reserve("first", [CLAIM])).refused == -1
    server.stop()
    server.start()
    store.settle("first", [CLAIM], [400])
    assert store.drain(10)
    assert balances(client, place) == {CLAIM.key: (400, 0)}
    client.script_flush()
    assert store.wait(store.reserve("second", [CLAIM])).balances == [(400, 0)]


@needs_redis
def test_server_that_loads_its_data_is_waited_for(server: RedisServer, client: Any) -> None:
    """After a restart Redis answers LOADING until its data are in memory: the settlement then counts, once."""
    place = prefix()
    backend = RedisStore(server.url, prefix=place)
    backend.run([Step("call", [CLAIM])])
    for number in range(80):
        client.set(f"other-{number}", os.urandom(200_000))
    client.save()
    server.stop()
    server.start("--key-load-delay", "40000")  # microseconds
    answers: list[str] = []
    run = backend._run

    def recorded(steps: Any) -> Any:
        try:
            results = run(steps)
        except Exception as error:
            answers.append(type(error).__name__)
            raise
        answers.extend(type(result).__name__ for result in results)
        return results

    backend._run = recorded  # type: ignore[method-assign]
    store = RemoteStore(backend)
    settled = store.settle("call", [CLAIM], [400])
    reserved = store.reserve("another", [CLAIM])
    while not settled.done():
        assert store.drain(30) in (False, True)  # each tries again at once
        sleep(0.05)
    assert settled.result() == [400]
    assert isinstance(reserved.result(), Exception) or reserved.result().refused == -1
    assert "BusyLoadingError" in answers
    assert balances(client, place)[CLAIM.key][0] == 400


@needs_redis
def test_promoted_replica_receives_the_settlement_once(server: RedisServer, client: Any) -> None:
    """A write that a replica refuses is repeated until the server accepts it, and counts once."""
    place = prefix()
    store = RemoteStore(RedisStore(server.url, prefix=place))
    assert store.wait(store.reserve("call", [CLAIM])).refused == -1
    with socket.create_server(("127.0.0.1", 0)) as nothing:
        client.replicaof("127.0.0.1", nothing.getsockname()[1])
        store.settle("call", [CLAIM], [400])
        assert not store.drain(10)
        client.replicaof("NO", "ONE")
    assert store.drain(10)
    assert balances(client, place) == {CLAIM.key: (400, 0)}


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


@pytest.fixture(autouse=True)
def no_budgets() -> Iterator[None]:
    budgets.forget()
    yield
    llmtrace.uninstrument()
    budgets.forget()
