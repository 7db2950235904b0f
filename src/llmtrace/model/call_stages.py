"""One call at its start and after its end, as budgets, estimates, observers and telemetry receive it.

No field is assigned again, which the type checker checks: frozen dataclasses take three times as long to create, and
the fields of tuples take longer to read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from .call import Call, CallContext
from .content import CallContent
from .exchange import Request, Response, StreamTiming
from .usage import Usage
from .wire_format import WireFormat

if TYPE_CHECKING:
    from ..budgets.enforcement import Reservation
    from ..pricing.estimates import Estimate
    from ..pricing.money import PricedCall


@dataclass(slots=True)
class CallStart:
    """Properties of a call that are known before its request is sent."""

    client: Final[str]
    wire_format: Final[WireFormat]
    request: Final[Request]
    provider: Final[str]
    server: Final[tuple[str, int] | None]
    call_context: Final[CallContext]
    started_ns: Final[int]
    suppressed: Final[bool]
    """True if the caller suppresses our span. Budgets, ``collect()`` and ``llmtrace.*`` metrics still work."""
    joined_span: Final[Any]
    """Span of another instrumentation that represents this call. Attributes it lacks are added to it."""


@dataclass(slots=True)
class FinishedCall(CallStart):
    """One call that has ended."""

    span_context: Final[Any]
    """OpenTelemetry's ids of the span."""
    response: Final[Response]
    timing: Final[StreamTiming | None]
    """Timing of a stream, ``None`` for a complete response."""
    duration: Final[float]
    """Duration in seconds."""
    outcome: Final[str]
    """Outcome: ``ok``, ``error``, ``cancelled`` or ``blocked``."""
    error_type: Final[str | None]
    error: Final[BaseException | None]
    """Exception that the caller received, ``None`` unless ``error_type`` is set."""
    headers: Final[Mapping[str, str]]
    """Response headers that are recorded: request ids, rate limits and stated costs."""
    retries: Final[int]
    ended_early: Final[bool]
    """True if the stream ended before its last chunk, so that its usage is incomplete."""
    refused: Final[bool]
    """True if the provider did no work: it returned an error status, or no request reached it."""
    usage_on_other_span: Final[bool]
    """True if another span of the same call carries the usage."""
    content: Final[CallContent | None]
    """Messages of the call, or ``None`` if the content policy records none."""
    price: Final[Callable[[], PricedCall | None]]
    """Computes the cost when it is first needed, which may be by an exporter in the background."""
    estimate: Final[Estimate | None]
    """Token counts estimated in place of unreported ones."""
    reservation: Final[Reservation | None]
    """Amounts that the call holds in budgets."""

    @property
    def has_own_span(self) -> bool:
        """True if the ``gen_ai.*`` metrics count this call, because no other instrumentation does."""
        return self.joined_span is None and not self.suppressed

    @property
    def priced(self) -> PricedCall | None:
        """Cost of the call, or ``None`` if its operation is not billed."""
        return self.price()

    def without_content(self) -> FinishedCall:
        """Return the call without contents of its context, for a span that may be kept for a long time."""
        context = self.call_context.without_content()
        return self if context is self.call_context else replace(self, call_context=context)

    def record(self) -> Call:
        """Return the public record of the call."""
        request, response, context, priced = self.request, self.response, self.call_context, self.price()
        return Call(
            trace_id=f"{self.span_context.trace_id:032x}",
            span_id=f"{self.span_context.span_id:016x}",
            client=self.client,
            operation=request.operation,
            provider=self.provider,
            request_model=request.model,
            response_model=response.model,
            response_id=response.id,
            finish_reasons=response.normalized_finish_reasons,
            usage=Usage(**response.usage) if response.usage else Usage(),  # type: ignore[arg-type] # keys are field names
            cost=None if priced is None else priced.cost(),
            unpriced_reason=None if priced is None else priced.reason,
            feature=context.feature,
            user=context.user,
            session=context.session,
            tenant=context.tenant,
            tags=context.tags,
            metadata={**context.metadata},  # a copy: the receiver may modify it
            prompt=context.prompt,
            document_ids=tuple(document.id for document in context.documents),
            started_at=datetime.fromtimestamp(self.started_ns / 1e9, UTC),
            duration=self.duration,
            time_to_first_token=None if self.timing is None else self.timing.first_token,
            streamed=request.stream,
            outcome=self.outcome,
            error_type=self.error_type,
        )
