"""Budgets: who counts where, who is refused, and that no crowd of calls overshoots."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import pickle
import re
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from redis_server import PROGRAM, RedisServer

from llmtrace import ConfigError
from llmtrace.budgets import budget as budgets
from llmtrace.budgets import stores
from llmtrace.budgets.budget import Budget, BudgetExceeded
from llmtrace.budgets.enforcement import BudgetEnforcer, PendingVerdict
from llmtrace.budgets.remote_store import RemoteStore
from llmtrace.budgets.stores import Claim, MemoryStore, RedisStore, Step
from llmtrace.model import CallContext, Request, Response
from llmtrace.pricing.price import Pricer

NOON = 1_790_000_000  # 2026-09-21, UTC
PRICES = [{"model": "test-model", "input": "1", "output": "10"}]


@pytest.fixture(autouse=True)
def no_budgets() -> Iterator[None]:
    budgets.forget()
    yield
    budgets.forget()


@pytest.fixture(scope="module")
def pricer() -> Pricer:
    made = Pricer(PRICES)
    made.load()
    return made


def call(at: float = NOON, *, max_tokens: int | None = 100, **scope: Any) -> Any:
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
    engine: BudgetEnforcer, pricer: Pricer | None, made: Any, *, input: int = 0, output: int = 0, outcome: str = "ok"
) -> None:
    made.outcome = outcome
    made.refused = outcome == "error"
    if outcome == "ok":
        made.response = Response(model="test-model", usage={"input": input, "output": output})
        made.priced = pricer and pricer.price("openai", None, made.request, made.response)
    engine.settle(made)


def admitted(engine: BudgetEnforcer, made: Any) -> Any:
    """Return what stands against a call, whatever store decides."""
    verdict = engine.admit(made)
    return verdict.wait() if isinstance(verdict, PendingVerdict) else verdict


class Direct:
    """A shared store as if it were in this process."""

    def __init__(self, backend: RedisStore) -> None:
        self._backend = backend

    def reserve(self, call: str, claims: list[Claim]) -> Any:
        return self._backend.run([Step(call, claims)])[0]

    def settle(self, call: str, claims: list[Claim], spent: list[int]) -> Any:
        return self._backend.run([Step(call, claims, spent)])[0]


def engine_of(pricer: Pricer, *made: Budget, store: Any = None) -> BudgetEnforcer:
    return BudgetEnforcer(pricer, {each.name: each for each in made}, store or MemoryStore())


def test_a_blocking_budget_refuses_what_may_not_fit(pricer: Pricer) -> None:
    """A call is refused when the most it may cost no longer fits, and one that fits is let through."""
    engine = engine_of(pricer, Budget("b", usd=Decimal("0.0025"), action="block"))
    first, second, third = call(), call(), call()
    assert engine.admit(first) is None  # 100 tokens of output at 10 USD per million: 0.001
    assert engine.admit(second) is None
    refusal = engine.admit(third)
    assert isinstance(refusal, BudgetExceeded)
    assert refusal.spent == pytest.approx(0.002)
    assert "0.002 of 0.0025 USD" in str(refusal)
    end(engine, pricer, first, output=10)  # cost a tenth of what it had reserved
    assert engine.admit(call()) is None


def test_an_error_gives_back_what_was_reserved(pricer: Pricer) -> None:
    """A call that the provider refused costs nothing."""
    engine = engine_of(pricer, Budget("b", usd=Decimal("0.001"), action="block"))
    for _ in range(3):
        made = call()
        assert engine.admit(made) is None
        end(engine, pricer, made, outcome="error")


def test_a_call_cut_off_without_usage_is_counted_at_its_most(pricer: Pricer) -> None:
    """What a cancelled call cost is unknown: a budget that is to hold takes the most it can be."""
    engine = engine_of(pricer, Budget("b", usd=Decimal("0.001"), action="block"))
    made = call()
    assert engine.admit(made) is None
    end(engine, pricer, made, outcome="cancelled")
    assert engine.admit(call()) is not None


def test_windows_begin_in_utc(pricer: Pricer) -> None:
    """Each window has its own spending."""
    engine = engine_of(pricer, Budget("b", tokens=100, per="day", action="block"))
    assert engine.admit(call()) is None
    assert engine.admit(call()) is not None
    assert engine.admit(call(NOON + 86_400)) is None


@pytest.mark.parametrize("by", ["feature", "user", "tenant", "session", "team"])
def test_each_share_has_its_own_limit(pricer: Pricer, by: str) -> None:
    """A budget by something limits each value of it apart."""
    engine = engine_of(pricer, Budget("b", tokens=100, by=by, action="block"))

    def made(value: str) -> Any:
        return call(metadata={by: value}) if by == "team" else call(**{by: value})

    assert engine.admit(made("a")) is None
    assert engine.admit(made("a")) is not None
    assert engine.admit(made("b")) is None


def test_only_calls_that_match_count(pricer: Pricer) -> None:
    """A budget with a match leaves other calls alone, at no cost to them."""
    engine = engine_of(pricer, Budget("b", tokens=0, action="block", match={"feature": "sea*", "tag": "live"}))
    assert engine.admit(call(feature="search", tags=("live",))) is not None
    assert engine.admit(call(feature="search")) is None
    assert engine.admit(call(feature="search", tags=("live",), user="u")) is not None
    silent = engine_of(pricer, Budget("b", tokens=0, action="block", match={"team": "*"}))
    assert silent.admit(call()) is None
    assert silent.admit(call(metadata={"team": "red"})) is not None
    other = call(feature="chat", tags=("live",))
    assert engine.admit(other) is None
    assert other.reservation is None


def test_a_warning_is_given_once(pricer: Pricer, caplog: pytest.LogCaptureFixture) -> None:
    """A passed limit is logged and called back once per window and share, and never refuses a call."""
    told: list[float] = []
    made = Budget("b", usd=Decimal("0.001"), by="feature", callback=lambda budget, spent: told.append(spent))
    engine = engine_of(pricer, made)
    with caplog.at_level(logging.WARNING, "llmtrace"):
        for feature in ("a", "a", "a", "b"):
            one = call(feature=feature)
            assert engine.admit(one) is None
            end(engine, pricer, one, output=90)
    assert told == [pytest.approx(0.0018)]
    assert len(caplog.records) == 1
    assert one.reservation.tightest.action == "allow"


def test_a_callback_that_fails(pricer: Pricer, caplog: pytest.LogCaptureFixture) -> None:
    """It is told in the log, and the budget goes on counting."""

    def fail(*_: Any) -> None:
        raise RuntimeError("theirs")

    engine = engine_of(pricer, Budget("b", usd=Decimal("0.0001"), per="total", callback=fail))
    with caplog.at_level(logging.WARNING, "llmtrace"):
        for _ in range(2):
            one = call()
            assert engine.admit(one) is None
            end(engine, pricer, one, output=90)
    assert [record.message for record in caplog.records if "callback" in record.message] == [
        "the callback of budget 'b' failed"
    ]
    assert one.reservation.tightest.spent > 1_000_000


@pytest.mark.parametrize(
    ("given", "said"),
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
def test_a_list_of_budgets_that_means_nothing(given: Any, said: str) -> None:
    """It is told which setting, which entry and which field, and what to use."""
    with pytest.raises(ConfigError, match=re.escape(said)):
        budgets.read(given)


@pytest.mark.parametrize("text", ["", "[[budgets]]\nname = 'a'\n", "budget = 'a'"])
def test_a_file_without_budgets(tmp_path: Path, text: str) -> None:
    """A file that has other tables, or none, says which it needs."""
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
def test_what_a_budget_may_be_of(pricer: Pricer, match: dict[str, str], meant: bool) -> None:
    """A provider, an operation, a model, a tag or any other key; a call of another kind is not refused."""
    engine = engine_of(pricer, Budget("b", usd=Decimal("0.0001"), action="block", match=match))
    one = call(tags=("live", "eu"), metadata={"plan": "free"})
    assert (engine.admit(one) is not None) is meant


def test_a_single_call_may_be_limited(pricer: Pricer) -> None:
    """A budget per call refuses what may cost too much, whatever was spent before."""
    engine = engine_of(pricer, Budget("b", usd=Decimal("0.001"), per="call", action="block"))
    assert engine.admit(call(max_tokens=100)) is None
    assert engine.admit(call(max_tokens=101)) is not None


def test_the_same_name_replaces() -> None:
    """``budget`` registers at once, and the last of a name counts."""
    budgets.budget("b", usd="1")
    made = budgets.budget("b", tokens=5, action="block")
    assert list(budgets.registered().values()) == [made]
    assert made.by is None


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
def test_a_wrong_budget_names_the_field(wrong: dict[str, Any], named: str) -> None:
    """Every mistake in a budget is a ConfigError that names it."""
    with pytest.raises(ConfigError, match=named):
        budgets.budget("b", **wrong)
    assert not budgets.registered()


def test_budgets_are_read_from_a_file(tmp_path: Path) -> None:
    """The documented TOML gives the documented budgets; what it does not know it names."""
    file = tmp_path / "budgets.toml"
    file.write_text('[[budget]]\nname = "d"\nusd = 5.10\nby = "feature"\nmatch = { feature = "search" }\n')
    made = budgets.read(str(file))["d"]
    assert (made.usd, made.per, made.by, made.action) == (Decimal("5.10"), "day", "feature", "warn")
    file.write_text('[[budget]]\nname = "d"\nusd = 5\nlimit = 3\n')
    with pytest.raises(ConfigError, match=r"LLMTRACE_BUDGETS, entry 1: unknown field 'limit'"):
        budgets.read(str(file))
    with pytest.raises(ConfigError, match="cannot be read"):
        budgets.read(str(tmp_path / "none.toml"))


def crowd(engine: BudgetEnforcer, pricer: Pricer | None, calls: int) -> tuple[int, int]:
    """Make ``calls`` calls of 50 input tokens and a full answer; how many went through, and their tokens."""
    through = 0
    for _ in range(calls):
        made = call(max_tokens=100)
        if admitted(engine, made) is None:
            end(engine, pricer, made, input=50, output=100)
            through += 1
    return through, through * 150


def test_threads_never_overshoot_in_memory(pricer: Pricer) -> None:
    """Of 8 threads with 1,000 calls each, spending ends within the limit and the input of calls under way."""
    limit = 300_000
    engine = engine_of(pricer, Budget("b", tokens=limit, per="total", action="block"))
    spent: list[int] = []
    threads = [threading.Thread(target=lambda: spent.append(crowd(engine, None, 1_000)[1])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limit - 150 <= sum(spent) <= limit + 8 * 50


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis server on a free port."""
    if PROGRAM is None:
        pytest.skip("redis-server is not installed (Debian package redis-server)")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server.url
    server.stop()


def work(url: str, limit: int, calls: int, told: Any) -> None:
    pricer = Pricer(PRICES)
    store = RemoteStore(RedisStore(url))
    engine = engine_of(pricer, Budget("fleet", tokens=limit, per="total", action="block"), store=store)
    told.put(crowd(engine, None, calls)[1])  # tokens need no price, nor the second it takes to load them


def test_processes_never_overshoot_in_redis(redis_url: str) -> None:
    """Four processes on one Redis server stay within the limit together."""
    limit, context = 360_000, multiprocessing.get_context("spawn")
    told = context.Queue()
    processes = [context.Process(target=work, args=(redis_url, limit, 1000, told)) for _ in range(4)]
    for process in processes:
        process.start()
    spent = sum(told.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(10)
    assert limit - 150 <= spent <= limit + 4 * 50


def test_redis_and_memory_agree(redis_url: str) -> None:
    """Both stores answer the same to the same questions, also beyond what a double holds."""
    stores = [MemoryStore(), Direct(RedisStore(redis_url, prefix=f"{uuid4().hex}:"))]
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
def test_an_absent_store_lets_calls_through_unless_asked_not_to(
    pricer: Pricer, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With Redis down budgets fail open with one warning, or closed if asked, and do not wait for it each time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = RemoteStore(RedisStore(f"redis://127.0.0.1:{port}/0"))
    engine = engine_of(pricer, Budget("b", tokens=10_000, action="block", on_store_error=policy), store=store)
    with caplog.at_level(logging.WARNING, "llmtrace"):
        for _ in range(20):
            made = call()
            refusal = admitted(engine, made)
            assert (refusal is None) is (policy == "open")
            if refusal is None:
                end(engine, pricer, made, input=1, output=1)
    assert len(caplog.records) == 1


class Shaky:
    """A shared store that can be unplugged, before it runs the steps or after."""

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


def test_settlements_missed_by_the_store_arrive_when_it_is_back(pricer: Pricer) -> None:
    """Neither the spending of those calls nor what was reserved for them stays behind."""
    shaky = Shaky()
    store = RemoteStore(shaky)
    engine = engine_of(pricer, Budget("b", tokens=10_000, per="total", action="block"), store=store)
    for up in (True, False, False, True):
        made = call()
        assert admitted(engine, made) is None
        shaky.up = up
        end(engine, pricer, made, input=40, output=10)
    assert engine.drain(10)
    assert shaky.window() == (200, 0)


def test_drain_reports_settlements_that_cannot_arrive(pricer: Pricer) -> None:
    """A flush says that the store does not know everything yet, and the next one that it does."""
    shaky = Shaky()
    engine = engine_of(pricer, Budget("b", tokens=10_000, per="total"), store=RemoteStore(shaky))
    assert engine.drain(10)
    shaky.up = False
    end(engine, pricer, call(), input=40, output=10)
    assert not engine.drain(10)
    shaky.up = True
    assert engine.drain(10)
    assert shaky.window() == (50, 0)


def test_a_refusal_comes_home_from_a_worker_process() -> None:
    """A refusal can be pickled and copied, as process pools do, whatever its budget's callback is."""
    made = BudgetExceeded(Budget("b", usd=Decimal(1), by="user", callback=lambda *_: None), "2026-09", 0.5, share="ada")
    for again in (pickle.loads(pickle.dumps(made)), copy.copy(made)):
        assert type(again) is BudgetExceeded
        assert (str(again), again.share, again.spent, again.window) == (str(made), "ada", 0.5, "2026-09")
        assert again.budget == made.budget


def test_windows_in_memory_go_when_they_are_over_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many windows come and go, those that are over are dropped, and one that is not never is."""
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


def test_a_fork_does_not_take_over_what_its_parent_reserved() -> None:
    """Calls that are under way when a process forks end in the parent: the child has nothing reserved for them."""
    store = MemoryStore()
    claim = Claim("k", 10, 4, 60, True)
    store.settle("first", [Claim("k", 10, 0, 60, True)], [3])
    store.reserve("second", [claim])
    assert store.reserve("third", [claim]) == (0, [(3, 4)])
    store.forked()
    assert store.reserve("fourth", [claim]) == (-1, [(3, 0)])


def test_several_choices_may_each_be_as_long_as_allowed(pricer: Pricer) -> None:
    """What is reserved of a budget in tokens counts the limit once for every choice that is asked for."""
    engine = engine_of(pricer, Budget("b", tokens=1_000, action="block"))
    asked = call(max_tokens=400)
    asked.request.params["choice.count"] = 3
    refused = engine.admit(asked)
    assert refused is not None
    assert engine.admit(call(max_tokens=400)) is None


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
def test_refusal_states_what_is_spent_reserved_and_asked_for(pricer: Pricer, limit: Any, text: str) -> None:
    """The text names each amount in plain decimals, and the exception has them as numbers."""
    engine = engine_of(pricer, Budget("b", action="block", **limit))
    one = call()
    assert engine.admit(one) is None
    end(engine, pricer, one, output=10)
    assert engine.admit(call()) is None
    refusal = engine.admit(call(max_tokens=1_000))
    assert isinstance(refusal, BudgetExceeded)
    assert str(refusal) == text
    for again in (pickle.loads(pickle.dumps(refusal)), copy.copy(refusal)):
        assert (str(again), again.reserved, again.call_cost) == (text, refusal.reserved, refusal.call_cost)


def test_small_amounts_have_no_exponent(pricer: Pricer) -> None:
    """Amounts far below a cent are written out."""
    refusal = BudgetExceeded(Budget("b", usd=Decimal("1E-7")), "2026", 4.2e-08)
    assert str(refusal) == "budget 'b' (2026): 0.000000042 of 0.0000001 USD are spent"
