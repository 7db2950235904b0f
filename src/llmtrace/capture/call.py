"""One call from the moment it is made until its span ends, exactly once."""

from __future__ import annotations

import json
from time import perf_counter
from typing import Any

from opentelemetry import context as otel
from opentelemetry.trace import Span, Status, StatusCode, Tracer, set_span_in_context

from .._guard import report
from ..emit import names
from ..emit.attributes import Attributes, describe_answer, describe_request, describe_stream, record_error, start_span
from ..facts import Request, Response, Timing
from ..wire._format import WireFormat

__all__ = ["Call", "current_call", "suppressed"]

_KEY = otel.create_key("llmtrace-call")
_SUPPRESS = (
    "suppress_instrumentation",
    otel._SUPPRESS_INSTRUMENTATION_KEY,
    "suppress_language_model_instrumentation",
    "opentelemetry.genai.client.inference.context",
)


def suppressed() -> bool:
    """Whether the application, or an outer instrumentation, already accounts for this call."""
    context = otel.get_current()
    return bool(context) and any(context.get(key) for key in _SUPPRESS)


def current_call() -> Call | None:
    """The call whose request the SDK is working on, in this thread or task."""
    call = otel.get_current().get(_KEY)
    return call if isinstance(call, Call) else None


class Call:
    """One logical call, the SDK's own retries included."""

    __slots__ = ("_messages", "_open", "_outer", "_usage", "context", "format", "http", "request", "retries", "span",
                 "started")  # fmt: skip

    def __init__(
        self,
        tracer: Tracer,
        wire: WireFormat,
        request: Request,
        *,
        provider: str,
        server: tuple[str, int] | None,
        error_messages: bool,
        usage: bool,
    ) -> None:
        self.format = wire
        self.request = request
        self.http: Any = None
        self.retries: int | None = None
        self._messages = error_messages
        self._usage = usage
        self._outer = otel.get_current()
        self.span: Span = start_span(tracer, request, provider, server)
        self.started = perf_counter()
        self._open = [True]
        self.context = otel.set_value(_KEY, self, set_span_in_context(self.span, self._outer))

    def answered(self, http: Any, retries: Any) -> None:
        """The SDK got an HTTP answer it accepts; ``http`` is its response object."""
        self.http = http
        self.retries = retries if type(retries) is int else None

    def leave(self, token: Any, error: BaseException | None) -> None:
        """Make the caller's context current again."""
        if not isinstance(error, GeneratorExit):
            otel.detach(token)
        elif otel.get_current() is self.context:
            # A coroutine closed half-way may run here in another context than it was entered in,
            # where the token is refused.
            otel.attach(self._outer)

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
                return self.format.response(json.loads(http.content))
        except Exception as fault:  # the body is whatever made the parse fail
            del fault
        return Response()

    def end(self, answer: Response, *, timing: Timing | None = None, error: BaseException | None = None) -> None:
        """End the span. The first call wins."""
        try:
            self._open.pop()
        except IndexError:
            return
        try:
            self._describe(answer, timing, error)
        except Exception:
            report("write a span")
        try:
            self.span.end()
        except Exception:
            report("end a span")
        # The context holds this call: without it nothing waits for the collector.
        self.context = self._outer
        self.http = None

    def _describe(self, answer: Response, timing: Timing | None, error: BaseException | None) -> None:
        span = self.span
        if not span.is_recording():
            return
        found: Attributes = {}
        describe_request(self.request, found)
        if timing is not None:
            describe_stream(timing, None if answer.usage is None else answer.usage.output, found)
        partial = timing is not None and timing.end != "exhausted"
        describe_answer(self.request, answer, found, partial=partial, usage=self._usage)
        self._describe_http(error, found)
        if error is not None and not isinstance(error, Exception):
            found[names.OUTCOME] = "cancelled"
        elif error is not None:
            found[names.OUTCOME] = "error"
            record_error(span, error, found, messages=self._messages)
        elif answer.failed or (timing is not None and timing.end == "truncated"):
            found[names.OUTCOME] = "error"
            found[names.ERROR_TYPE] = answer.error or ("error" if answer.failed else "truncated")
            span.set_status(Status(StatusCode.ERROR))
        else:
            found[names.OUTCOME] = "ok"
        span.set_attributes(found)

    def _describe_http(self, error: BaseException | None, found: Attributes) -> None:
        http = self.http if self.http is not None else getattr(error, "response", None)
        headers = getattr(http, "headers", None)
        retries = self.retries
        if retries is None and error is not None:
            sent = getattr(getattr(error, "request", None), "headers", None) or {}
            count = sent.get("x-stainless-retry-count", "")
            retries = int(count) if count.isdigit() else None
        if retries:
            found[names.RETRIES] = retries
        if headers is None:
            return
        request_id = headers.get("x-request-id") or headers.get("request-id")
        if request_id:
            found[names.REQUEST_ID] = request_id
        for name, keys in _LIMITS:
            for key in keys:
                value = headers.get(key)
                if value is not None and value.isdecimal() and len(value) < 19:
                    found[name] = int(value)
                    break


_LIMITS = (
    (names.REMAINING_REQUESTS, ("x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining")),
    (names.REMAINING_TOKENS, ("x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-remaining")),
)
