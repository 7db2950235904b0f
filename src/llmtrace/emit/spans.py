"""Calls as OpenTelemetry spans."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.trace import SpanKind, Tracer, get_current_span

from .._guard import report
from ..capture.call import OpenCall
from ..scope import context as scopes
from . import names
from .attributes import ADDED, DESCRIBERS, Attributes

__all__ = ["SpanEmitter"]


class SpanEmitter:
    """Starts a span with what samplers may see, and writes the rest at its end."""

    def __init__(self, tracer: Callable[[str], Tracer], *, error_messages: bool = False) -> None:
        self._tracer = tracer
        self.error_messages = error_messages

    def begin(self, call: OpenCall) -> None:
        if call.borrowed:
            call.span = get_current_span(call.outer)
            call.context = scopes.with_call(call.outer, call, call.span)
            return
        request = call.request
        attributes: Attributes = {names.OPERATION: request.operation, names.PROVIDER: call.provider}
        name = request.operation
        if request.model is not None:
            attributes[names.REQUEST_MODEL] = request.model
            name = name + " " + request.model
        if call.server is not None:
            attributes[names.SERVER_ADDRESS], attributes[names.SERVER_PORT] = call.server
        call.span = self._tracer(call.client).start_span(
            name, call.outer, kind=SpanKind.CLIENT, attributes=attributes, start_time=call.started_ns
        )
        call.context = scopes.with_call(call.outer, call, call.span)

    def end(self, call: OpenCall, end_time: int | None) -> None:
        span = call.span
        if span.is_recording():
            found: Attributes = {}
            for describe in ADDED if call.borrowed else DESCRIBERS:
                try:
                    describe(call, self, found)
                except Exception:
                    report("write a span")
            span.set_attributes(found)
        if not call.borrowed:
            span.end(end_time)
