"""What every hook does: open a call, let the SDK work inside it, settle. Sync and async differ here only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .._guard import report
from ..capture.background import FETCH
from ..capture.call import OpenCall
from ..capture.failure import may_have_been_sent
from ..capture.tracing import Tracing
from ..facts import Request
from ..scope import context as scopes
from ..wire._format import WireFormat

__all__ = ["begin", "drive", "drive_async", "note_failed_attempt"]

Settle = Callable[[OpenCall, Any], None]


def begin(
    tracing: Tracing,
    client: str,
    wire: WireFormat,
    request: Request,
    *,
    provider: str,
    server: tuple[str, int] | None,
    body: Any = None,
) -> OpenCall | None:
    """Open a call; ``None`` where somebody else accounts for it."""
    outer = scopes.current()
    if scopes.suppressed(outer):
        return None
    return OpenCall(
        tracing,
        client,
        wire,
        request,
        provider=provider,
        server=server,
        body=body,
        outer=outer,
    )


def _admit(call: OpenCall) -> Any:
    """Return what stands against the call before its request leaves: an exception, a pending verdict, or nothing."""
    admit = call.tracing.admit
    # A fetch adds no cost of its own: refusing it would withhold an answer that is already paid for.
    if admit is None or call.request.operation == FETCH:
        return None
    try:
        return admit(call)
    except Exception:
        report("ask the budgets")
        return None


def _check_budgets(call: OpenCall) -> None:
    verdict = _admit(call)
    if verdict is None:
        return
    if not isinstance(verdict, Exception):
        verdict = _waiting(call, verdict.wait)
    if verdict is not None:
        call.refuse(verdict)
        raise verdict


async def _check_budgets_async(call: OpenCall, verdict: Any) -> None:
    if not isinstance(verdict, Exception):
        try:
            verdict = await verdict.wait_async()
        except Exception:
            report("ask the budgets")
            verdict = None
        except BaseException as error:  # cancelled while it waited
            call.sent = False
            _fail(call, error)
            raise
    if verdict is not None:
        call.refuse(verdict)
        raise verdict


def _waiting(call: OpenCall, wait: Callable[[], Any]) -> Any:
    try:
        return wait()
    except Exception:
        report("ask the budgets")
        return None
    except BaseException as error:  # interrupted while it waited
        call.sent = False
        _fail(call, error)
        raise


def drive(call: OpenCall, settle: Settle, wrapped: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    _check_budgets(call)
    token = scopes.attach(call.context)
    try:
        result = wrapped(*args, **kwargs)
    except BaseException as error:
        scopes.detach(token, call.context, call.outer, error)
        _fail(call, error)
        raise
    scopes.detach(token, call.context, call.outer, None)
    settle(call, result)
    return result


async def drive_async(
    call: OpenCall, settle: Settle, wrapped: Callable[..., Awaitable[Any]], args: Any, kwargs: Any
) -> Any:
    verdict = _admit(call)
    if verdict is not None:
        await _check_budgets_async(call, verdict)
    token = scopes.attach(call.context)
    try:
        result = await wrapped(*args, **kwargs)
    except BaseException as error:
        scopes.detach(token, call.context, call.outer, error)
        _fail(call, error)
        raise
    scopes.detach(token, call.context, call.outer, None)
    settle(call, result)
    return result


def note_failed_attempt(call: OpenCall, error: BaseException | None) -> None:
    """Record that an attempt broke after its request had left: the provider may bill it."""
    try:
        if error is None or call.sent or getattr(error, "response", None) is not None:  # answered with a status
            return
        if may_have_been_sent(error):
            call.sent = True
    except Exception:
        report("read a failed attempt")


def _fail(call: OpenCall, error: BaseException) -> None:
    try:
        if call.asked_usage and call.tracing.stream_usage is not None:
            call.tracing.stream_usage.failed(call, error)
        call.fail(error)
    except Exception:
        report("end a failed call")
