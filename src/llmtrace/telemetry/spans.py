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

from .._errors import log_internal_error
from .._text import encodable
from ..capture.call import OpenCall
from ..context import inference_spans
from ..context import state as scopes
from . import names
from .attributes import CALL_DESCRIBERS, COMMON_DESCRIBERS, Attributes, Describer, describe_counts
from .bridges import add_bridges
from .content import Content, describe_content
from .content_policy import NO_CONTENT, ContentPolicy
from .costs import describe_cost
from .events import Events
from .fast_attributes import limits_of, make_encodable, set_attributes, set_lazily
from .joined_span import JoinedSpan, has_usage
from .operations import describe_context
from .start_attributes import StartAttributes
from .upload import Uploads

__all__ = ["SpanEmitter"]

DESCRIBERS: tuple[Describer, ...] = (*CALL_DESCRIBERS, describe_context)
"""Each writes one kind of knowledge; a fault in one costs what it writes and no more."""
JOINED_SPAN_DESCRIBERS: tuple[Describer, ...] = (
    describe_cost,
    describe_context,
    *(each for each in COMMON_DESCRIBERS if each is not describe_cost),
)
"""Those for the span of another instrumentation that represents the call, the most important first."""


class SpanEmitter:
    """Starts a span with what samplers may see, if they look, and writes the rest at its end."""

    def __init__(
        self,
        tracer: Callable[[str], Tracer],
        *,
        content: ContentPolicy = NO_CONTENT,
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
        self._onlookers = StartAttributes()

    def begin(self, call: OpenCall) -> None:
        if call.joins_existing_span is not None:
            call.span = JoinedSpan(call.joins_existing_span)
            call.span_context = scopes.with_call(call.parent_context, call, call.joins_existing_span)
            return
        if call.suppressed:
            current = get_current_span(call.parent_context)
            call.span = NonRecordingSpan(SpanContext(current.get_span_context().trace_id, INVALID_SPAN_ID, False))
            call.span_context = scopes.with_call(call.parent_context, call, current)
            return
        call.span = self._start(call, call.started_ns)
        call.span_context = scopes.with_call(call.parent_context, call, call.span)

    def _start(self, call: OpenCall, started_ns: int) -> Any:
        tracer = self._tracer(call.client)
        attributes = start_attributes(call) if self._onlookers.needed_by(tracer) else None
        if attributes is not None:
            make_encodable(attributes)
        model = call.request.model
        name = call.request.operation if model is None else call.request.operation + " " + model
        return tracer.start_span(
            encodable(name), call.parent_context, kind=SpanKind.CLIENT, attributes=attributes, start_time=started_ns
        )

    def defer(self, call: OpenCall) -> None:
        ended_by = threading.get_ident()

        def make(known: Collection[str]) -> Attributes:
            # Prices may still be loading: only a thread that exports may wait for them.
            pricer = call.services.pricer
            if threading.get_ident() == ended_by and pricer is not None and not pricer.ready:
                return self._described(call, [each for each in JOINED_SPAN_DESCRIBERS if each is not describe_cost])
            return self._beside(call, known)

        call.span.prepare(make, late=True)

    def end(self, call: OpenCall, end_time: int | None) -> None:
        if call.joins_existing_span is not None and self._join(call):
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
            refused = call.outcome in ("error", "blocked") and not call.response.usage
            if refused:
                inference_spans.release(call.joins_existing_span)
            # Made now, while the documents and the prompt are here whole.
            found = self._described(
                call, [each for each in JOINED_SPAN_DESCRIBERS if not (refused and each is describe_cost)]
            )
            counts = self._described(call, [describe_counts])
            joined.prepare(lambda known: found if has_usage(known) else {**counts, **found}, late=False)
        if not joined.missed or call.suppressed:
            return True
        call.usage_on_other_span = has_usage(getattr(joined.span, "attributes", None) or ())
        call.span, call.joins_existing_span = self._start(call, call.started_ns), None
        return False

    def _beside(self, call: OpenCall, known: Collection[str]) -> Attributes:
        found = self._described(call, JOINED_SPAN_DESCRIBERS)
        return found if has_usage(known) else {**self._described(call, [describe_counts]), **found}

    def _write_late(self, call: OpenCall) -> bool:
        """Have the attributes made when an exporter looks at them, where there is nothing else to write."""
        if call.error_type is not None or not self.content.with_mode(call.call_context.capture_content).records_nothing:
            return False
        return set_lazily(call.span, partial(self._build_late, call))

    def _build_late(self, call: OpenCall, known: dict[str, Any], limit: int) -> dict[str, Any]:
        return add_bridges(self._described(call, DESCRIBERS), self._bridges, known, limit, started=call.started_ns)

    def _write(self, call: OpenCall) -> None:
        span = call.span
        if not span.is_recording():
            return
        found = self._described(call, DESCRIBERS)
        try:
            self._write_content(call, found)
        except Exception:
            log_internal_error("write what was said")
        set_attributes(span, add_bridges(found, self._bridges, *limits_of(span), started=call.started_ns))

    def _described(self, call: OpenCall, describers: Sequence[Describer]) -> Attributes:
        found: Attributes = start_attributes(call) if describers is DESCRIBERS else {}
        for describe in describers:
            try:
                describe(call, self, found)
            except Exception:
                log_internal_error("write a span")
        self.content.clean(found)
        return found

    def _write_content(self, call: OpenCall, found: Attributes) -> None:
        """What was said: on the span, on the event, on both, as the gate has it."""
        gate = self.content.with_mode(call.call_context.capture_content)
        if call.content is None and not gate.emit_event:
            return
        events = self._events if gate.emit_event else None
        content = Content()
        if call.content is not None:
            partial = call.outcome != "ok" or (call.timing is not None and call.timing.stream_outcome != "exhausted")
            content = describe_content(
                call.content.request,
                call.content.output_messages(),
                gate.limited_to(call.span),
                operation=call.request.operation,
                partial=partial,
            )
        if self._uploads is not None and content.whole:
            found.update(self._uploads.send(content.whole))
        if events is not None:
            told = {**found, **(content.values if gate.event else {})}
            events.emit(names.DETAILS_EVENT, told, set_span_in_context(call.span, call.parent_context))
        if gate.span:
            found.update(content.attributes)


def start_attributes(call: OpenCall) -> Attributes:
    request = call.request
    attributes: Attributes = {names.OPERATION: request.operation, names.PROVIDER: call.provider}
    if request.model is not None:
        attributes[names.REQUEST_MODEL] = request.model
    if call.server is not None:
        attributes[names.SERVER_ADDRESS], attributes[names.SERVER_PORT] = call.server
    return attributes
