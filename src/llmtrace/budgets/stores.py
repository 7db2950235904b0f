"""Where budgets keep what has been spent: in this process, or in Redis for a fleet.

Amounts are whole numbers (millionths of a millionth of a USD, or tokens), so that adding up loses nothing. A window
holds two of them: what was spent, and what calls still under way have reserved. Both steps name the call, and a step
that is repeated for the same call changes nothing: a client that got no answer can repeat it safely.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple, Protocol

__all__ = ["Balance", "BudgetStore", "Claim", "MemoryStore", "RedisStore", "Reserved", "Step"]

_MAX_WINDOWS = 50_000
"""Windows in memory before those that are over are looked for. One that is not over is never dropped."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a call may cost one window."""

    key: str
    """Budget, whose share of it, and start of the window."""
    limit: int
    amount: int
    seconds: int
    """After which nobody asks for the window any more."""
    blocking: bool


class Balance(NamedTuple):
    """Amounts of one window."""

    spent: int
    reserved: int


class Reserved(NamedTuple):
    """The result of a reservation."""

    refused: int
    """Index of the first claim that does not fit, or -1."""
    balances: list[Balance]
    """What each window held before."""


class BudgetStore(Protocol):
    """The windows of all budgets. Each step gives its result at once, or a future whose result may be an exception."""

    def reserve(self, call: str, claims: Sequence[Claim]) -> Reserved | Future[Any]:
        """Reserve all claims of ``call``, or none."""

    def settle(self, call: str, claims: Sequence[Claim], spent: Sequence[int]) -> list[int] | Future[Any]:
        """Replace what ``call`` has reserved by what it spent; return what each window has spent now."""

    def drain(self, timeout: float) -> bool:
        """Wait until everything is settled; return False if something is not."""


@dataclass(slots=True)
class _Window:
    until: float
    """When nobody asks for it any more."""
    spent: int = 0
    reserved: int = 0


class MemoryStore:
    """Windows of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}
        self._reserved: dict[str, list[tuple[_Window, int]]] = {}
        """By call under way."""
        self._most = _MAX_WINDOWS

    def reserve(self, call: str, claims: Sequence[Claim]) -> Reserved:
        with self._lock:
            windows = [self._window(claim) for claim in claims]
            balances = [Balance(window.spent, window.reserved) for window in windows]
            if call in self._reserved:
                return Reserved(-1, balances)
            for index, (claim, balance) in enumerate(zip(claims, balances, strict=True)):
                held = balance.spent + balance.reserved
                if claim.blocking and (held >= claim.limit or held + claim.amount > claim.limit):
                    return Reserved(index, balances)
            for window, claim in zip(windows, claims, strict=True):
                window.reserved += claim.amount
            self._reserved[call] = [(window, claim.amount) for window, claim in zip(windows, claims, strict=True)]
            return Reserved(-1, balances)

    def settle(self, call: str, claims: Sequence[Claim], spent: Sequence[int]) -> list[int]:
        with self._lock:
            for window, amount in self._reserved.pop(call, ()):
                window.reserved -= amount
            windows = [self._window(claim) for claim in claims]
            for window, amount in zip(windows, spent, strict=True):
                window.spent += amount
            return [window.spent for window in windows]

    def drain(self, timeout: float) -> bool:
        return True

    def clear(self) -> None:
        """Forget all windows."""
        with self._lock:
            self._windows.clear()
            self._reserved.clear()

    def forked(self) -> None:
        """In a child process: forget a lock that another thread held, and what only the parent's calls reserved."""
        self._lock = threading.Lock()
        self._reserved = {}
        for window in self._windows.values():
            window.reserved = 0

    def _window(self, claim: Claim) -> _Window:
        found = self._windows.get(claim.key)
        if found is None:
            now = monotonic()
            if len(self._windows) >= self._most:
                self._windows = {key: window for key, window in self._windows.items() if window.until > now}
                self._most = max(_MAX_WINDOWS, 2 * len(self._windows))
            found = self._windows[claim.key] = _Window(now + claim.seconds)
        return found


_CALL_SECONDS = 86_400
"""How long a call may be under way before its reservation can no longer be taken back."""
_SETTLED_SECONDS = 3_600
"""How long a repeated settlement is recognized."""

_RESERVE = """
local call = KEYS[#KEYS]
local known = redis.call('EXISTS', call) == 1
local balances, refused = {}, -1
for i = 1, #KEYS - 1 do
  local window = redis.call('HMGET', KEYS[i], 'spent', 'reserved')
  balances[2 * i - 1], balances[2 * i] = window[1] or '0', window[2] or '0'
  local held = (tonumber(window[1]) or 0) + (tonumber(window[2]) or 0)
  local limit, amount = tonumber(ARGV[i * 4 - 3]), tonumber(ARGV[i * 4 - 2])
  if refused < 0 and ARGV[i * 4] == '1' and (held >= limit or held + amount > limit) then refused = i - 1 end
end
if known then refused = -1 end
if refused < 0 and not known then
  redis.call('HSET', call, 'state', 'reserved')
  redis.call('EXPIRE', call, ARGV[#ARGV])
  for i = 1, #KEYS - 1 do
    redis.call('HSET', call, KEYS[i], ARGV[i * 4 - 2])
    redis.call('HINCRBY', KEYS[i], 'reserved', ARGV[i * 4 - 2])
    redis.call('EXPIRE', KEYS[i], ARGV[i * 4 - 1])
  end
end
table.insert(balances, 1, tostring(refused))
return balances
"""
_SETTLE = """
local call = KEYS[#KEYS]
local state = redis.call('HGET', call, 'state')
local spent = {}
for i = 1, #KEYS - 1 do
  if state == 'settled' then
    spent[i] = redis.call('HGET', KEYS[i], 'spent') or '0'
  else
    local reserved = state and redis.call('HGET', call, KEYS[i]) or '0'
    if reserved ~= '0' and redis.call('HINCRBY', KEYS[i], 'reserved', '-' .. reserved) < 0 then
      redis.call('HSET', KEYS[i], 'reserved', '0')
    end
    redis.call('HINCRBY', KEYS[i], 'spent', ARGV[i * 2 - 1])
    spent[i] = redis.call('HGET', KEYS[i], 'spent')
    redis.call('EXPIRE', KEYS[i], ARGV[i * 2])
  end
end
redis.call('DEL', call)
redis.call('HSET', call, 'state', 'settled')
redis.call('EXPIRE', call, ARGV[#ARGV])
return spent
"""


@dataclass(slots=True, eq=False)
class Step:
    """One step for a shared store, and the future of its result."""

    call: str
    claims: Sequence[Claim]
    spent: Sequence[int] | None = None
    """Of a settlement; ``None`` for a reservation."""
    answer: Future[Any] = None  # type: ignore[assignment] # made below

    def __post_init__(self) -> None:
        self.answer = Future()
        self.answer.set_running_or_notify_cancel()  # it cannot be cancelled any more


class RedisStore:
    """Windows shared by every process that uses the same server. Redis runs each script without interruption.

    A process that dies with calls under way leaves their reservations until the window ends.
    """

    def __init__(
        self, url: str, *, prefix: str = "{llmtrace:budget}:", timeout: float = 2.0, connect_timeout: float = 1.0
    ) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # Newer clients repeat a command for seconds; here only a connection that the server has closed is replaced.
        self._client: Any = redis.Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=connect_timeout, retry=Retry(NoBackoff(), 0)
        )
        self._lost: Any = redis.ConnectionError
        self._prefix = prefix
        self._calls = prefix.removesuffix(":") + "-call:"

    def run(self, steps: Sequence[Step]) -> list[Any]:
        """Run ``steps`` in one round trip; return the result of each, or the exception that it met.

        Raises:
            redis.RedisError: The server could not be reached, or did not answer in time.
        """
        try:
            results = self._run(steps)
        except self._lost:  # an idle connection, closed by a server that has been restarted
            results = self._run(steps)
        if any(isinstance(result, Exception) for result in results):
            # A replica that was the primary before, perhaps: find the primary anew.
            self._client.connection_pool.disconnect()
        return [
            result if isinstance(result, Exception) else _read(step, result)
            for step, result in zip(steps, results, strict=True)
        ]

    def _run(self, steps: Sequence[Step]) -> list[Any]:
        # The text of a script is sent each time: a server that was replaced does not know its hash.
        with self._client.pipeline(transaction=False) as pipeline:
            for step in steps:
                keys = [self._prefix + claim.key for claim in step.claims] + [self._calls + step.call]
                if step.spent is None:
                    pipeline.eval(_RESERVE, len(keys), *keys, *_reserve_arguments(step.claims))
                else:
                    pipeline.eval(_SETTLE, len(keys), *keys, *_settle_arguments(step.claims, step.spent))
            results: list[Any] = pipeline.execute(raise_on_error=False)
            return results


def _reserve_arguments(claims: Sequence[Claim]) -> list[Any]:
    arguments: list[Any] = []
    for claim in claims:
        arguments += (claim.limit, claim.amount, claim.seconds, "1" if claim.blocking else "0")
    return [*arguments, _CALL_SECONDS]


def _settle_arguments(claims: Sequence[Claim], spent: Sequence[int]) -> list[Any]:
    arguments: list[Any] = []
    for claim, amount in zip(claims, spent, strict=True):
        arguments += (amount, claim.seconds)
    return [*arguments, _SETTLED_SECONDS]


def _read(step: Step, result: Any) -> Reserved | list[int]:
    numbers = [int(number) for number in result]
    if step.spent is not None:
        return numbers
    refused, *amounts = numbers
    return Reserved(refused, [Balance(*pair) for pair in zip(amounts[::2], amounts[1::2], strict=True)])
