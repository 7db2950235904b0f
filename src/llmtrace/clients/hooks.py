"""What every hook does: open a call, let the SDK work inside it, settle. Sync and async differ here only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .._guard import report
from ..capture.background import FETCH
from ..capture.call import OpenCall
from ..capture.tracing import Tracing
from ..facts import Request
from ..scope import context as scopes
from ..wire._format import WireFormat
from ..wire._parameters import read_parameters

__all__ = ["begin", "drive", "drive_async"]

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
    request.sent = read_parameters(body)
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


def _admit(call: OpenCall) -> None:
    """Raise what stands against the call, before its request leaves."""
    admit = call.tracing.admit
    # A fetch adds no cost of its own: refusing it would withhold an answer that is already paid for.
    if admit is None or call.request.operation == FETCH:
        return
    refusal = None
    try:
        refusal = admit(call)
    except Exception:
        report("ask the budgets")
    if refusal is not None:
        call.refuse(refusal)
        raise refusal


def drive(call: OpenCall, settle: Settle, wrapped: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    _admit(call)
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
    _admit(call)
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


def _fail(call: OpenCall, error: BaseException) -> None:
    try:
        if call.asked_usage and call.tracing.stream_usage is not None:
            call.tracing.stream_usage.failed(call, error)
        call.fail(error)
    except Exception:
        report("end a failed call")
