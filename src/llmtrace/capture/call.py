"""Lifecycle of one call: from its start until its span ends, exactly once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field, replace
from functools import partial
from threading import get_ident
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any

from .._compat.http_clients import body_of, headers_of, request_of
from .._errors import attempt, log_internal_error
from .._process import after_fork
from ..context import inference_spans
from ..context import state as context_state
from ..context.operations import note_content
from ..model import Request, RequestContent, Response, StreamTiming
from ..model.call_stages import CallStart, FinishedCall
from ..model.wire_format import Accumulator, WireFormat
from . import background, worker
from .content import ContentRecorder
from .error_body import read_error
from .failure import error_type, http_status, may_have_been_sent
from .headers import complete_from_headers
from .services import CallServices

if TYPE_CHECKING:
    from ..budgets.enforcement import Reservation
    from ..pricing.estimates import Estimate
    from ..pricing.estimator import OutputText
    from ..pricing.money import PricedCall

_CONVERSATIONS = frozenset({"chat", "text_completion", "generate_content", "invoke_agent"})
"""Operations whose requests and responses are messages."""
_NOT_PRICED = object()

_fork_count = 0
"""Number of forks between the first process and this one."""


def _count_fork() -> None:
    global _fork_count  # noqa: PLW0603 - one count for the process
    _fork_count += 1


after_fork(_count_fork)


@dataclass(slots=True, eq=False)
class CallState:
    """State of one logical call to a model, including the SDK's own retries, until it has ended."""

    services: CallServices
    client: InitVar[str]
    wire_format: InitVar[WireFormat]
    request: InitVar[Request]
    provider: InitVar[str]
    server: InitVar[tuple[str, int] | None]
    content_body: InitVar[Any] = None
    """Request body from which the content is read."""
    parent_context: Any = None
    """OpenTelemetry context of the caller when the call started, by default the current one."""
    http_response: Any = None
    """The HTTP client's response object, set for an accepted response."""
    retries: int = 0
    request_sent: bool | None = None
    """True if an attempt may have reached the provider, False if none did, ``None`` if the error decides."""
    headers: Mapping[str, str] = field(default_factory=dict)
    timing: StreamTiming | None = None
    error: BaseException | None = None
    error_type: str | None = None
    refused: bool = False
    reservation: Reservation | None = None
    body: Any = None
    """Request body, held for the duration of the call if its tokens may have to be estimated."""
    output_text: OutputText | None = None
    estimate: Estimate | None = None
    injected_include_usage: bool = False
    """True if llmtrace added ``include_usage``: the extra chunk is hidden from the caller."""
    duration: float = 0.0
    outcome: str = ""
    response: Response = field(init=False)
    ended_early: bool = False
    """True if the stream ended before its last chunk, so that its usage is incomplete."""
    usage_on_other_span: bool = False
    """True if another span of the same call carries the usage."""
    content: ContentRecorder | None = None
    """Messages of the call, or ``None`` if the content policy records none."""
    start: CallStart = field(init=False)
    span: Any = None
    """Span of the call, or whatever else the emitter keeps for it."""
    span_context: Any = None
    """OpenTelemetry context that is current while the SDK works on the call."""
    started: float = 0.0
    _priced: Any = _NOT_PRICED
    _end_token: list[bool] = field(init=False)
    _fork_count: int = field(init=False)

    def __post_init__(
        self,
        client: str,
        wire_format: WireFormat,
        request: Request,
        provider: str,
        server: tuple[str, int] | None,
        content_body: Any,
    ) -> None:
        services, parent_context = self.services, self.parent_context
        self._end_token, self._fork_count = [True], _fork_count
        self.body = content_body if services.estimator is not None else None
        if parent_context is None:
            self.parent_context = parent_context = context_state.current()
        context = context_state.call_context_of(parent_context)
        if request.prompt is not None:
            context = replace(context, prompt=request.prompt)
        suppressed = context_state.suppressed(parent_context)
        joined_span = inference_spans.adopt(parent_context, request)
        self.usage_on_other_span = joined_span is not None
        wants_content = services.wants_content
        if wants_content is not None and wire_format.content is not None and not suppressed and wants_content(context):
            self.content = ContentRecorder(wire_format.content, content_body)
        services.preload_prices()
        self.start = CallStart(
            client, wire_format, request, provider, server, context, time_ns(), suppressed, joined_span
        )
        self.span, current_span = services.emitter.begin(self.start, parent_context)
        self.span_context = context_state.with_call(parent_context, self, current_span)
        self.started = perf_counter()

    def set_session(self, identifier: str) -> None:
        """Set the provider's id of the session that the call belongs to, unless the caller tagged a session."""
        context = self.start.call_context
        if context.session is None:
            self.start = replace(self.start, call_context=replace(context, session=identifier))

    def read_response(self, body: Any) -> Response:
        """Return the response read from a complete body: parsed JSON, or the SDK's object for it."""
        if self.content is not None:
            self.content.record_response(body)
        response = self.start.wire_format.response(body)
        if not response.failed and not (response.usage and any(response.usage.values())):
            # A server may report an error in a body with status 200.
            response.error = read_error(body) or response.error
            response.failed = response.error is not None
        if not response.usage and (buffer := self.make_text_buffer()) is not None:
            attempt("read the output text of a response", buffer.add, body)
        return response

    def make_accumulator(self) -> Accumulator:
        """Return a new accumulator for the chunks of the response."""
        new_accumulator = self.start.wire_format.accumulator
        assert new_accumulator is not None
        accumulator = new_accumulator()
        return accumulator if self.content is None else self.content.wrap(accumulator)

    def make_text_buffer(self) -> OutputText | None:
        """Return a buffer for the output text, or ``None`` if no tokens will be estimated from it.

        Streams need it from the start: one may break before its last chunk, which reports the usage.
        """
        if self.services.estimator is not None and isinstance(self.body, dict):
            self.output_text = self.services.estimator.buffer_for(self.start)
        return self.output_text

    def fail(self, error: BaseException, timing: StreamTiming | None = None, response: Response | None = None) -> None:
        """End the call with the exception that the caller receives.

        Without a ``response`` accumulated before, that of a call that is no stream is read from the HTTP body.
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
        """End the call. Later calls of this method do nothing, nor do copies in a forked child."""
        try:
            self._end_token.pop()
        except IndexError:
            return
        if self._fork_count != _fork_count:
            return
        self.duration = perf_counter() - self.started
        if self.start.request.background or response.background:
            response = attempt("bill a background call", background.assign_usage, self, response) or response
        self.response = response
        self.timing = timing
        self.ended_early = timing is not None and timing.stream_outcome != "exhausted"
        self.error = error
        # Break the reference cycle through the context: the call is then freed without the garbage collector.
        context = self.span_context = self.parent_context
        try:
            self._set_outcome()
        except Exception:
            log_internal_error("read the outcome of a call")
        try:
            pricer = self.services.pricer
            if (self.ended_early or not response.usage) and self._needs_estimate():
                self.body = _copy_lists(self.body)
                worker.start()
                self._finish_later()
            elif pricer is None or pricer.ready:
                self._finish(None)
            else:
                self._finish_later()
        except Exception:
            log_internal_error("end a call")
            attempt("end a span", self.services.emitter.end, self._finished(), self.span, self.parent_context, None)
        if response.results:
            from .results import record_results

            record_results(self, response.results, context)

    def _needs_estimate(self) -> bool:
        estimator, response = self.services.estimator, self.response
        if estimator is None or (response.usage and not self.ended_early):
            return False
        if self.body is None or self.usage_on_other_span or (self.start.request.background and not self.ended_early):
            return False
        return estimator.applies_to(
            self.start, response, self.output_text, outcome=self.outcome, ended_early=self.ended_early
        )

    def _finish_later(self) -> None:
        if self.start.joined_span is not None:
            self.services.emitter.defer(self.span, partial(self._finished_early, get_ident()))
        end_time = time_ns()
        finished = worker.submit(partial(self._finish, end_time), at_exit=partial(self._finish, end_time, at_exit=True))
        for calls in (*self.start.call_context.collectors, *self.services.recorders):
            calls.expect(finished)

    def block(self, error: Exception) -> None:
        """End the call before its request is sent, because a budget does not allow it."""
        self.outcome = "blocked"
        self.end(Response(), error=error)

    def _set_outcome(self) -> None:
        response, error, timing, request = self.response, self.error, self.timing, self.start.request
        if self.outcome:
            self.error_type = None if error is None else error_type(error)
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
            if request.characters is not None and not response.usage:
                response.usage = {"characters": request.characters}
        if self.outcome != "ok":
            self.refused = self._is_refused()
        http = self.http_response if self.http_response is not None else getattr(error, "response", None)
        headers = headers_of(http)
        if headers is not None:
            self.headers = complete_from_headers(response, headers, self.start.wire_format.headers)
        if self.content is not None:
            self.content.complete_from_request(request_of(error if self.http_response is None else self.http_response))
            if request.operation in _CONVERSATIONS and context_state.activation_of(self.parent_context) is not None:
                content = self.content.content()
                messages = () if content.request is None else content.request.messages
                note_content(self.parent_context, self.start.started_ns, messages, content.output)

    def _finish(self, end_time: int | None, *, at_exit: bool = False) -> None:
        """Call the observers and end the span, at ``end_time`` or now on the caller's thread.

        An error in one step does not skip the others. At exit nothing waits for prices or the data of an estimate.
        """
        services = self.services
        # Estimate on the worker thread only: calls without an estimate end on the caller's thread.
        if end_time is not None:
            attempt("estimate the tokens of a call", self._estimate, at_exit)
        self.output_text = None
        if services.budgets is not None and self.reservation is None:
            try:
                self.reservation = services.budgets.count(self.start)
            except Exception:
                log_internal_error("find the budgets of a call")
        call = self._finished()
        for observer in services.observers:
            try:
                observer(call)
            except Exception:
                log_internal_error("notify an observer of a call")
        if services.keep_body is not None:
            attempt("keep the request body of a call", self._keep_body, services.keep_body, call)
        try:
            services.emitter.end(call, self.span, self.parent_context, end_time)
        except Exception:
            log_internal_error("end a span")
        # Drop references: tracebacks may keep this call alive after its end.
        self.body = self.content = self.error = self.http_response = self.parent_context = self.span_context = None
        if self.start.joined_span is None:
            self.span = None
        context = self.start.call_context.without_content()
        if context is not self.start.call_context:
            self.start = replace(self.start, call_context=context)

    def _estimate(self, at_exit: bool) -> None:
        pricer, estimator = self.services.pricer, self.services.estimator
        if at_exit and pricer is not None and not pricer.ready:
            self._priced = pricer.price_without_catalog(self.start.request, self.response)
        if at_exit or estimator is None or not self._needs_estimate():
            return
        self.estimate, self.response = estimator.estimate(
            self.start,
            self.response,
            self._request_content(),
            self.output_text,
            # A call that was cancelled has no response that could report it.
            usage_expected=self.injected_include_usage or self.ended_early or self.outcome == "cancelled",
        )

    def _request_content(self) -> RequestContent:
        """Return the content of the request: read when the call began, or else now."""
        content_format = self.start.wire_format.content
        assert content_format is not None
        content = None if self.content is None else self.content.request
        return content_format.request(self.body) if content is None else content

    def _keep_body(self, keep: Callable[[FinishedCall, Any], object], call: FinishedCall) -> None:
        """Pass on the request body: the bytes that were sent, or the dict that google-genai built from copies."""
        sent = body_of(request_of(self.http_response))
        keep(call, self.body if sent is None and self.start.client == "google_genai" else sent)

    def _price(self) -> PricedCall | None:
        """Return the cost of the call, computed once."""
        if self._priced is _NOT_PRICED:
            self._priced = self._compute_price()
        priced: PricedCall | None = self._priced
        return priced

    def _compute_price(self) -> PricedCall | None:
        pricer, start = self.services.pricer, self.start
        if pricer is None or self.outcome == "blocked":
            return None
        try:
            host = None if start.server is None else start.server[0]
            at = start.started_ns / 1e9
            priced = pricer.price(start.provider, host, start.request, self.response, at, partial=self.ended_early)
        except Exception:
            log_internal_error("price a call")
            return None
        if priced is not None and self.estimate is not None and priced.label.source != "provider":
            priced.approximate = True
        return priced

    def _is_refused(self) -> bool:
        """Return True if the provider did no work: it returned an error status, or no request reached it."""
        error = self.error
        if self.request_sent is False or self.outcome == "blocked":
            return True
        if self.request_sent or self.outcome != "error" or self.timing is not None:
            return False
        if error is None:  # an error in a body with status 200: gateways report the status of the upstream vendor
            return not self.response.usage and _is_error_status(self.error_type)
        return self.http_response is None and (http_status(error) is not None or not may_have_been_sent(error))

    def _finished(self) -> FinishedCall:
        start = self.start
        # By position: keyword arguments take three times as long.
        return FinishedCall(
            start.client, start.wire_format, start.request, start.provider, start.server, start.call_context,
            start.started_ns, start.suppressed, start.joined_span, self.span.get_span_context(), self.response,
            self.timing, self.duration, self.outcome, self.error_type, None if self.error_type is None else self.error,
            self.headers, self.retries, self.ended_early, self.refused, self.usage_on_other_span,
            None if self.content is None else self.content.content(), self._price, self.estimate, self.reservation,
        )  # fmt: skip

    def _finished_early(self, ending_thread: int) -> FinishedCall:
        """Return the call for an exporter that reads its joined span before the call is priced.

        The thread that ended the call gets it without a price while prices load: only exporters may wait for them.
        """
        pricer = self.services.pricer
        waits = pricer is not None and not pricer.ready and get_ident() == ending_thread
        return replace(self._finished(), price=lambda: None) if waits else self._finished()


def _copy_lists(body: Any) -> Any:
    """Return ``body`` with copied lists: the caller may append to a conversation while its tokens are counted."""
    if type(body) is not dict:
        return body
    return {name: list(value) if type(value) is list else value for name, value in body.items()}


def _is_error_status(text: str | None) -> bool:
    return text is not None and len(text) == 3 and text.isdecimal() and "400" <= text < "600"
