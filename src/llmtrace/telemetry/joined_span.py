"""Span of another instrumentation that represents a call of llmtrace and is completed before it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from time import time_ns
from typing import Any

from opentelemetry.trace import SpanContext

from .._compat.span_attributes import limits_of, set_attributes, set_lazily, spare_room
from .._errors import attempt
from ..capture import worker
from .attributes import Attributes
from .importance import within

Make = Callable[[Collection[str]], Attributes]
"""Function from the names of the attributes on a span to the attributes to add."""

_USAGE = ("gen_ai.usage.", "llm.token_count.", "llm.usage.")


def has_usage(names: Collection[str]) -> bool:
    """Return True if one of ``names`` is a token count, of any common semantic convention."""
    return any(name.startswith(_USAGE) for name in names)


class JoinedSpan:
    """Span whose ``end`` is intercepted to add the attributes that its owner has not written."""

    __slots__ = ("_call_ended_ns", "_end", "_late", "_make", "completed", "missed", "notify", "span")

    def __init__(self, span: Any) -> None:
        """Intercept the end of ``span``, if it is recording."""
        span = _innermost(span)
        self.span: Any = span
        self.completed: bool = False
        self.missed: bool = False
        """True if the span ended before the call did."""
        self.notify: Callable[[], Callable[[], None] | None] | None = None
        """Weak reference to a function that ends the call, if it can, when the owner ends the span."""
        self._make: Make | None = None
        self._late = False
        self._call_ended_ns = 0
        self._end: Callable[..., object] | None = None
        if span.is_recording():
            end = span.end
            try:
                span.end = self._intercept
                self._end = end
                worker.start()  # it may have to end the span
            except (AttributeError, TypeError):  # a class with __slots__, or one written in C
                self._end = None

    def get_span_context(self) -> SpanContext:
        """Return the ids of the span."""
        context: SpanContext = self.span.get_span_context()
        return context

    def prepare(self, make: Make, *, late: bool) -> None:
        """Have the span completed by ``make`` when it ends, perhaps long after the call.

        A ``late`` call is not priced yet: ``make`` is called when an exporter reads the span, if possible.
        """
        if self.missed or self.completed:
            return
        self._make, self._late, self._call_ended_ns = make, late, time_ns()
        if self._end is None and not late:
            self._complete(spare=True)

    def _intercept(self, *args: Any, **kwargs: Any) -> None:
        attempt("end a call with the span of another instrumentation", self._notify)
        end, self._end = self._end, None
        if end is None:  # ended twice: the SDK logs a warning
            end = type(self.span).end.__get__(self.span)
        try:
            attempt("complete the span of another instrumentation", self._restore_and_complete, end)
        finally:
            end(*args, **kwargs)

    def __del__(self) -> None:
        """Have the worker end a span that its owner has dropped, as some do with a stream that is left early."""
        if self._end is not None and not sys.is_finalizing():
            attempt("end a dropped span", worker.submit, self._end_dropped)

    def _end_dropped(self) -> None:
        attempt("end a call with the span of another instrumentation", self._notify)
        if self._make is not None and vars(self.span).get("end") == self._intercept:
            self._intercept(self._call_ended_ns)

    def _notify(self) -> None:
        notify = None if self.notify is None or self._make is not None else self.notify()
        if notify is not None:
            notify()

    def _restore_and_complete(self, end: Callable[..., object]) -> None:
        own = vars(self.span)
        if own.get("end") == self._intercept:
            del own["end"]
            if self.span.end != end:  # another package replaced it earlier
                self.span.end = end
        self._complete()

    def _complete(self, *, spare: bool = False) -> None:
        span, make, self._make = self.span, self._make, None
        if not span.is_recording():
            self.missed = not self.completed
            return
        if make is None:
            self.missed = True
            return
        self.completed = True
        if self._late and set_lazily(span, lambda existing, limit: _new(make(existing), existing, limit)):
            return
        existing, limit = limits_of(span)
        names = frozenset(existing)
        # Leave spare room: the owner may still add attributes before it ends the span.
        set_attributes(span, _new(make(names), names, len(names) + spare_room(span) if spare else limit))


def _new(attributes: Attributes, existing: Collection[str], limit: int) -> Attributes:
    """Return the most important new attributes that fit: above its limit the SDK drops the oldest."""
    return within({name: value for name, value in attributes.items() if name not in existing}, limit - len(existing))


def _innermost(span: Any) -> Any:
    """Return the SDK's span inside the wrappers of OpenInference and Logfire, which write to it at their end."""
    for _ in range(4):
        inner = getattr(span, "__wrapped__", None) or getattr(span, "span", None)
        if inner is None or not hasattr(inner, "end") or inner.get_span_context() != span.get_span_context():
            return span
        span = inner
    return span
