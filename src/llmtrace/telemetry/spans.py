"""Spans of calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import KW_ONLY, dataclass, replace
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
    get_current_span,
    set_span_in_context,
)

from .._compat.span_attributes import limits_of, make_encodable, set_attributes, set_lazily
from .._errors import attempt, log_internal_error
from .._settings.environment import variable
from .._text import encodable
from ..context import inference_spans
from ..model.call_stages import CallStart, FinishedCall
from . import names
from .attributes import CALL_DESCRIBERS, COMMON_DESCRIBERS, Attributes, Describer, describe_counts, describe_exception
from .bridges import add_bridges
from .content import Content, describe_content
from .costs import describe_cost
from .joined_span import JoinedSpan, has_usage
from .operations import describe_context
from .start_attributes import SpanWriter
from .upload import Uploads

DESCRIBERS: tuple[Describer, ...] = (*CALL_DESCRIBERS, describe_context)
"""Describers of the span of a call; an error in one loses only the attributes of that one."""
JOINED_SPAN_DESCRIBERS: tuple[Describer, ...] = (
    describe_cost,
    describe_context,
    *(describe for describe in COMMON_DESCRIBERS if describe is not describe_cost),
)
"""Describers for the span of another instrumentation that represents the call, most important first."""


@dataclass(eq=False)
class SpanEmitter(SpanWriter):
    """Emitter of one span per call; most attributes are written when the call ends or when an exporter reads them."""

    _: KW_ONLY
    uploads: Uploads | None = None
    proposed_cost: bool = False
    """Write ``gen_ai.usage.cost.*`` as proposed for the conventions, in place of ``gen_ai.usage.cost``."""

    def begin(self, call: CallStart, parent_context: Any) -> tuple[Any, Any]:
        """Return the span of ``call``, and the span that is current while the SDK works on it.

        The span is a new one, or that of another instrumentation which traces the same call. It is a non-recording one
        if the application or another instrumentation suppresses instrumentation.
        """
        if call.joined_span is not None:
            return JoinedSpan(call.joined_span), call.joined_span
        if call.suppressed:
            current = get_current_span(parent_context)
            trace_id = current.get_span_context().trace_id
            return NonRecordingSpan(SpanContext(trace_id, INVALID_SPAN_ID, False)), current
        span = self._start(call, parent_context)
        return span, span

    def _start(self, call: CallStart, parent_context: Any) -> Any:
        tracer = self.tracer(call.client)
        attributes = start_attributes(call) if self.start_attributes.needed_by(tracer) else None
        if attributes is not None:
            make_encodable(attributes)
        name, model = call.request.operation, call.request.model
        if model is not None and name != "invoke_agent":  # which has the name of an agent, if any
            name += " " + model
        return tracer.start_span(
            encodable(name), parent_context, kind=SpanKind.CLIENT, attributes=attributes, start_time=call.started_ns
        )

    def defer(self, span: Any, finished: Callable[[], FinishedCall]) -> None:
        """Prepare the joined span of a call that is not priced yet, to be completed when an exporter reads it."""
        span.prepare(lambda existing: self._joined_attributes(finished(), existing), late=True)

    def before_end(self, span: Any, notify: Callable[[], Callable[[], None] | None]) -> None:
        """Have the function that ``notify`` returns, if any, called when the owner of a joined span ends it."""
        span.notify = notify

    def end(self, call: FinishedCall, span: Any, parent_context: Any, end_time: int | None) -> None:
        """Write the attributes of ``call`` and end its span, at ``end_time`` in nanoseconds since the epoch or now."""
        if call.joined_span is not None:
            self._join(call, span)
            if call.suppressed or not span.missed:
                return
            # The other span has already ended.
            on_other_span = has_usage(getattr(span.span, "attributes", None) or ())
            call, span = replace(call, usage_on_other_span=on_other_span), self._start(call, parent_context)
        try:
            if not self._write_lazily(call, span):
                self._write(call, span, parent_context)
        finally:  # the user may interrupt a redactor
            span.end(end_time)

    def _join(self, call: FinishedCall, span: JoinedSpan) -> None:
        """Complete the span of another instrumentation, unless it has already ended."""
        if span.missed:
            return
        if call.outcome in ("error", "blocked") and not call.response.usage:
            inference_spans.release(call.joined_span)
            call = replace(call, price=lambda: None)
        # Compute the attributes now, while documents and prompt are available.
        attributes = self._described(call, JOINED_SPAN_DESCRIBERS)
        counts = self._described(call, [describe_counts])
        span.prepare(lambda existing: attributes if has_usage(existing) else {**counts, **attributes}, late=False)

    def _joined_attributes(self, call: FinishedCall, existing: Collection[str]) -> Attributes:
        attributes = self._described(call, JOINED_SPAN_DESCRIBERS)
        return attributes if has_usage(existing) else {**self._described(call, [describe_counts]), **attributes}

    def _write_lazily(self, call: FinishedCall, span: Any) -> bool:
        """Postpone the attributes until an exporter reads them, if neither content nor an error is to be written."""
        if call.error_type is not None or not self.content.with_mode(call.call_context.capture_content).records_nothing:
            return False
        return set_lazily(span, partial(self._build_lazily, call.without_content()))

    def _build_lazily(self, call: FinishedCall, existing: dict[str, Any], limit: int) -> dict[str, Any]:
        return add_bridges(self._described(call, DESCRIBERS), self.bridges, existing, limit, started=call.started_ns)

    def _write(self, call: FinishedCall, span: Any, parent_context: Any) -> None:
        if not span.is_recording():
            return
        attributes = self._described(call, DESCRIBERS)
        if call.error_type is not None:
            attempt("write the error of a call", self._write_error, call, span, parent_context)
        attempt("write the content of a call", self._write_content, call, span, parent_context, attributes)
        set_attributes(span, add_bridges(attributes, self.bridges, *limits_of(span), started=call.started_ns))

    def _described(self, call: FinishedCall, describers: Sequence[Describer]) -> Attributes:
        attributes: Attributes = start_attributes(call) if describers is DESCRIBERS else {}
        for describe in describers:
            try:
                describe(call, self, attributes)
            except Exception:
                log_internal_error("write a span")
        self.content.clean(attributes)
        return attributes

    def _write_error(self, call: FinishedCall, span: Any, parent_context: Any) -> None:
        """Set the status of a failed call, and record its exception in an event of the span and in the logs."""
        error = call.error
        if error is None:
            span.set_status(Status(StatusCode.ERROR))
            return
        policy = self.content.with_mode(call.call_context.capture_content)
        event = describe_exception(error, policy, with_content=policy.span)
        same = policy.span == policy.event
        message = event.get(names.EXCEPTION_MESSAGE, type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR, encodable(str(message))))
        in_logs = self.events is not None and self.events.emit(
            names.CALL_EXCEPTION,
            event if same else describe_exception(error, policy, with_content=policy.event),
            set_span_in_context(span, parent_context),
            SeverityNumber.WARN,
        )
        if not in_logs or variable("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN") != "logs":
            span.add_event(names.EXCEPTION, event)

    def _write_content(self, call: FinishedCall, span: Any, parent_context: Any, attributes: Attributes) -> None:
        """Write the content on the span, on an event and to the store, as the policy allows."""
        policy = self.content.with_mode(call.call_context.capture_content)
        if call.content is None and not policy.emit_event:
            return
        events = self.events if policy.emit_event else None
        content = Content()
        if call.content is not None:
            content = describe_content(
                call.content.request,
                call.content.output,
                policy.limited_to(span),
                operation=call.request.operation,
                partial=call.outcome != "ok" or call.ended_early,
            )
        if self.uploads is not None and content.untruncated:
            attributes.update(self.uploads.send(content.untruncated))
        if events is not None:
            event_attributes = {**attributes, **(content.values if policy.event else {})}
            events.emit(names.DETAILS_EVENT, event_attributes, set_span_in_context(span, parent_context))
        if policy.span:
            attributes.update(content.attributes)


def start_attributes(call: CallStart) -> Attributes:
    """Return the attributes that are known before the call, which samplers may read."""
    request = call.request
    attributes: Attributes = {names.operation_key(request.operation): request.operation, names.PROVIDER: call.provider}
    if request.model is not None:
        attributes[names.REQUEST_MODEL] = request.model
    if call.server is not None:
        attributes[names.SERVER_ADDRESS], attributes[names.SERVER_PORT] = call.server
    return attributes
