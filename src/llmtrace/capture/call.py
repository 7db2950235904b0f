"""Lifecycle of one call: from its start until its span ends, exactly once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from time import perf_counter, time_ns
from typing import Any

from .._compat.http_clients import header_entries, request_of
from .._errors import log_internal_error
from .._process import after_fork
from .._read import Money, read_money
from ..context import inference_spans
from ..context import state as context_state
from ..context.operations import note_content
from ..model import Call, CallContext, Request, Response, StreamTiming, Usage
from ..model.wire_format import Accumulator, WireFormat
from ..pricing.estimates import Estimate
from ..pricing.estimator import OutputText
from ..pricing.money import PricedCall
from . import background, worker
from .content import ContentRecorder
from .error_body import read_error
from .failure import error_type, http_status, may_have_been_sent
from .services import CallServices

__all__ = ["OpenCall"]

_CONVERSATIONS = frozenset({"chat", "text_completion", "generate_content", "invoke_agent"})
"""Operations whose requests and responses are messages."""
_NOT_PRICED = object()
_NO_HEADERS: Mapping[str, str] = {}

_fork_count = 0
"""Number of forks between the first process and this one."""


def _count_fork() -> None:
    global _fork_count  # noqa: PLW0603 - one count for the process
    _fork_count += 1


after_fork(_count_fork)


class OpenCall:
    """One logical call to a model, including the SDK's own retries."""

    __slots__ = (
        "_end_token",
        "_fork_count",
        "_priced",
        "_record",
        "body",
        "call_context",
        "client",
        "content",
        "duration",
        "error",
        "error_type",
        "estimate",
        "headers",
        "http_response",
        "injected_include_usage",
        "joins_existing_span",
        "outcome",
        "output_text",
        "parent_context",
        "provider",
        "request",
        "request_sent",
        "reservation",
        "response",
        "retries",
        "server",
        "services",
        "span",
        "span_context",
        "started",
        "started_ns",
        "suppressed",
        "timing",
        "usage_on_other_span",
        "wire_format",
    )

    span: Any
    """Span of the call, or whatever else the emitter keeps for it."""
    span_context: Any
    """OpenTelemetry context that is current while the SDK works on the call."""
    response: Response

    def __init__(
        self,
        services: CallServices,
        client: str,
        wire_format: WireFormat,
        request: Request,
        *,
        provider: str,
        server: tuple[str, int] | None,
        body: Any = None,
        parent_context: Any = None,
    ) -> None:
        self.services: CallServices = services
        self.client: str = client
        self.wire_format: WireFormat = wire_format
        self.request: Request = request
        self.provider: str = provider
        self.server: tuple[str, int] | None = server
        self.http_response: Any = None
        """The HTTP client's response object, set for an accepted response."""
        self.retries: int = 0
        self.request_sent: bool | None = None
        """True if an attempt may have reached the provider, False if none did, ``None`` if the error decides."""
        self.headers: Mapping[str, str] = _NO_HEADERS
        """Response headers that are recorded: request ids, rate limits and stated costs."""
        self.timing: StreamTiming | None = None
        self.error: BaseException | None = None
        self.error_type: str | None = None
        self._priced: Any = _NOT_PRICED
        self.reservation: Any = None
        self.body: Any = None
        """Request body, held for the duration of the call if its tokens may have to be estimated."""
        self.output_text: OutputText | None = None
        self.estimate: Estimate | None = None
        self.injected_include_usage: bool = False
        """True if llmtrace added ``include_usage``: the extra chunk is hidden from the caller."""
        self.duration: float = 0.0
        self.outcome: str = ""
        if parent_context is None:
            parent_context = context_state.current()
        self.parent_context: Any = parent_context
        """OpenTelemetry context of the caller when the call started."""
        context = context_state.call_context_of(parent_context)
        self.call_context: CallContext = context if request.prompt is None else replace(context, prompt=request.prompt)
        self.suppressed: bool = context_state.suppressed(parent_context)
        """True if the caller suppresses our span. Budgets, ``collect()`` and ``llmtrace.*`` metrics still work."""
        self.joins_existing_span: Any = inference_spans.adopt(parent_context, request.operation)
        """Span of another instrumentation that represents this call. Attributes it lacks are added to it."""
        self.usage_on_other_span: bool = self.joins_existing_span is not None
        """True if another span of the same call carries the usage."""
        self.content: ContentRecorder | None = self._content_recorder(body)
        """Messages of the call, or ``None`` if the content policy records none."""
        self._record: Call | None = None
        self._end_token = [True]
        self._fork_count = _fork_count
        services.preload_prices()
        self.started_ns: int = time_ns()
        services.emitter.begin(self)
        self.started: float = perf_counter()

    def _content_recorder(self, body: Any) -> ContentRecorder | None:
        """Return a recorder of the request ``body`` and the response, if the content policy allows it."""
        content_format, wants_content = self.wire_format.content, self.services.wants_content
        if content_format is None or wants_content is None or self.suppressed:
            return None
        return ContentRecorder(content_format, body) if wants_content(self.call_context) else None

    def read_response(self, body: Any) -> Response:
        """Return the response read from a complete body.

        Args:
            body: The parsed JSON body, or the SDK's object for it.
        """
        if self.content is not None:
            self.content.record_response(body)
        response = self.wire_format.response(body)
        if not response.failed and not (response.usage and any(response.usage.values())):
            # A server may report an error in a body with status 200.
            response.error = read_error(body) or response.error
            response.failed = response.error is not None
        if not response.usage and self.services.estimator is not None:
            try:
                self.services.estimator.take(self, body)
            except Exception:
                log_internal_error("read the output text of a response")
        return response

    def make_accumulator(self) -> Accumulator:
        """Return a new accumulator for the chunks of the response."""
        assert self.wire_format.accumulator is not None
        accumulator = self.wire_format.accumulator()
        return accumulator if self.content is None else self.content.wrap(accumulator)

    def fail(self, error: BaseException, timing: StreamTiming | None = None, response: Response | None = None) -> None:
        """End the call with an error.

        Args:
            error: The exception that the caller receives.
            timing: The timing of a stream.
            response: The response accumulated before the error. Read from the HTTP body if left out.
        """
        if response is None:
            response = self._unparsed_response() if timing is None else Response()
        self.end(response, timing=timing, error=error)

    def _unparsed_response(self) -> Response:
        # Read the body that the SDK failed to parse: the response is complete and its tokens are billed.
        try:
            http = self.http_response
            if http is not None and http.is_closed and http.status_code < 400:
                return self.read_response(json.loads(http.content))
        except Exception as parse_error:  # the body may be the reason that the SDK failed
            del parse_error
        return Response()

    def end(
        self, response: Response, *, timing: StreamTiming | None = None, error: BaseException | None = None
    ) -> None:
        """End the call. Later calls of this method do nothing, nor do copies in a forked child.

        Args:
            response: The response, or an empty one.
            timing: The timing of a stream.
            error: The exception that ended the call.
        """
        try:
            self._end_token.pop()
        except IndexError:
            return
        if self._fork_count != _fork_count:
            return
        self.duration = perf_counter() - self.started
        if self.request.background or response.background:
            try:
                response = background.assign_usage(self, response)
            except Exception:
                log_internal_error("bill a background call")
        self.response = response
        self.timing = timing
        self.error = error
        # Break the reference cycle through the context: the call is then freed without the garbage collector.
        self.span_context = self.parent_context
        try:
            self._set_outcome()
        except Exception:
            log_internal_error("read the outcome of a call")
        try:
            pricer, estimator = self.services.pricer, self.services.estimator
            missing = (not response.usage and not self.request.background) or self.ended_early
            if estimator is not None and missing and estimator.applies_to(self):
                self.body = _copy_lists(self.body)
                worker.start()
                self._finish_later()
            elif pricer is None or pricer.ready:
                self._finish(None)
            else:
                self._finish_later()
        except Exception:
            log_internal_error("end a call")
            self._emit(None)

    def _finish_later(self) -> None:
        if self.joins_existing_span is not None:
            self.services.emitter.defer(self)
        end_time = time_ns()
        finished = worker.submit(partial(self._finish, end_time), at_exit=partial(self._finish, end_time, at_exit=True))
        for calls in (*self.call_context.collectors, *self.services.recorders):
            calls.expect(finished)

    def block(self, error: Exception) -> None:
        """End the call before its request is sent, because a budget does not allow it."""
        self.outcome = "blocked"
        self.end(Response(), error=error)

    def _set_outcome(self) -> None:
        response, error, timing = self.response, self.error, self.timing
        if self.outcome and error is not None:
            self.error_type = error_type(error)
        elif error is not None and not isinstance(error, Exception):
            self.outcome = "cancelled"
        elif error is not None:
            self.outcome = "error"
            self.error_type = error_type(error)
        elif response.failed or (timing is not None and timing.stream_outcome == "truncated"):
            self.outcome = "error"
            code = response.error if response.http_status is None else str(response.http_status)
            self.error_type = code or ("error" if response.failed else "truncated")
        else:
            self.outcome = "ok"
            if self.request.characters is not None and not response.usage:
                response.usage = {"characters": self.request.characters}
        http = self.http_response if self.http_response is not None else getattr(error, "response", None)
        headers = getattr(http, "headers", None)
        if headers is not None:
            self.headers = _read_headers(headers)
            if response.stated_cost is None:
                response.stated_cost = _stated_cost(self.headers)
        if self.content is not None:
            http = self.http_response if self.http_response is not None else error
            self.content.complete_from_request(request_of(http))
            if (
                self.request.operation in _CONVERSATIONS
                and context_state.activation_of(self.parent_context) is not None
            ):
                request = self.content.request
                note_content(
                    self.parent_context,
                    self.started_ns,
                    () if request is None else request.messages,
                    self.content.output_messages(),
                )

    def _finish(self, end_time: int | None, *, at_exit: bool = False) -> None:
        """Call the observers and end the span. An error in one step does not skip the others.

        Args:
            end_time: When the call ended; ``None`` for now, on the caller's thread.
            at_exit: True to wait neither for prices nor for the data that an estimate needs.
        """
        services = self.services
        try:
            # Estimate on the worker thread only: calls without an estimate end on the caller's thread.
            if end_time is not None and not at_exit:
                if services.estimator is not None and services.estimator.applies_to(self):
                    services.estimator.estimate(self)
            elif at_exit and services.pricer is not None and not services.pricer.ready:
                self._priced = services.pricer.price_without_catalog(self.request, self.response)
        except Exception:
            log_internal_error("estimate the tokens of a call")
        self.output_text = None
        for observer in services.observers:
            try:
                observer(self)
            except Exception:
                log_internal_error("notify an observer of a call")
        self.body = None
        self._emit(end_time)
        # Drop references: tracebacks and lazy span attributes may keep this call alive after its end.
        self.error = self.http_response = self.span = self.parent_context = self.span_context = self._record = None
        self.call_context = self.call_context.without_content()

    @property
    def priced(self) -> PricedCall | None:
        """Cost of the call, or ``None`` if its operation is not billed. Valid after the call has ended."""
        if self._priced is _NOT_PRICED:
            self._priced = self._price()
        priced: PricedCall | None = self._priced
        return priced

    def _price(self) -> PricedCall | None:
        pricer = self.services.pricer
        if pricer is None or self.outcome == "blocked":
            return None
        try:
            host = None if self.server is None else self.server[0]
            started = self.started_ns / 1e9
            priced = pricer.price(self.provider, host, self.request, self.response, started, partial=self.ended_early)
        except Exception:
            log_internal_error("price a call")
            return None
        if priced is not None and self.estimate is not None and priced.source != "provider":
            priced.approximate = True
        return priced

    @property
    def ended_early(self) -> bool:
        """True if the stream ended before its last chunk, so that its usage is incomplete."""
        return self.timing is not None and self.timing.stream_outcome != "exhausted"

    @property
    def refused(self) -> bool:
        """True if the provider did no work: it returned an error status, or no request reached it."""
        error = self.error
        if self.request_sent is False or self.outcome == "blocked":
            return True
        if self.request_sent or self.outcome != "error" or self.timing is not None:
            return False
        if error is None:  # an error in a body with status 200: gateways report the status of the upstream vendor
            return not self.response.usage and _is_error_status(self.error_type)
        return self.http_response is None and (http_status(error) is not None or not may_have_been_sent(error))

    @property
    def has_own_span(self) -> bool:
        """True if the ``gen_ai.*`` metrics count this call, because no other instrumentation does."""
        return self.joins_existing_span is None and not self.suppressed

    def _emit(self, end_time: int | None) -> None:
        try:
            self.services.emitter.end(self, end_time)
        except Exception:
            log_internal_error("end a span")

    def record(self) -> Call:
        """Return the public record of the finished call."""
        if self._record is None:
            self._record = self._build_record()
        return self._record

    def _build_record(self) -> Call:
        request, response, context, timing = self.request, self.response, self.call_context, self.timing
        span_context = self.span.get_span_context()
        return Call(
            trace_id=f"{span_context.trace_id:032x}",
            span_id=f"{span_context.span_id:016x}",
            client=self.client,
            operation=request.operation,
            provider=self.provider,
            request_model=request.model,
            response_model=response.model,
            response_id=response.id,
            finish_reasons=response.normalized_finish_reasons,
            usage=Usage(**response.usage) if response.usage else Usage(),  # type: ignore[arg-type] # keys are field names
            cost=None if self.priced is None else self.priced.cost(),
            unpriced_reason=None if self.priced is None else self.priced.reason,
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
            time_to_first_token=None if timing is None else timing.first_token,
            streamed=request.stream,
            outcome=self.outcome,
            error_type=self.error_type,
        )


def _copy_lists(body: Any) -> Any:
    """Return ``body`` with copied lists: the caller may append to a conversation while its tokens are counted."""
    if type(body) is not dict:
        return body
    return {name: list(value) if type(value) is list else value for name, value in body.items()}


_COST_HEADERS = ("x-litellm-response-cost", "x-nr-request-cost", "cf-aig-cost", "x-total-cost")
"""Response headers in which gateways state the cost of a call in USD."""


def _stated_cost(headers: Mapping[str, str]) -> Money | None:
    """Return the cost stated by a gateway. Ignore 0: gateways send it while the cost is unknown."""
    name = next(filter(headers.__contains__, _COST_HEADERS), None)
    cost = None if name is None else read_money(headers[name])
    return cost if cost is not None and cost > 0 else None


def _is_error_status(text: str | None) -> bool:
    return text is not None and len(text) == 3 and text.isdecimal() and "400" <= text < "600"


_READ_HEADERS = {
    name.encode(): name
    for name in (
        "x-request-id",
        "request-id",
        "x-amzn-requestid",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-tokens-remaining",
        *_COST_HEADERS,
    )
}


def _read_headers(headers: Any) -> dict[str, str]:
    # Read httpx's list of (raw name, lower-case name, value) once: each look-up by name scans all headers.
    entries = header_entries(headers)
    if entries is not None:
        return {_READ_HEADERS[name]: value.decode("latin-1") for _, name, value in entries if name in _READ_HEADERS}
    # Other clients keep the case that the server sent.
    return {name: value for key, value in headers.items() if (name := key.lower()).encode() in _READ_HEADERS}
