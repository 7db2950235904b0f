"""A Redis server that is cut off, replaced or read-only: each call counts once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from time import sleep
from typing import Any
from uuid import uuid4

import pytest
from redis_server import PROGRAM, Proxy, RedisServer, balances

from llmtrace.budgets.remote_store import RemoteStore
from llmtrace.budgets.stores import Claim, RedisStore, Step

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
