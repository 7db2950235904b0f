"""Results inside a response that are calls of their own, such as those of a batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._errors import log_internal_error
from ..model.wire_format import WireFormat
from . import background
from .call import CallState
from .services import CallServices


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
    try:
        request = wire_format.request(item)
        if request.response_id is None or not background.claim(request.response_id):
            return
        call = CallState(services, client, wire_format, request, provider, server, parent_context=context)
        response = call.read_response(item)
        response.background = False  # claimed above
        if response.status == "cancelled":
            call.outcome = "cancelled"
        if response.status != "completed" and not response.usage:
            call.request_sent = False  # nothing was billed
        call.end(response)
    except Exception:
        log_internal_error("read a result")


def record_results(call: CallState, items: Iterable[Any]) -> None:
    """Record results that the response of ``call`` holds. Never raises."""
    start, wire_format = call.start, call.start.wire_format.results
    if wire_format is None:
        return
    for item in items:
        record_result(call.services, start.client, wire_format, item, start.provider, start.server, call.parent_context)
