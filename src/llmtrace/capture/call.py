"""One call from the moment it is made until its span ends, exactly once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from time import perf_counter, time_ns
from typing import Any

from .._errors import log_internal_error
from .._read import Money, read_money
from ..context import inference_spans
from ..context import state as scopes
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

_generation = 0
"""How many forks this process is away from the first."""


def _forked() -> None:
    global _generation  # noqa: PLW0603 - one count for the process
    _generation += 1


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forked)


class OpenCall:
    """One logical call, the SDK's own retries included."""

    __slots__ = (
        "_generation",
        "_open",
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
        "reservation",
        "response",
        "retries",
        "sent",
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
    """The emitter's."""
    span_context: Any
    """The OpenTelemetry context in which the SDK works on the call."""
    response: Response

    def __init__(
        self,
        tracing: CallServices,
        client: str,
        wire: WireFormat,
        request: Request,
        *,
        provider: str,
        server: tuple[str, int] | None,
        body: Any = None,
        outer: Any = None,
    ) -> None:
        self.services = tracing
        self.client = client
        self.wire_format = wire
        self.request = request
        self.provider = provider
        self.server = server
        self.http_response: Any = None
        """The SDK's own object of the HTTP answer that it accepted."""
        self.retries = 0
        self.sent: bool | None = None
        """True once an attempt may have reached the provider, False if none did; None: the error tells."""
        self.headers: Mapping[str, str] = _NO_HEADERS
        """Those of the HTTP answer that say something of the call."""
        self.timing: StreamTiming | None = None
        self.error: BaseException | None = None
        self.error_type: str | None = None
        self._priced: Any = _NOT_PRICED
        self.reservation: Any = None
        self.body: Any = None
        """What goes over the wire, held while the call lasts, where its tokens may have to be estimated."""
        self.output_text: OutputText | None = None
        self.estimate: Estimate | None = None
        self.injected_include_usage = False
        """We had the stream tell its usage: the chunk that does is not the caller's."""
        self.duration = 0.0
        self.outcome = ""
        if outer is None:
            outer = scopes.current()
        self.parent_context = outer
        """The OpenTelemetry context in which the call was made."""
        scope = scopes.call_context_of(outer)
        self.call_context: CallContext = scope if request.prompt is None else replace(scope, prompt=request.prompt)
        self.suppressed = scopes.suppressed(outer)
        """No span of ours is wanted. Budgets, ``collect()`` and our own metrics work all the same."""
        self.joins_existing_span: Any = inference_spans.adopt(outer, request.operation)
        """The span of another instrumentation that represents this call; what it lacks is written there."""
        self.usage_on_other_span = self.joins_existing_span is not None
        """Another span of the same call carries the usage."""
        wants = tracing.wants_content
        self.content: ContentRecorder | None = None
        """What was said, where that is wanted."""
        if wants is not None and wire.content is not None and not self.suppressed and wants(self.call_context):
            self.content = ContentRecorder(wire.content, body)
        self._record: Call | None = None
        self._open = [True]
        self._generation = _generation
        pricer = tracing.pricer
        if pricer is not None and not pricer.ready:
            worker.start()
            worker.submit(pricer.load)
        self.started_ns = time_ns()
        tracing.emitter.begin(self)
        self.started = perf_counter()

    def read_response(self, answer: Any) -> Response:
        """What a whole answer says."""
        if self.content is not None:
            self.content.record_response(answer)
        response = self.wire_format.response(answer)
        if not response.failed and not (response.usage and any(response.usage.values())):
            # A server may answer 200 and report in the body that the call failed.
            response.error = read_error(answer) or response.error
            response.failed = response.error is not None
        if not response.usage and self.services.estimator is not None:
            try:
                self.services.estimator.take(self, answer)
            except Exception:
                log_internal_error("read the words of a response")
        return response

    def make_accumulator(self) -> Accumulator:
        """What folds the chunks of the answer."""
        assert self.wire_format.accumulator is not None
        folded = self.wire_format.accumulator()
        return folded if self.content is None else self.content.wrap(folded)

    def fail(self, error: BaseException, timing: StreamTiming | None = None, answer: Response | None = None) -> None:
        """End with what was known when ``error`` was raised."""
        if answer is None:
            answer = self._body_so_far() if timing is None else Response()
        self.end(answer, timing=timing, error=error)

    def _body_so_far(self) -> Response:
        # The answer may have arrived whole and failed only in being parsed: its tokens are spent.
        try:
            http = self.http_response
            if http is not None and http.is_closed and http.status_code < 400:
                return self.read_response(json.loads(http.content))
        except Exception as fault:  # the body is whatever made the parse fail
            del fault
        return Response()

    def end(self, answer: Response, *, timing: StreamTiming | None = None, error: BaseException | None = None) -> None:
        """End the call. The first to end it wins; a copy that a fork made is not the call."""
        try:
            self._open.pop()
        except IndexError:
            return
        if self._generation != _generation:
            return
        self.duration = perf_counter() - self.started
        if self.request.background or answer.background:
            try:
                answer = background.settle(self, answer)
            except Exception:
                log_internal_error("settle a background call")
        self.response = answer
        self.timing = timing
        self.error = error
        # The context holds this call: without it nothing waits for the collector.
        self.span_context = self.parent_context
        try:
            self._settle()
        except Exception:
            log_internal_error("settle a call")
        try:
            pricer, estimator = self.services.pricer, self.services.estimator
            missing = (not answer.usage and not self.request.background) or self.ended_early
            if estimator is not None and missing and estimator.applies_to(self):
                self.body = _frozen(self.body)
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
        ended = worker.submit(partial(self._finish, time_ns()))
        for calls in (*self.call_context.collectors, *self.services.recorders):
            calls.expect(ended)

    def refuse(self, refusal: Exception) -> None:
        """End before the request has left: a budget does not allow it."""
        self.outcome = "blocked"
        self.end(Response(), error=refusal)

    def _settle(self) -> None:
        answer, error, timing = self.response, self.error, self.timing
        if self.outcome and error is not None:
            self.error_type = error_type(error)
        elif error is not None and not isinstance(error, Exception):
            self.outcome = "cancelled"
        elif error is not None:
            self.outcome = "error"
            self.error_type = error_type(error)
        elif answer.failed or (timing is not None and timing.stream_outcome == "truncated"):
            self.outcome = "error"
            named = answer.error if answer.http_status is None else str(answer.http_status)
            self.error_type = named or ("error" if answer.failed else "truncated")
        else:
            self.outcome = "ok"
            if self.request.characters is not None and not answer.usage:
                answer.usage = {"characters": self.request.characters}
        http = self.http_response if self.http_response is not None else getattr(error, "response", None)
        headers = getattr(http, "headers", None)
        if headers is not None:
            self.headers = _read_headers(headers)
            if answer.stated_cost is None:
                answer.stated_cost = _stated_cost(self.headers)
        if self.content is not None:
            http = self.http_response if self.http_response is not None else error
            self.content.complete_from_request(getattr(http, "_request", None) or getattr(http, "request", None))
            if self.request.operation in _CONVERSATIONS and scopes.activation_of(self.parent_context) is not None:
                asked = self.content.request
                note_content(
                    self.parent_context,
                    self.started_ns,
                    () if asked is None else asked.messages,
                    self.content.output_messages(),
                )

    def _finish(self, end_time: int | None) -> None:
        """Tell the observers and end the span. Each does its part whatever the others do."""
        tracing = self.services
        try:
            # Only on the worker, which is where a call is sent that wants an estimate.
            if end_time is not None and tracing.estimator is not None and tracing.estimator.applies_to(self):
                tracing.estimator.estimate(self)
        except Exception:
            log_internal_error("estimate the tokens of a call")
        self.output_text = None
        for observer in tracing.observers:
            try:
                observer(self)
            except Exception:
                log_internal_error("tell an observer of a call")
        self.body = None
        self._emit(end_time)
        # A traceback holds frames that hold this call, and the attributes of the span may hold it too, until somebody
        # reads them: of what is around, no more than they tell.
        self.error = self.http_response = self.span = self.parent_context = self.span_context = self._record = None
        self.call_context = self.call_context.without_content()

    @property
    def priced(self) -> PricedCall | None:
        """What the call cost; ``None`` where its kind bills nothing. Known once it has ended."""
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
            at = self.started_ns / 1e9
            priced = pricer.price(self.provider, host, self.request, self.response, at, partial=self.ended_early)
        except Exception:
            log_internal_error("price a call")
            return None
        if priced is not None and self.estimate is not None and priced.source != "provider":
            priced.approximate = True
        return priced

    @property
    def ended_early(self) -> bool:
        """Whether the stream ended before its end: what it told of usage is a beginning."""
        return self.timing is not None and self.timing.stream_outcome != "exhausted"

    @property
    def refused(self) -> bool:
        """True if the provider did no work: it answered with an error status, or no request reached it."""
        error = self.error
        if self.sent is False or self.outcome == "blocked":
            return True
        if self.sent or self.outcome != "error" or self.timing is not None:
            return False
        if error is None:  # an error inside a 200: gateways state the status of the vendor that refused
            return not self.response.usage and _is_error_status(self.error_type)
        return self.http_response is None and (http_status(error) is not None or not may_have_been_sent(error))

    @property
    def has_own_span(self) -> bool:
        """True if the ``gen_ai.*`` metrics count this call: no other instrumentation does."""
        return self.joins_existing_span is None and not self.suppressed

    def _emit(self, end_time: int | None) -> None:
        try:
            self.services.emitter.end(self, end_time)
        except Exception:
            log_internal_error("end a span")

    def record(self) -> Call:
        """The finished call as observers see it."""
        if self._record is None:
            self._record = self._build_record()
        return self._record

    def _build_record(self) -> Call:
        request, answer, scope, timing = self.request, self.response, self.call_context, self.timing
        ids = self.span.get_span_context()
        return Call(
            trace_id=f"{ids.trace_id:032x}",
            span_id=f"{ids.span_id:016x}",
            client=self.client,
            operation=request.operation,
            provider=self.provider,
            request_model=request.model,
            response_model=answer.model,
            response_id=answer.id,
            finish_reasons=answer.normalized_finish_reasons,
            usage=Usage(**answer.usage) if answer.usage else Usage(),  # type: ignore[arg-type] # by its field names
            cost=None if self.priced is None else self.priced.cost(),
            unpriced_reason=None if self.priced is None else self.priced.reason,
            feature=scope.feature,
            user=scope.user,
            session=scope.session,
            tenant=scope.tenant,
            tags=scope.tags,
            metadata={**scope.metadata},  # whoever gets it may write into it
            prompt=scope.prompt,
            document_ids=tuple(document.id for document in scope.documents),
            started_at=datetime.fromtimestamp(self.started_ns / 1e9, UTC),
            duration=self.duration,
            time_to_first_token=None if timing is None else timing.first_token,
            streamed=request.stream,
            outcome=self.outcome,
            error_type=self.error_type,
        )


def _frozen(body: Any) -> Any:
    """Return ``body`` with lists of its own: the caller goes on with a conversation while its tokens are counted."""
    if type(body) is not dict:
        return body
    return {name: list(value) if type(value) is list else value for name, value in body.items()}


_COSTS = ("x-litellm-response-cost", "x-nr-request-cost", "cf-aig-cost", "x-total-cost")
"""Headers in which gateways state what a call cost, in USD."""


def _stated_cost(headers: Mapping[str, str]) -> Money | None:
    """Return the cost that a gateway states; 0 is what they send before it is known."""
    for name in _COSTS:
        if name in headers:
            cost = read_money(headers[name])
            return cost if cost is not None and cost > 0 else None
    return None


def _is_error_status(name: str | None) -> bool:
    return name is not None and len(name) == 3 and name.isdecimal() and "400" <= name < "600"


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
        *_COSTS,
    )
}


def _read_headers(headers: Any) -> dict[str, str]:
    # httpx goes through all headers, again for each that is looked up. What it goes through: as sent, small, value.
    listed = getattr(headers, "_list", None)
    if listed is not None:
        return {_READ_HEADERS[name]: value.decode("latin-1") for _, name, value in listed if name in _READ_HEADERS}
    # Other clients keep the case in which the server wrote them.
    return {name: value for key, value in headers.items() if (name := key.lower()).encode() in _READ_HEADERS}
