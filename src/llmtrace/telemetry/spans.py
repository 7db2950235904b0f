"""Spans of calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from opentelemetry._logs import SeverityNumber
from opentelemetry.trace import (
    INVALID_SPAN_ID,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from .._compat.span_attributes import limits_of, make_encodable, set_attributes, set_lazily
from .._errors import log_internal_error
from .._settings.environment import variable
from .._text import encodable
from ..capture.call import OpenCall
from ..context import inference_spans
from ..context import state as context_state
from . import names
from .attributes import CALL_DESCRIBERS, COMMON_DESCRIBERS, Attributes, Describer, describe_counts, describe_exception
from .bridges import add_bridges
from .content import Content, describe_content
from .content_policy import NO_CONTENT, ContentPolicy
from .costs import describe_cost
from .events import Events
from .joined_span import JoinedSpan, has_usage
from .operations import describe_context
from .start_attributes import StartAttributes
from .upload import Uploads

__all__ = ["SpanEmitter"]

DESCRIBERS: tuple[Describer, ...] = (*CALL_DESCRIBERS, describe_context)
"""Describers of the span of a call; an error in one loses only the attributes of that one."""
JOINED_SPAN_DESCRIBERS: tuple[Describer, ...] = (
    describe_cost,
    describe_context,
    *(describe for describe in COMMON_DESCRIBERS if describe is not describe_cost),
)
"""Describers for the span of another instrumentation that represents the call, most important first."""


class SpanEmitter:
    """Emitter of one span per call; most attributes are written when the call ends or when an exporter reads them."""

    def __init__(
        self,
        tracer: Callable[[str], Tracer],
        *,
        content: ContentPolicy = NO_CONTENT,
        events: Events | None = None,
        bridges: Callable[[], Sequence[str]] | None = None,
        uploads: Uploads | None = None,
        proposed_cost: bool = False,
    ) -> None:
        self._tracer = tracer
        self.content = content
        self.proposed_cost = proposed_cost
        """Write ``gen_ai.usage.cost.*`` as proposed for the conventions, in place of ``gen_ai.usage.cost``."""
        self._events = events
        self._bridges = bridges
        """Names of the bridges to apply here, since no exporter of llmtrace will apply them."""
        self._uploads = uploads
        self._start_attributes = StartAttributes()

    def begin(self, call: OpenCall) -> None:
        """Set the span of ``call``: a new one, or that of another instrumentation which traces the same call.

        The span is a non-recording one if the application or another instrumentation suppresses instrumentation.
        """
        if call.joins_existing_span is not None:
            call.span = JoinedSpan(call.joins_existing_span)
            call.span_context = context_state.with_call(call.parent_context, call, call.joins_existing_span)
            return
        if call.suppressed:
            current = get_current_span(call.parent_context)
            call.span = NonRecordingSpan(SpanContext(current.get_span_context().trace_id, INVALID_SPAN_ID, False))
            call.span_context = context_state.with_call(call.parent_context, call, current)
            return
        call.span = self._start(call, call.started_ns)
        call.span_context = context_state.with_call(call.parent_context, call, call.span)

    def _start(self, call: OpenCall, started_ns: int) -> Any:
        tracer = self._tracer(call.client)
        attributes = start_attributes(call) if self._start_attributes.needed_by(tracer) else None
        if attributes is not None:
            make_encodable(attributes)
        name, model = call.request.operation, call.request.model
        if model is not None and name != "invoke_agent":  # which has the name of an agent, if any
            name += " " + model
        return tracer.start_span(
            encodable(name), call.parent_context, kind=SpanKind.CLIENT, attributes=attributes, start_time=started_ns
        )

    def defer(self, call: OpenCall) -> None:
        """Prepare the joined span of a call that is not priced yet, to be completed when an exporter reads it."""
        ending_thread = threading.get_ident()

        def make(existing: Collection[str]) -> Attributes:
            # Omit the cost in the thread that ends the call while prices load: only exporters may wait for them.
            pricer = call.services.pricer
            if threading.get_ident() == ending_thread and pricer is not None and not pricer.ready:
                return self._described(
                    call, [describe for describe in JOINED_SPAN_DESCRIBERS if describe is not describe_cost]
                )
            return self._joined_attributes(call, existing)

        call.span.prepare(make, late=True)

    def end(self, call: OpenCall, end_time: int | None) -> None:
        """Write the attributes of ``call`` and end its span.

        Args:
            call: The call.
            end_time: Nanoseconds since the epoch, ``None`` for now.
        """
        if call.joins_existing_span is not None and self._join(call):
            return
        try:
            if not self._write_lazily(call):
                self._write(call)
        finally:  # the user may interrupt a redactor
            call.span.end(end_time)

    def _join(self, call: OpenCall) -> bool:
        """Complete the span of another instrumentation.

        Returns:
            False if that span has already ended, so a new span has been started.
        """
        joined: JoinedSpan = call.span
        if not joined.missed:
            failed_without_usage = call.outcome in ("error", "blocked") and not call.response.usage
            if failed_without_usage:
                inference_spans.release(call.joins_existing_span)
            # Compute the attributes now, while documents and prompt are available.
            attributes = self._described(
                call,
                [
                    describe
                    for describe in JOINED_SPAN_DESCRIBERS
                    if not (failed_without_usage and describe is describe_cost)
                ],
            )
            counts = self._described(call, [describe_counts])
            joined.prepare(lambda existing: attributes if has_usage(existing) else {**counts, **attributes}, late=False)
        if not joined.missed or call.suppressed:
            return True
        call.usage_on_other_span = has_usage(getattr(joined.span, "attributes", None) or ())
        call.span, call.joins_existing_span = self._start(call, call.started_ns), None
        return False

    def _joined_attributes(self, call: OpenCall, existing: Collection[str]) -> Attributes:
        attributes = self._described(call, JOINED_SPAN_DESCRIBERS)
        return attributes if has_usage(existing) else {**self._described(call, [describe_counts]), **attributes}

    def _write_lazily(self, call: OpenCall) -> bool:
        """Postpone the attributes until an exporter reads them, if neither content nor an error is to be written."""
        if call.error_type is not None or not self.content.with_mode(call.call_context.capture_content).records_nothing:
            return False
        return set_lazily(call.span, partial(self._build_lazily, call))

    def _build_lazily(self, call: OpenCall, existing: dict[str, Any], limit: int) -> dict[str, Any]:
        return add_bridges(self._described(call, DESCRIBERS), self._bridges, existing, limit, started=call.started_ns)

    def _write(self, call: OpenCall) -> None:
        span = call.span
        if not span.is_recording():
            return
        attributes = self._described(call, DESCRIBERS)
        try:
            self._write_error(call)
        except Exception:
            log_internal_error("write the error of a call")
        try:
            self._write_content(call, attributes)
        except Exception:
            log_internal_error("write the content of a call")
        set_attributes(span, add_bridges(attributes, self._bridges, *limits_of(span), started=call.started_ns))

    def _described(self, call: OpenCall, describers: Sequence[Describer]) -> Attributes:
        attributes: Attributes = start_attributes(call) if describers is DESCRIBERS else {}
        for describe in describers:
            try:
                describe(call, self, attributes)
            except Exception:
                log_internal_error("write a span")
        self.content.clean(attributes)
        return attributes

    def _write_error(self, call: OpenCall) -> None:
        """Set the status of a failed call, and record its exception in an event of the span and in the logs."""
        if call.error_type is None:
            return
        span, error = call.span, call.error
        if error is None:
            span.set_status(Status(StatusCode.ERROR))
            return
        policy = self.content.with_mode(call.call_context.capture_content)
        event = describe_exception(error, policy, with_content=policy.span)
        message = event.get(names.EXCEPTION_MESSAGE, type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR, encodable(str(message))))
        in_logs = self._events is not None and self._events.emit(
            names.CALL_EXCEPTION,
            describe_exception(error, policy, with_content=policy.event),
            set_span_in_context(span, call.parent_context),
            SeverityNumber.WARN,
        )
        if not in_logs or variable("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN") != "logs":
            span.add_event(names.EXCEPTION, event)

    def _write_content(self, call: OpenCall, attributes: Attributes) -> None:
        """Write the content on the span, on an event and to the store, as the policy allows."""
        policy = self.content.with_mode(call.call_context.capture_content)
        if call.content is None and not policy.emit_event:
            return
        events = self._events if policy.emit_event else None
        content = Content()
        if call.content is not None:
            partial = call.outcome != "ok" or (call.timing is not None and call.timing.stream_outcome != "exhausted")
            content = describe_content(
                call.content.request,
                call.content.output_messages(),
                policy.limited_to(call.span),
                operation=call.request.operation,
                partial=partial,
            )
        if self._uploads is not None and content.untruncated:
            attributes.update(self._uploads.send(content.untruncated))
        if events is not None:
            event_attributes = {**attributes, **(content.values if policy.event else {})}
            events.emit(names.DETAILS_EVENT, event_attributes, set_span_in_context(call.span, call.parent_context))
        if policy.span:
            attributes.update(content.attributes)


def start_attributes(call: OpenCall) -> Attributes:
    """Return the attributes that are known before the call, which samplers may read."""
    request = call.request
    attributes: Attributes = {names.operation_key(request.operation): request.operation, names.PROVIDER: call.provider}
    if request.model is not None:
        attributes[names.REQUEST_MODEL] = request.model
    if call.server is not None:
        attributes[names.SERVER_ADDRESS], attributes[names.SERVER_PORT] = call.server
    return attributes
