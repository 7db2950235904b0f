"""Where budgets keep what has been spent: in this process, or in Redis for a fleet.

Amounts are whole numbers (millionths of a millionth of a USD, or tokens), so that adding up loses nothing. A window
holds two of them: what was spent, and what calls still under way have reserved.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

__all__ = ["Claim", "MemoryStore", "RedisStore", "Store"]

_MANY = 50_000
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


class Store(Protocol):
    def reserve(self, claims: Sequence[Claim]) -> tuple[int, list[int]]:
        """Reserve all claims or none. The index of the first that does not fit, or -1, and what each window holds."""

    def settle(self, claims: Sequence[Claim], spent: Sequence[int]) -> list[int]:
        """Replace what was reserved by what was spent; what each window has spent now."""


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
        self._most = _MANY

    def reserve(self, claims: Sequence[Claim]) -> tuple[int, list[int]]:
        with self._lock:
            windows = [self._window(claim) for claim in claims]
            held = [window.spent + window.reserved for window in windows]
            for index, (claim, sum_) in enumerate(zip(claims, held, strict=True)):
                if claim.blocking and (sum_ >= claim.limit or sum_ + claim.amount > claim.limit):
                    return index, held
            for window, claim in zip(windows, claims, strict=True):
                window.reserved += claim.amount
            return -1, held

    def settle(self, claims: Sequence[Claim], spent: Sequence[int]) -> list[int]:
        with self._lock:
            windows = [self._window(claim) for claim in claims]
            for window, claim, amount in zip(windows, claims, spent, strict=True):
                window.reserved = max(0, window.reserved - claim.amount)
                window.spent += amount
            return [window.spent for window in windows]

    def forked(self) -> None:
        """In a child process: forget a lock that another thread held, and what only the parent's calls reserved."""
        self._lock = threading.Lock()
        for window in self._windows.values():
            window.reserved = 0

    def _window(self, claim: Claim) -> _Window:
        found = self._windows.get(claim.key)
        if found is None:
            now = monotonic()
            if len(self._windows) >= self._most:
                self._windows = {key: window for key, window in self._windows.items() if window.until > now}
                self._most = max(_MANY, 2 * len(self._windows))
            found = self._windows[claim.key] = _Window(now + claim.seconds)
        return found


_RESERVE = """
local held = {}
local refused = -1
for i = 1, #KEYS do
  local window = redis.call('HMGET', KEYS[i], 'spent', 'reserved')
  held[i] = (tonumber(window[1]) or 0) + (tonumber(window[2]) or 0)
  local limit, amount = tonumber(ARGV[i * 4 - 3]), tonumber(ARGV[i * 4 - 2])
  if refused < 0 and ARGV[i * 4] == '1' and (held[i] >= limit or held[i] + amount > limit) then refused = i - 1 end
end
if refused < 0 then
  for i = 1, #KEYS do
    redis.call('HINCRBY', KEYS[i], 'reserved', ARGV[i * 4 - 2])
    redis.call('EXPIRE', KEYS[i], ARGV[i * 4 - 1])
  end
end
local answer = {refused}
for i = 1, #KEYS do answer[i + 1] = string.format('%d', held[i]) end
return answer
"""
_SETTLE = """
local answer = {}
for i = 1, #KEYS do
  redis.call('HINCRBY', KEYS[i], 'reserved', ARGV[i * 3 - 2])
  answer[i] = redis.call('HINCRBY', KEYS[i], 'spent', ARGV[i * 3 - 1])
  redis.call('EXPIRE', KEYS[i], ARGV[i * 3])
end
return answer
"""


class RedisStore:
    """Windows shared by every process that uses the same server. Both steps are scripts, which Redis runs whole.

    A process that dies with calls under way leaves their reservations until the window ends.
    """

    def __init__(self, url: str, *, prefix: str = "{llmtrace:budget}:", timeout: float = 0.5) -> None:
        import redis

        self._client: Any = redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        self._prefix = prefix
        self._reserve = self._client.register_script(_RESERVE)
        self._settle = self._client.register_script(_SETTLE)

    def reserve(self, claims: Sequence[Claim]) -> tuple[int, list[int]]:
        arguments = [
            value
            for claim in claims
            for value in (claim.limit, claim.amount, claim.seconds, "1" if claim.blocking else "0")
        ]
        refused, *held = self._reserve(keys=self._keys(claims), args=arguments)
        return int(refused), [int(sum_) for sum_ in held]

    def settle(self, claims: Sequence[Claim], spent: Sequence[int]) -> list[int]:
        arguments = [
            value
            for claim, amount in zip(claims, spent, strict=True)
            for value in (-claim.amount, amount, claim.seconds)
        ]
        return [int(sum_) for sum_ in self._settle(keys=self._keys(claims), args=arguments)]

    def _keys(self, claims: Sequence[Claim]) -> list[str]:
        return [self._prefix + claim.key for claim in claims]
