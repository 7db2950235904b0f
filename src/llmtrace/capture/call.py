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

from .._errors import report
from ..context import inference_spans
from ..context import state as scopes
from ..context.operations import note_content
from ..model import Call, Request, Response, Scope, Timing, Usage
from ..model.wire_format import Accumulator, WireFormat
from ..pricing.estimates import Estimate
from ..pricing.estimator import Spoken
from ..pricing.money import Priced
from ..providers._usage import Money, read_money
from . import background, worker
from .content import Heard
from .error_body import read_error
from .failure import error_type, http_status, may_have_been_sent
from .services import Tracing

__all__ = ["OpenCall"]

_CONVERSATIONS = frozenset({"chat", "text_completion", "generate_content", "invoke_agent"})
"""Operations whose requests and responses are messages."""
_UNASKED = object()
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
        "answer",
        "asked_usage",
        "body",
        "borrowed",
        "client",
        "context",
        "duration",
        "error",
        "error_type",
        "estimate",
        "format",
        "headers",
        "heard",
        "http",
        "outcome",
        "outer",
        "provider",
        "request",
        "reservation",
        "retries",
        "scope",
        "sent",
        "server",
        "span",
        "spoken",
        "started",
        "started_ns",
        "suppressed",
        "timing",
        "tracing",
        "usage_elsewhere",
    )

    span: Any
    """The emitter's."""
    context: Any
    """The OpenTelemetry context in which the SDK works on the call."""
    answer: Response

    def __init__(
        self,
        tracing: Tracing,
        client: str,
        wire: WireFormat,
        request: Request,
        *,
        provider: str,
        server: tuple[str, int] | None,
        body: Any = None,
        outer: Any = None,
    ) -> None:
        self.tracing = tracing
        self.client = client
        self.format = wire
        self.request = request
        self.provider = provider
        self.server = server
        self.http: Any = None
        """The SDK's own object of the HTTP answer that it accepted."""
        self.retries = 0
        self.sent: bool | None = None
        """True once an attempt may have reached the provider, False if none did; None: the error tells."""
        self.headers: Mapping[str, str] = _NO_HEADERS
        """Those of the HTTP answer that say something of the call."""
        self.timing: Timing | None = None
        self.error: BaseException | None = None
        self.error_type: str | None = None
        self._priced: Any = _UNASKED
        self.reservation: Any = None
        self.body: Any = None
        """What goes over the wire, held while the call lasts, where its tokens may have to be estimated."""
        self.spoken: Spoken | None = None
        self.estimate: Estimate | None = None
        self.asked_usage = False
        """We had the stream tell its usage: the chunk that does is not the caller's."""
        self.duration = 0.0
        self.outcome = ""
        if outer is None:
            outer = scopes.current()
        self.outer = outer
        """The OpenTelemetry context in which the call was made."""
        scope = scopes.scope_of(outer)
        self.scope: Scope = scope if request.prompt is None else replace(scope, prompt=request.prompt)
        self.suppressed = scopes.suppressed(outer)
        """No span of ours is wanted. Budgets, ``collect()`` and our own metrics work all the same."""
        self.borrowed: Any = inference_spans.adopt(outer, request.operation)
        """The span of another instrumentation that represents this call; what it lacks is written there."""
        self.usage_elsewhere = self.borrowed is not None
        """Another span of the same call carries the usage."""
        wants = tracing.wants_content
        self.heard: Heard | None = None
        """What was said, where that is wanted."""
        if wants is not None and wire.content is not None and not self.suppressed and wants(self.scope):
            self.heard = Heard(wire.content, body)
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

    def read(self, answer: Any) -> Response:
        """What a whole answer says."""
        if self.heard is not None:
            self.heard.take(answer)
        response = self.format.response(answer)
        if not response.failed and not (response.usage and any(response.usage.values())):
            # A server may answer 200 and report in the body that the call failed.
            response.error = read_error(answer) or response.error
            response.failed = response.error is not None
        if not response.usage and self.tracing.estimator is not None:
            try:
                self.tracing.estimator.take(self, answer)
            except Exception:
                report("read the words of a response")
        return response

    def events(self) -> Accumulator:
        """What folds the chunks of the answer."""
        assert self.format.events is not None
        folded = self.format.events()
        return folded if self.heard is None else self.heard.joined(folded)

    def fail(self, error: BaseException, timing: Timing | None = None, answer: Response | None = None) -> None:
        """End with what was known when ``error`` was raised."""
        if answer is None:
            answer = self._body_so_far() if timing is None else Response()
        self.end(answer, timing=timing, error=error)

    def _body_so_far(self) -> Response:
        # The answer may have arrived whole and failed only in being parsed: its tokens are spent.
        try:
            http = self.http
            if http is not None and http.is_closed and http.status_code < 400:
                return self.read(json.loads(http.content))
        except Exception as fault:  # the body is whatever made the parse fail
            del fault
        return Response()

    def end(self, answer: Response, *, timing: Timing | None = None, error: BaseException | None = None) -> None:
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
                report("settle a background call")
        self.answer = answer
        self.timing = timing
        self.error = error
        # The context holds this call: without it nothing waits for the collector.
        self.context = self.outer
        try:
            self._settle()
        except Exception:
            report("settle a call")
        try:
            pricer, estimator = self.tracing.pricer, self.tracing.estimator
            missing = (not answer.usage and not self.request.background) or self.cut
            if estimator is not None and missing and estimator.wants(self):
                self.body = _frozen(self.body)
                worker.start()
                self._finish_later()
            elif pricer is None or pricer.ready:
                self._finish(None)
            else:
                self._finish_later()
        except Exception:
            report("end a call")
            self._emit(None)

    def _finish_later(self) -> None:
        if self.borrowed is not None:
            self.tracing.emitter.defer(self)
        ended = worker.submit(partial(self._finish, time_ns()))
        for calls in (*self.scope.collectors, *self.tracing.recordings):
            calls.expect(ended)

    def refuse(self, refusal: Exception) -> None:
        """End before the request has left: a budget does not allow it."""
        self.outcome = "blocked"
        self.end(Response(), error=refusal)

    def _settle(self) -> None:
        answer, error, timing = self.answer, self.error, self.timing
        if self.outcome and error is not None:
            self.error_type = error_type(error)
        elif error is not None and not isinstance(error, Exception):
            self.outcome = "cancelled"
        elif error is not None:
            self.outcome = "error"
            self.error_type = error_type(error)
        elif answer.failed or (timing is not None and timing.end == "truncated"):
            self.outcome = "error"
            named = answer.error if answer.http_status is None else str(answer.http_status)
            self.error_type = named or ("error" if answer.failed else "truncated")
        else:
            self.outcome = "ok"
            if self.request.characters is not None and not answer.usage:
                answer.usage = {"characters": self.request.characters}
        http = self.http if self.http is not None else getattr(error, "response", None)
        headers = getattr(http, "headers", None)
        if headers is not None:
            self.headers = _telling(headers)
            if answer.stated_cost is None:
                answer.stated_cost = _stated_cost(self.headers)
        if self.heard is not None:
            http = self.http if self.http is not None else error
            self.heard.complete(getattr(http, "_request", None) or getattr(http, "request", None))
            if self.request.operation in _CONVERSATIONS and scopes.frame_of(self.outer) is not None:
                asked = self.heard.asked
                note_content(self.outer, self.started_ns, () if asked is None else asked.messages, self.heard.said())

    def _finish(self, end_time: int | None) -> None:
        """Tell the observers and end the span. Each does its part whatever the others do."""
        tracing = self.tracing
        try:
            # Only on the worker, which is where a call is sent that wants an estimate.
            if end_time is not None and tracing.estimator is not None and tracing.estimator.wants(self):
                tracing.estimator.estimate(self)
        except Exception:
            report("estimate the tokens of a call")
        self.spoken = None
        for observer in tracing.observers:
            try:
                observer(self)
            except Exception:
                report("tell an observer of a call")
        self.body = None
        self._emit(end_time)
        # A traceback holds frames that hold this call, and the attributes of the span may hold it too, until somebody
        # reads them: of what is around, no more than they tell.
        self.error = self.http = self.span = self.outer = self.context = self._record = None
        self.scope = self.scope.light()

    @property
    def priced(self) -> Priced | None:
        """What the call cost; ``None`` where its kind bills nothing. Known once it has ended."""
        if self._priced is _UNASKED:
            self._priced = self._price()
        priced: Priced | None = self._priced
        return priced

    def _price(self) -> Priced | None:
        pricer = self.tracing.pricer
        if pricer is None or self.outcome == "blocked":
            return None
        try:
            host = None if self.server is None else self.server[0]
            at = self.started_ns / 1e9
            priced = pricer.price(self.provider, host, self.request, self.answer, at, partial=self.cut)
        except Exception:
            report("price a call")
            return None
        if priced is not None and self.estimate is not None and priced.source != "provider":
            priced.approximate = True
        return priced

    @property
    def cut(self) -> bool:
        """Whether the stream ended before its end: what it told of usage is a beginning."""
        return self.timing is not None and self.timing.end != "exhausted"

    @property
    def refused(self) -> bool:
        """True if the provider did no work: it answered with an error status, or no request reached it."""
        error = self.error
        if self.sent is False or self.outcome == "blocked":
            return True
        if self.sent or self.outcome != "error" or self.timing is not None:
            return False
        if error is None:  # an error inside a 200: gateways state the status of the vendor that refused
            return not self.answer.usage and _is_error_status(self.error_type)
        return self.http is None and (http_status(error) is not None or not may_have_been_sent(error))

    @property
    def has_own_span(self) -> bool:
        """True if the ``gen_ai.*`` metrics count this call: no other instrumentation does."""
        return self.borrowed is None and not self.suppressed

    def _emit(self, end_time: int | None) -> None:
        try:
            self.tracing.emitter.end(self, end_time)
        except Exception:
            report("end a span")

    def record(self) -> Call:
        """The finished call as observers see it."""
        if self._record is None:
            self._record = self._recorded()
        return self._record

    def _recorded(self) -> Call:
        request, answer, scope, timing = self.request, self.answer, self.scope, self.timing
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
            finish_reasons=answer.normal_reasons,
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


_TELLING = {
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


def _telling(headers: Any) -> dict[str, str]:
    # httpx goes through all headers, again for each that is looked up. What it goes through: as sent, small, value.
    listed = getattr(headers, "_list", None)
    if listed is not None:
        return {_TELLING[name]: value.decode("latin-1") for _, name, value in listed if name in _TELLING}
    # Other clients keep the case in which the server wrote them.
    return {name: value for key, value in headers.items() if (name := key.lower()).encode() in _TELLING}
