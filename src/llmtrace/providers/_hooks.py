"""Steps that all hooks share: open a call, run the SDK inside it, end it. Sync and async differ here only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NoReturn

from .._errors import attempt, log_internal_error
from ..capture.background import FETCH
from ..capture.call import CallState
from ..capture.failure import http_status, may_have_been_sent
from ..capture.services import CallServices
from ..context import state as context_state
from ..context.operations import agent_of
from ..model import INFERENCE_OPERATIONS, Request, Response
from ..model.wire_format import WireFormat
from ._parameters import read_parameters
from ._routing import RefusalCarrier, current_routed_call
from .contract import Provider

Settle = Callable[[CallState, Any], None]


def begin(
    services: CallServices,
    provider: Provider,
    wire_format: WireFormat,
    request: Request,
    vendor: str,
    server: tuple[str, int] | None,
    body: Any = None,
) -> CallState:
    """Open a call to ``vendor``. It is counted and priced even when it gets no span of its own."""
    request.vendor_params = request.vendor_params or read_parameters(body)
    routed = current_routed_call()
    context = context_state.current() if routed is None or routed.context is None else routed.context
    return CallState(services, provider.name, wire_format, request, vendor, server, body, context)


def _admit(call: CallState) -> Any:
    """Return an exception that refuses the call before its request is sent, a pending verdict, or ``None``."""
    budgets = call.services.budgets
    # A fetch adds no cost of its own: refusing it would withhold a response that is already paid for.
    if budgets is None or call.retries > 0 or call.start.request.operation == FETCH:
        return None
    try:
        call.reservation, verdict = budgets.admit(call.start)
    except Exception:
        log_internal_error("check the budgets")
        return None
    return verdict


def _check_budgets(call: CallState, verdict: Any) -> None:
    refusal = verdict if isinstance(verdict, Exception) else None
    if refusal is None:
        with _waiting(call):
            refusal = verdict.wait()
    if refusal is not None:
        _refuse(call, refusal)


async def _check_budgets_async(call: CallState, verdict: Any) -> None:
    refusal = verdict if isinstance(verdict, Exception) else None
    if refusal is None:
        with _waiting(call):
            refusal = await verdict.wait_async()
    if refusal is not None:
        _refuse(call, refusal)


def _refuse(call: CallState, refusal: Exception) -> NoReturn:
    attempt("refuse a call", call.block, refusal)
    raise refusal if current_routed_call() is None else RefusalCarrier(refusal)


@contextmanager
def _waiting(call: CallState) -> Iterator[None]:
    """Suppress errors of a budget store inside the block, and end the call if the block is interrupted."""
    try:
        yield
    except Exception:
        log_internal_error("check the budgets")
    except BaseException as error:  # interrupted or cancelled
        call.request_sent = False
        _fail(call, error)
        raise


def drive(call: CallState, settle: Settle, wrapped: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run ``wrapped`` inside ``call`` and end the call with ``settle``. A budget may refuse the call first."""
    verdict = _admit(call)
    if verdict is not None:
        _check_budgets(call, verdict)
    token = _attach(call)
    try:
        result = wrapped(*args, **kwargs)
    except BaseException as error:
        _detach(call, token, error)
        _fail(call, error)
        raise
    _complete(call, token, settle, result)
    return result


async def drive_async(
    call: CallState, settle: Settle, wrapped: Callable[..., Awaitable[Any]], args: Any, kwargs: Any
) -> Any:
    """Await ``wrapped`` inside ``call`` and end the call with ``settle``. A budget may refuse the call first."""
    verdict = _admit(call)
    if verdict is not None:
        await _check_budgets_async(call, verdict)
    token = _attach(call)
    try:
        result = await wrapped(*args, **kwargs)
    except BaseException as error:
        _detach(call, token, error)
        _fail(call, error)
        raise
    _complete(call, token, settle, result)
    return result


def record_failed_attempt(call: CallState, error: BaseException | None) -> None:
    """Mark the call as sent if an attempt failed after its request was sent: the provider may bill it."""
    try:
        if error is None or call.request_sent or getattr(error, "response", None) is not None:  # the provider responded
            return
        if may_have_been_sent(error):
            call.request_sent = True
    except Exception:
        log_internal_error("record a failed attempt")


def _attach(call: CallState) -> Any:
    try:
        if call.start.call_context.agent is not None and call.start.request.operation in INFERENCE_OPERATIONS:
            agent = agent_of(call.parent_context)
            if agent is not None:
                next(agent.inference_calls)
        return context_state.attach(call.span_context)
    except Exception:
        log_internal_error("make a call current")
        return None


def _detach(call: CallState, token: Any, error: BaseException | None) -> None:
    if token is None:
        return
    try:
        context_state.detach(token, call.span_context, call.parent_context, error)
    except Exception:
        with suppress(Exception):
            context_state.attach(call.parent_context)
        log_internal_error("make the caller's context current again")


def _complete(call: CallState, token: Any, settle: Settle, result: Any) -> None:
    """Make the caller's context current again and end the call with ``settle``. Never raises."""
    _detach(call, token, None)
    try:
        settle(call, result)
    except Exception:
        end_without_response(call)
        log_internal_error("read a response")


_failed: ContextVar[list[CallState] | None] = ContextVar("llmtrace-failed-calls", default=None)
"""Call whose latest request has failed, inside a method that repeats its request until one succeeds."""


@contextmanager
def _repeating() -> Iterator[None]:
    failed: list[CallState] = []
    token = _failed.set(failed)
    try:
        yield
    except BaseException as error:
        for call in failed:
            _end_failed(call, error)
        raise
    finally:
        _failed.reset(token)


def repeat(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """Call a method that repeats its request until one succeeds: they are one call."""
    with _repeating():
        return wrapped(*args, **kwargs)


async def repeat_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """Await a method that repeats its request until one succeeds: they are one call."""
    with _repeating():
        return await wrapped(*args, **kwargs)


def begin_repeated(begin: Callable[[], CallState | None]) -> CallState | None:
    """Return the call that a request repeats, or else the one that ``begin`` opens."""
    failed = _failed.get()
    if not failed:
        return begin()
    call = failed.pop()
    call.retries += 1
    return call


def end_without_response(call: CallState) -> None:
    """End a call whose response cannot be read. Never raises."""
    attempt("end a call", lambda: call.end(Response()))


def current_call() -> CallState | None:
    """Return the call whose request an SDK is processing in this thread or task."""
    try:
        call = context_state.current_call()
    except Exception:
        log_internal_error("find the current call")
        return None
    return call if isinstance(call, CallState) else None


def _fail(call: CallState, error: BaseException) -> None:
    failed = _failed.get()
    if failed is not None:  # the next request continues the call, or the method ends it
        failed.append(call)
        if http_status(error) is None:
            record_failed_attempt(call, error)
        return
    _end_failed(call, error)


def _end_failed(call: CallState, error: BaseException) -> None:
    if call.injected_include_usage and call.services.stream_usage is not None:
        attempt("record a rejected request", call.services.stream_usage.on_error, call.start, error)
    attempt("end a failed call", call.fail, error)
