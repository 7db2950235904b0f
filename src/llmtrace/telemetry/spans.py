"""Calls as OpenTelemetry spans."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from opentelemetry.trace import (
    INVALID_SPAN_ID,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from .._errors import report
from .._text import encodable
from ..capture.call import OpenCall
from ..context import inference_spans
from ..context import state as scopes
from . import names
from .attributes import ADDED, OF_CALL, Attributes, Describer, describe_counts
from .bridges import finished
from .content import Content, describe_content
from .content_policy import OFF, Gate
from .costs import describe_cost
from .events import Events
from .fast_attributes import make_encodable, room, set_all, set_late
from .joined_span import JoinedSpan, has_usage
from .operations import describe_scope
from .start_attributes import Onlookers
from .upload import Uploads

__all__ = ["SpanEmitter"]

DESCRIBERS: tuple[Describer, ...] = (*OF_CALL, describe_scope)
"""Each writes one kind of knowledge; a fault in one costs what it writes and no more."""
BESIDE: tuple[Describer, ...] = (describe_cost, describe_scope, *(each for each in ADDED if each is not describe_cost))
"""Those for the span of another instrumentation that represents the call, the most important first."""


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
        if call.borrowed is not None:
            call.span = JoinedSpan(call.borrowed)
            call.context = scopes.with_call(call.outer, call, call.borrowed)
            return
        if call.suppressed:
            current = get_current_span(call.outer)
            call.span = NonRecordingSpan(SpanContext(current.get_span_context().trace_id, INVALID_SPAN_ID, False))
            call.context = scopes.with_call(call.outer, call, current)
            return
        call.span = self._start(call, call.started_ns)
        call.context = scopes.with_call(call.outer, call, call.span)

    def _start(self, call: OpenCall, started_ns: int) -> Any:
        tracer = self._tracer(call.client)
        attributes = _known_at_start(call) if self._onlookers.of(tracer) else None
        if attributes is not None:
            make_encodable(attributes)
        model = call.request.model
        name = call.request.operation if model is None else call.request.operation + " " + model
        return tracer.start_span(
            encodable(name), call.outer, kind=SpanKind.CLIENT, attributes=attributes, start_time=started_ns
        )

    def defer(self, call: OpenCall) -> None:
        ended_by = threading.get_ident()

        def make(known: Collection[str]) -> Attributes:
            # Prices may still be loading: only a thread that exports may wait for them.
            pricer = call.tracing.pricer
            if threading.get_ident() == ended_by and pricer is not None and not pricer.ready:
                return self._described(call, [each for each in BESIDE if each is not describe_cost])
            return self._beside(call, known)

        call.span.prepare(make, late=True)

    def end(self, call: OpenCall, end_time: int | None) -> None:
        if call.borrowed is not None and self._join(call):
            return
        try:
            if not self._write_late(call):
                self._write(call)
        finally:  # a redactor may be interrupted by the user
            call.span.end(end_time)

    def _join(self, call: OpenCall) -> bool:
        """Complete the span of another instrumentation; false where that has ended, and ours has to be made."""
        joined: JoinedSpan = call.span
        if not joined.missed:
            refused = call.outcome in ("error", "blocked") and not call.answer.usage
            if refused:
                inference_spans.release(call.borrowed)
            # Made now, while the documents and the prompt are here whole.
            found = self._described(call, [each for each in BESIDE if not (refused and each is describe_cost)])
            counts = self._described(call, [describe_counts])
            joined.prepare(lambda known: found if has_usage(known) else {**counts, **found}, late=False)
        if not joined.missed or call.suppressed:
            return True
        call.usage_elsewhere = has_usage(getattr(joined.span, "attributes", None) or ())
        call.span, call.borrowed = self._start(call, call.started_ns), None
        return False

    def _beside(self, call: OpenCall, known: Collection[str]) -> Attributes:
        found = self._described(call, BESIDE)
        return found if has_usage(known) else {**self._described(call, [describe_counts]), **found}

    def _write_late(self, call: OpenCall) -> bool:
        """Have the attributes made when an exporter looks at them, where there is nothing else to write."""
        if call.error_type is not None or not self.content.within(call.scope.capture_content).closed:
            return False
        return set_late(call.span, partial(self._late, call))

    def _late(self, call: OpenCall, known: dict[str, Any], limit: int) -> dict[str, Any]:
        return finished(self._described(call, DESCRIBERS), self._bridges, known, limit, started=call.started_ns)

    def _write(self, call: OpenCall) -> None:
        span = call.span
        if not span.is_recording():
            return
        found = self._described(call, DESCRIBERS)
        try:
            self._write_content(call, found)
        except Exception:
            report("write what was said")
        set_all(span, finished(found, self._bridges, *room(span), started=call.started_ns))

    def _described(self, call: OpenCall, describers: Sequence[Describer]) -> Attributes:
        found: Attributes = _known_at_start(call) if describers is DESCRIBERS else {}
        for describe in describers:
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
