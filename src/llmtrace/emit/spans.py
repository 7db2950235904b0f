"""Calls as OpenTelemetry spans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from opentelemetry.trace import SpanKind, Tracer, get_current_span, set_span_in_context

from .._guard import report
from ..capture.call import OpenCall
from ..scope import context as scopes
from . import names
from .attributes import ADDED, OF_CALL, Attributes, Describer
from .bridges import finished
from .bulk import room, set_all, set_late
from .content import Content, describe_content
from .gate import OFF, Gate
from .logs import Events
from .onlookers import Onlookers
from .scope import describe_scope
from .upload import Uploads

__all__ = ["SpanEmitter"]

DESCRIBERS: tuple[Describer, ...] = (*OF_CALL, describe_scope)
"""Each writes one kind of knowledge; a fault in one costs what it writes and no more."""
BESIDE: tuple[Describer, ...] = (*ADDED, describe_scope)
"""Those for the span of another instrumentation, where that stands for the call."""


class SpanEmitter:
    """Starts a span with what samplers may see, if they look, and writes the rest at its end."""

    def __init__(
        self,
        tracer: Callable[[str], Tracer],
        *,
        content: Gate = OFF,
        events: Events | None = None,
        bridges: Callable[[], Sequence[str]] | None = None,
        uploads: Uploads | None = None,
    ) -> None:
        self._tracer = tracer
        self.content = content
        self._events = events
        self._bridges = bridges
        """Those to apply here, where no exporter of ours will."""
        self._uploads = uploads
        self._onlookers = Onlookers()

    def begin(self, call: OpenCall) -> None:
        if call.borrowed:
            call.span = get_current_span(call.outer)
            call.context = scopes.with_call(call.outer, call, call.span)
            return
        tracer = self._tracer(call.client)
        attributes = _known_at_start(call) if self._onlookers.of(tracer) else None
        model = call.request.model
        name = call.request.operation if model is None else call.request.operation + " " + model
        call.span = tracer.start_span(
            name, call.outer, kind=SpanKind.CLIENT, attributes=attributes, start_time=call.started_ns
        )
        call.context = scopes.with_call(call.outer, call, call.span)

    def end(self, call: OpenCall, end_time: int | None) -> None:
        try:
            if not self._write_late(call):
                self._write(call)
        finally:  # a redactor may be interrupted by the user
            if not call.borrowed:
                call.span.end(end_time)

    def _write_late(self, call: OpenCall) -> bool:
        """Have the attributes made when an exporter looks at them, where there is nothing else to write."""
        if call.borrowed or call.error_type is not None or not self.content.within(call.scope.capture_content).closed:
            return False
        return set_late(call.span, partial(self._late, call))

    def _late(self, call: OpenCall, known: dict[str, Any], limit: int) -> dict[str, Any]:
        return finished(self._described(call), self._bridges, known, limit, started=call.started_ns)

    def _write(self, call: OpenCall) -> None:
        span = call.span
        if not span.is_recording():
            return
        found = self._described(call)
        if not call.borrowed:
            try:
                self._write_content(call, found)
            except Exception:
                report("write what was said")
            found = finished(found, self._bridges, *room(span), started=call.started_ns)
        set_all(span, found)

    def _described(self, call: OpenCall) -> Attributes:
        found: Attributes = {} if call.borrowed else _known_at_start(call)
        for describe in BESIDE if call.borrowed else DESCRIBERS:
            try:
                describe(call, self, found)
            except Exception:
                report("write a span")
        self.content.clean(found)
        return found

    def _write_content(self, call: OpenCall, found: Attributes) -> None:
        """What was said: on the span, on the event, on both, as the gate has it."""
        gate = self.content.within(call.scope.capture_content)
        if call.heard is None and not gate.emit_event:
            return
        events = self._events if gate.emit_event else None
        content = Content()
        if call.heard is not None:
            partial = call.outcome != "ok" or (call.timing is not None and call.timing.end != "exhausted")
            content = describe_content(
                call.heard.asked,
                call.heard.said(),
                gate.fitting(call.span),
                operation=call.request.operation,
                partial=partial,
            )
        if self._uploads is not None and content.whole:
            found.update(self._uploads.send(content.whole))
        if events is not None:
            told = {**found, **(content.values if gate.event else {})}
            events.emit(names.DETAILS_EVENT, told, set_span_in_context(call.span, call.outer))
        if gate.span:
            found.update(content.attributes)


def _known_at_start(call: OpenCall) -> Attributes:
    request = call.request
    attributes: Attributes = {names.OPERATION: request.operation, names.PROVIDER: call.provider}
    if request.model is not None:
        attributes[names.REQUEST_MODEL] = request.model
    if call.server is not None:
        attributes[names.SERVER_ADDRESS], attributes[names.SERVER_PORT] = call.server
    return attributes
