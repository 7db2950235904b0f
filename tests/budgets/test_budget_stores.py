"""Stores of budgets: in memory, in Redis, and one that is down."""

from __future__ import annotations

import logging
import multiprocessing
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from budget_calls import PRICES, SynchronousStore, admit, end, make_call, make_enforcer, run_calls
from redis_server import PROGRAM, RedisServer

from llmtrace.budgets import stores
from llmtrace.budgets.budget import Budget
from llmtrace.budgets.remote_store import RemoteStore
from llmtrace.budgets.stores import Claim, MemoryStore, RedisStore
from llmtrace.pricing.price import Pricer
from serving import free_port


def test_threads_never_overshoot_in_memory(pricer: Pricer) -> None:
    """With 8 threads of 1,000 calls each, spending stays within the limit and the input of calls under way."""
    limit = 300_000
    engine = make_enforcer(pricer, Budget("b", tokens=limit, per="total", action="block"))
    spent: list[int] = []
    threads = [threading.Thread(target=lambda: spent.append(run_calls(engine, None, 1_000)[1])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limit - 150 <= sum(spent) <= limit + 8 * 50


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a real Redis server on a free port, and yield its URL."""
    if PROGRAM is None:
        pytest.skip("redis-server is not installed (Debian package redis-server)")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server.url
    server.stop()


def work(url: str, limit: int, calls: int, results: Any) -> None:
    pricer = Pricer(PRICES)
    store = RemoteStore(RedisStore(url))
    engine = make_enforcer(pricer, Budget("fleet", tokens=limit, per="total", action="block"), store=store)
    results.put(run_calls(engine, None, calls)[1])  # tokens need no price, nor the second it takes to load them


def test_processes_never_overshoot_in_redis(redis_url: str) -> None:
    """Four processes with one Redis server stay within the limit together."""
    limit, context = 360_000, multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=work, args=(redis_url, limit, 1000, results)) for _ in range(4)]
    for process in processes:
        process.start()
    spent = sum(results.get(timeout=180) for _ in processes)
    for process in processes:
        process.join(10)
    assert limit - 150 <= spent <= limit + 4 * 50


def test_redis_and_memory_agree(redis_url: str) -> None:
    """Both stores return the same results for the same steps, also beyond the precision of a double."""
    stores = [MemoryStore(), SynchronousStore(RedisStore(redis_url, prefix=f"{uuid4().hex}:"))]
    big = 2**55 + 1
    one = Claim("a", 5 * big, big, 60, True)
    two = Claim("b", 10, 4, 60, False)
    seen = []
    for store in stores:
        seen.append(
            [
                store.reserve("first", [one, two]),
                store.settle("first", [one, two], [big - 1, 0]),
                store.reserve("second", [one, two]),
                store.reserve("third", [Claim("b", 3, 1, 60, True)]),
                store.settle("second", [one, two], [0, 20]),
            ]
        )
    assert seen[0] == seen[1]
    assert seen[0][1] == [big - 1, 0]
    assert seen[0][2] == (-1, [(big - 1, 0), (0, 0)])
    assert seen[0][3] == (0, [(0, 4)])


@pytest.mark.parametrize("policy", ["open", "closed"])
def test_unreachable_store_allows_calls_unless_closed(
    pricer: Pricer, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    """If Redis is down, budgets let calls through with one warning, or refuse them if so set, and wait only once."""
    store = RemoteStore(RedisStore(f"redis://127.0.0.1:{free_port()}/0"))
    engine = make_enforcer(pricer, Budget("b", tokens=10_000, action="block", on_store_error=policy), store=store)
    with caplog.at_level(logging.WARNING, "llmtrace"):
        for _ in range(20):
            call = make_call()
            refusal = admit(engine, call)
            assert (refusal is None) is (policy == "open")
            if refusal is None:
                end(engine, pricer, call, input=1, output=1)
    assert len(caplog.records) == 1


class UnreliableStore:
    """A shared store that can fail before it runs the steps or after."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.up = True

    def run(self, steps: Any) -> list[Any]:
        if not self.up:
            raise ConnectionError("unplugged")
        results: list[Any] = [
            self.memory.reserve(step.call, step.claims)
            if step.spent is None
            else self.memory.settle(step.call, step.claims, step.spent)
            for step in steps
        ]
        return results

    def window(self) -> tuple[int, int]:
        (window,) = self.memory._windows.values()
        return window.spent, window.reserved


def test_settlements_during_an_outage_are_stored_afterwards(pricer: Pricer) -> None:
    """Both the spending of those calls and the release of their reservations are stored."""
    shaky = UnreliableStore()
    store = RemoteStore(shaky)
    engine = make_enforcer(pricer, Budget("b", tokens=10_000, per="total", action="block"), store=store)
    for up in (True, False, False, True):
        call = make_call()
        assert admit(engine, call) is None
        shaky.up = up
        end(engine, pricer, call, input=40, output=10)
    assert engine.drain(10)
    assert shaky.window() == (200, 0)


def test_drain_reports_settlements_that_are_not_stored(pricer: Pricer) -> None:
    """A flush returns False while settlements are missing, and the next one True."""
    shaky = UnreliableStore()
    engine = make_enforcer(pricer, Budget("b", tokens=10_000, per="total"), store=RemoteStore(shaky))
    assert engine.drain(10)
    shaky.up = False
    end(engine, pricer, make_call(), input=40, output=10)
    assert not engine.drain(10)
    shaky.up = True
    assert engine.drain(10)
    assert shaky.window() == (50, 0)


def test_expired_windows_are_removed_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expired windows are removed, however many there are; a window that has not expired never is."""
    now = 0.0
    monkeypatch.setattr(stores, "_MAX_WINDOWS", 100)
    monkeypatch.setattr(stores, "monotonic", lambda: now)
    store = MemoryStore()
    total = Claim("total", 10, 0, 10**9, False)
    store.settle("", [total], [7])
    for minute in range(1_000):
        now = minute * 60.0
        store.settle("", [Claim(f"minute {minute}", 10, 0, 3_600, False)], [1])
        store.reserve(str(minute), [Claim(f"blocked {minute}", 10, 1, 3_600, True)])
    assert len(store._windows) < 300
    assert store.settle("", [total], [1]) == [8]


def test_forked_child_has_no_reservations_of_its_parent() -> None:
    """Calls under way at a fork end in the parent: the child has nothing reserved for them."""
    store = MemoryStore()
    claim = Claim("k", 10, 4, 60, True)
    store.settle("first", [Claim("k", 10, 0, 60, True)], [3])
    store.reserve("second", [claim])
    assert store.reserve("third", [claim]) == (0, [(3, 4)])
    store.forked()
    assert store.reserve("fourth", [claim]) == (-1, [(3, 0)])
