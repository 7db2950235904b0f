"""Evaluation results for a current or an earlier call."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from opentelemetry.trace.propagation import get_current_span

from .._errors import log_internal_error
from ..model import Call
from ..model.call_stages import FinishedCall
from .operation import get_emitter
from .validation import clean_label, clean_value, warn_invalid

_MAX_RECENT_CALLS = 4096
_HEX_DIGITS = re.compile(r"[0-9a-f]+")

_recent: OrderedDict[str, Any] = OrderedDict()
"""Span contexts of the latest calls by response id.

An ``OrderedDict``, because a ``dict`` drops its oldest key slowly.
"""


@dataclass(frozen=True, slots=True)
class Score:
    """One evaluation result."""

    name: str
    value: float | None
    label: str | None
    explanation: str | None
    error: BaseException | str | None = None
    """The exception, or the type of the error, that made the evaluation fail."""
    trace_id: int = 0
    span_id: int = 0
    """Id of the evaluated span, or 0 if it is unknown."""
    response_id: str | None = None
    open_span: Any = None
    """The evaluated span object: the current span, or a span passed as ``on``. ``None`` for ids."""


def forget_calls() -> None:
    """Forget the calls that can be scored by their response id."""
    _recent.clear()


def score(
    name: str,
    value: float | None = None,
    *,
    label: str | None = None,
    explanation: str | None = None,
    error: BaseException | str | None = None,
    on: Call | str | tuple[str, str] | None = None,
) -> None:
    """Record an evaluation result, during the call or later. It is exported in the background.

    A score without a name or without a valid target is dropped with one warning in the log. Nothing is raised.

    Args:
        name: The name of the evaluation, such as ``relevance`` or ``thumbs``.
        value: The score.
        label: The verdict in one word, such as ``pass`` or ``hallucinated``.
        explanation: The reason for the score.
        error: The exception, or the type of the error, if the evaluation failed and so has no result.
        on: The evaluated call: a ``Call``, a response id, or a trace id and a span id in hexadecimal digits. By default
            the current span. The latest 4096 calls can be scored by their response id with a link to their span.
    """
    try:
        emitter = get_emitter()
        if emitter is None:
            return
        result = _read_score(name, value, label, explanation, error, on)
        if result is not None:
            emitter.score(result)
    except Exception:
        log_internal_error("record a score")


def remember(call: FinishedCall) -> None:
    """Keep the span context of a finished call, so that it can be scored by its response id."""
    response_id = call.response.id
    if response_id is not None:
        _recent[response_id] = call.span_context
        if len(_recent) > _MAX_RECENT_CALLS:
            _recent.popitem(last=False)


def _read_score(
    name: object, value: object, label: object, explanation: object, error: object, on: object
) -> Score | None:
    score_name = clean_label("the name of a score", name)
    if score_name is None:
        warn_invalid("score", "a score needs a name; it is not recorded")
        return None
    number = clean_value(f"score {score_name!r}", value)
    if isinstance(number, str):
        warn_invalid(
            f"score {score_name!r}", f"the value of score {score_name!r} must be a number, not text; it is not recorded"
        )
        number = None
    text = clean_value("the explanation of a score", explanation)
    target = _target(on)
    if target is None:
        warn_invalid(
            "score on",
            f"score {score_name!r} has no call to belong to (on={type(on).__name__}); it is not recorded; "
            "pass on= a Call, a response id, or a trace id and a span id",
        )
        return None
    return Score(
        name=score_name,
        value=None if number is None else float(number),
        label=clean_label("the label of a score", label),
        explanation=text if isinstance(text, str) else None,
        error=error if isinstance(error, BaseException) else clean_label("the error of a score", error),
        **target,
    )


def _target(on: Any) -> dict[str, Any] | None:
    """Return the fields of ``Score`` that identify the evaluated call, or ``None`` if ``on`` identifies none."""
    if on is None:
        return _target_of_span(get_current_span())
    if isinstance(on, Call):
        return {**_parse_ids(on.trace_id, on.span_id), "response_id": on.response_id}
    if isinstance(on, str):
        span_context = _recent.get(on)
        ids = {} if span_context is None else {"trace_id": span_context.trace_id, "span_id": span_context.span_id}
        return {"response_id": on, **ids} if on else None
    if isinstance(on, tuple) and len(on) == 2 and all(isinstance(part, str) for part in on):
        return _parse_ids(*on) or None
    return _target_of_span(on) if hasattr(on, "get_span_context") else None


def _target_of_span(span: Any) -> dict[str, Any] | None:
    ids = span.get_span_context()
    return {"trace_id": ids.trace_id, "span_id": ids.span_id, "open_span": span} if ids.is_valid else None


def _parse_ids(trace: str, span: str) -> dict[str, Any]:
    trace, span = trace.lower(), span.lower()
    if len(trace) != 32 or len(span) != 16 or not _HEX_DIGITS.fullmatch(trace + span):
        return {}
    return {"trace_id": int(trace, 16), "span_id": int(span, 16)}
