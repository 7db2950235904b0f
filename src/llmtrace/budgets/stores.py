"""Stores of budget spending: in this process, or in Redis for several processes.

Amounts are integers (millionths of a millionth of a USD, or tokens), so that sums are exact. A window has two of them:
the amount spent, and the amount reserved by calls under way. Each step contains the id of its call. Repeating a step
of a call changes nothing, so that a client that received no response can safely repeat it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

_MAX_WINDOWS = 50_000
"""Number of windows in memory above which expired ones are removed. A window that has not expired is never removed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An amount that a call reserves in one window."""

    key: str
    """Key of the window: budget name, share and start."""
    limit: int
    """Limit of the window."""
    amount: int
    """Amount to reserve: the maximum cost of the call."""
    seconds: int
    """Seconds for which the store keeps the window."""
    blocking: bool
    """True if the reservation is refused where it exceeds the limit."""


class Balance(NamedTuple):
    """Amounts of one window."""

    spent: int
    """Amount spent by calls that have ended."""
    reserved: int
    """Amount reserved by calls under way."""


class Reserved(NamedTuple):
    """The result of a reservation."""

    refused: int
    """Index of the first claim that exceeds its limit, or -1."""
    balances: list[Balance]
    """Balances of the windows before the reservation."""


@dataclass(slots=True)
class _Window:
    until: float
    """Monotonic time after which the window may be removed."""
    spent: int = 0
    reserved: int = 0


class MemoryStore:
    """A store in the memory of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}
        self._reserved: dict[str, list[tuple[_Window, int]]] = {}
        """Reserved amounts by call id."""
        self._max_windows = _MAX_WINDOWS

    def reserve(self, call: str, claims: Sequence[Claim]) -> Reserved:
        """Reserve all claims of ``call``, or none if one exceeds its limit."""
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
        """Replace the reservations of ``call`` with the amounts it spent; return the new totals of the windows."""
        with self._lock:
            for window, amount in self._reserved.pop(call, ()):
                window.reserved -= amount
            windows = [self._window(claim) for claim in claims]
            for window, amount in zip(windows, spent, strict=True):
                window.spent += amount
            return [window.spent for window in windows]

    def drain(self, timeout: float) -> bool:
        """Return True: settlements are stored at once."""
        return True

    def clear(self) -> None:
        """Remove all windows and reservations."""
        with self._lock:
            self._windows.clear()
            self._reserved.clear()

    def forked(self) -> None:
        """Replace the lock, which another thread may have held, and drop the reservations of the parent's calls."""
        self._lock = threading.Lock()
        self._reserved = {}
        for window in self._windows.values():
            window.reserved = 0

    def _window(self, claim: Claim) -> _Window:
        window = self._windows.get(claim.key)
        if window is None:
            now = monotonic()
            if len(self._windows) >= self._max_windows:
                self._windows = {key: kept for key, kept in self._windows.items() if kept.until > now}
                self._max_windows = max(_MAX_WINDOWS, 2 * len(self._windows))
            window = self._windows[claim.key] = _Window(now + claim.seconds)
        return window


_CALL_SECONDS = 86_400
"""Seconds after which the record of a reservation expires: a settlement after it no longer releases the amount."""
_SETTLED_SECONDS = 3_600
"""Seconds for which a repeated settlement is recognized."""


@dataclass(slots=True, eq=False)
class Step:
    """A reservation or settlement for a shared store, and the future of its result."""

    call: str
    """Id of the call."""
    claims: Sequence[Claim]
    spent: Sequence[int] | None = None
    """Amounts spent, of a settlement; ``None`` for a reservation."""
    future: Future[Any] = None  # type: ignore[assignment] # set in __post_init__

    def __post_init__(self) -> None:
        self.future = Future()
        self.future.set_running_or_notify_cancel()  # From here on it cannot be cancelled.


class RedisStore:
    """A store shared by every process that uses the same Redis server, which runs each script atomically.

    If a process dies with calls under way, their reservations stay until the window ends.
    """

    def __init__(
        self, url: str, *, prefix: str = "{llmtrace:budget}:", timeout: float = 2.0, connect_timeout: float = 1.0
    ) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # Turn retries off: newer clients repeat a command for seconds. `run` retries once on a closed connection.
        self._client: Any = redis.Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=connect_timeout, retry=Retry(NoBackoff(), 0)
        )
        self._connection_error: Any = redis.ConnectionError
        self._prefix = prefix
        self._calls = prefix.removesuffix(":") + "-call:"
        folder = Path(__file__).parent
        self._reserve, self._settle = ((folder / f"{name}.lua").read_text("utf-8") for name in ("reserve", "settle"))

    def run(self, steps: Sequence[Step]) -> list[Any]:
        """Run ``steps`` in one round trip; return for each its result, or the exception that it raised.

        Raises:
            redis.RedisError: The server could not be reached, or did not respond in time.
        """
        try:
            results = self._run(steps)
        except self._connection_error:
            # Retry once: a restarted server has closed the idle connection.
            results = self._run(steps)
        if any(isinstance(result, Exception) for result in results):
            # Reconnect: the server may have become a replica, and the name may now point to another primary.
            self._client.connection_pool.disconnect()
        return [
            result if isinstance(result, Exception) else _read(step, result)
            for step, result in zip(steps, results, strict=True)
        ]

    def _run(self, steps: Sequence[Step]) -> list[Any]:
        # Send the source of the script each time: a replaced server does not have its hash.
        with self._client.pipeline(transaction=False) as pipeline:
            for step in steps:
                keys = [self._prefix + claim.key for claim in step.claims] + [self._calls + step.call]
                script = self._reserve if step.spent is None else self._settle
                pipeline.eval(script, len(keys), *keys, *_arguments(step))
            results: list[Any] = pipeline.execute(raise_on_error=False)
            return results


def _arguments(step: Step) -> list[Any]:
    arguments: list[Any] = []
    if step.spent is None:
        for claim in step.claims:
            arguments += (claim.limit, claim.amount, claim.seconds, "1" if claim.blocking else "0")
        return [*arguments, _CALL_SECONDS]
    for claim, amount in zip(step.claims, step.spent, strict=True):
        arguments += (amount, claim.seconds)
    return [*arguments, _SETTLED_SECONDS]


def _read(step: Step, result: Any) -> Reserved | list[int]:
    numbers = [int(number) for number in result]
    if step.spent is not None:
        return numbers
    refused, *amounts = numbers
    return Reserved(refused, [Balance(*pair) for pair in zip(amounts[::2], amounts[1::2], strict=True)])
