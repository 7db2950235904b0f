"""Results inside a response that are calls of their own, such as those of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from .._errors import attempt, log_internal_error
from ..context import state as context_state
from ..model import Request
from ..model.wire_format import WireFormat
from . import background, worker
from .call import CallState
from .services import CallServices

_MAX_ON_CALLER = 16
"""Maximum number of results that are recorded on the caller's thread: a batch may have many thousands."""
_PORTION = 64


def record_result(
    services: CallServices,
    client: str,
    wire_format: WireFormat,
    item: Any,
    provider: str,
    server: tuple[str, int] | None,
    context: Any,
) -> None:
    """Record a result as a call, once per process. Never raises.

    Args:
        services: What the call uses.
        client: Name of the client library.
        wire_format: Format of the result, whose request has the id of the result.
        item: The result.
        provider: Value of ``gen_ai.provider.name``.
        server: Host and port, if known.
        context: OpenTelemetry context of the caller that reads the result.
    """
    if (request := attempt("read a result", _claim, wire_format, item)) is not None:
        call = partial(CallState, services, client, wire_format, request, provider, server, parent_context=context)
        _record(call, item)


def _claim(wire_format: WireFormat, item: Any) -> Request | None:
    """Return the request of a result that this process has not recorded yet."""
    request = wire_format.request(item)
    return request if request.response_id is not None and background.claim(request.response_id) else None


def _record(make_call: Callable[[], CallState], item: Any) -> None:
    try:
        call = make_call()
        response = call.read_response(item)
        response.background = False  # claimed before
        if response.status == "cancelled":
            call.outcome = "cancelled"
        if response.status != "completed" and not response.usage:
            call.request_sent = False  # nothing was billed
        call.end(response)
    except Exception:
        log_internal_error("read a result")


def record_results(call: CallState, items: Iterable[Any], context: Any) -> None:
    """Record results that the response of ``call`` holds. Never raises."""
    start, wire_format = call.start, call.start.wire_format.results
    if wire_format is None:
        return
    claimed: list[Callable[[], None]] = []
    for item in items:
        if (request := attempt("read a result", _claim, wire_format, item)) is not None:
            target = call.services, start.client, wire_format, request, start.provider, start.server
            claimed.append(partial(_record, partial(CallState, *target, parent_context=context), item))
    if len(claimed) <= _MAX_ON_CALLER:
        _run(claimed)
        return
    portions = [partial(_run, claimed[index : index + _PORTION]) for index in range(0, len(claimed), _PORTION)]
    attempt("record the results of a batch", record_later, call.services, context, portions)


def _run(steps: Iterable[Callable[[], None]]) -> None:
    for step in steps:
        step()


def record_later(services: CallServices, context: Any, portions: Sequence[Callable[[], None]]) -> None:
    """Record results on the worker thread, in portions: the end of the process does not wait for one for long."""
    worker.start()
    done = [worker.submit(portion) for portion in portions]
    for calls in (*context_state.call_context_of(context).collectors, *services.recorders):
        for portion_done in done:
            calls.expect(portion_done)
