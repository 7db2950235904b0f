"""Calls of libraries that choose a vendor, repeat requests, and fall back to other models."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any


class RefusalCarrier(BaseException):
    """Carrier of a refusal to the routing library's hook, which raises the refusal itself.

    The library would answer an ``Exception`` with a retry or another model.
    """

    def __init__(self, refusal: Exception) -> None:
        super().__init__(refusal)
        self.refusal: Exception = refusal


class RoutedCall:
    """Context manager for a call of a routing library. It stops a refusal, which the hook raises after it.

    Args:
        context: The OpenTelemetry context of the caller, if it is not the current one.
        provider: The value of ``gen_ai.provider.name``, once the library has chosen it.
    """

    __slots__ = ("_outer", "_token", "active", "body", "context", "provider", "refusal")

    def __init__(self, context: Any = None, provider: str | None = None) -> None:
        self.context: Any = context
        self.provider: str | None = provider
        self.body: Callable[[], Any] | None = None
        """Reference to the observed body of its last response."""
        self.active: bool = True
        """False once the call has returned: tasks that it has started may live longer."""
        self.refusal: Exception

    def __enter__(self) -> RoutedCall:
        self._outer = current_routed_call()
        self._token = _current.set(self)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        self.active = False
        with suppress(ValueError):  # a coroutine closed in another context than it was entered in
            _current.reset(self._token)
        if self._outer is not None or not isinstance(error, RefusalCarrier):
            return False
        self.refusal = error.refusal
        return True


_current: ContextVar[RoutedCall | None] = ContextVar("llmtrace-routed-call", default=None)


def current_routed_call() -> RoutedCall | None:
    """Return the innermost call of a routing library that is under way in this thread or task."""
    routed = _current.get()
    return routed if routed is not None and routed.active else None


def route(wrapped: Any, instance: Any, args: Any, kwargs: Any, call: RoutedCall | None = None) -> Any:
    """Call a function of the library. A refusal passes its retries and fallbacks and reaches the caller as it is."""
    with call or RoutedCall() as routed:
        return wrapped(*args, **kwargs)
    raise routed.refusal


async def route_async(wrapped: Any, instance: Any, args: Any, kwargs: Any, call: RoutedCall | None = None) -> Any:
    """Await a function of the library. A refusal passes its retries and fallbacks and reaches the caller as it is."""
    with call or RoutedCall() as routed:
        return await wrapped(*args, **kwargs)
    raise routed.refusal
