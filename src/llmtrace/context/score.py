"""Evaluation results, for a call that is being made or was made before."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from opentelemetry.trace.propagation import get_current_span

from .._errors import log_internal_error
from ..model import Call
from . import operation as works
from .validation import clean_label, clean_value, warn_once

__all__ = ["Score", "remember", "score"]

_MAX_RECENT_CALLS = 4096
_HEX = re.compile(r"[0-9a-f]+")

_recent: OrderedDict[str, Any] = OrderedDict()
"""The span context of the latest calls by response id. A plain dictionary is slow to give away its oldest entry."""


@dataclass(frozen=True, slots=True)
class Score:
    """One evaluation result."""

    name: str
    value: float | None
    label: str | None
    explanation: str | None
    trace_id: int = 0
    span_id: int = 0
    """0 when not known."""
    response_id: str | None = None
    open_span: Any = None
    """The span that is judged, where it is still at hand."""


def forget_calls() -> None:
    """Forget the calls that can be scored by their response id."""
    _recent.clear()


def score(
    name: str,
    value: float | None = None,
    *,
    label: str | None = None,
    explanation: str | None = None,
    on: Call | str | tuple[str, str] | None = None,
) -> None:
    """Record an evaluation result, now or later; nothing waits for it.

    Args:
        name: What was judged: ``relevance``, ``thumbs``...
        value: The score.
        label: The verdict in a word: ``pass``, ``hallucinated``...
        explanation: Why.
        on: What was judged: a ``Call``, a response id, or trace id and span id in hexadecimal digits. By default the
            span that is current.
    """
    try:
        maker = works.get_emitter()
        if maker is None:
            return
        made = _read(name, value, label, explanation, on)
        if made is not None:
            maker.score(made)
    except Exception:
        log_internal_error("record a score")


def remember(call: Any) -> None:
    """Keep the ids of a call that has ended, so that a score can be given by response id."""
    response_id = call.response.id
    if response_id is not None:
        _recent[response_id] = call.span.get_span_context()
        if len(_recent) > _MAX_RECENT_CALLS:
            _recent.popitem(last=False)


def _read(name: object, value: object, verdict: object, explanation: object, on: object) -> Score | None:
    called = clean_label("the name of a score", name)
    if called is None:
        warn_once("score", "a score needs a name; it is left out")
        return None
    number = clean_value(f"score {called!r}", value)
    if isinstance(number, str):
        warn_once(f"score {called!r}", f"the value of score {called!r} must be a number, not text; it is left out")
        number = None
    why = clean_value("the explanation of a score", explanation)
    target = _target(on)
    if target is None:
        warn_once("score on", f"score {called!r} has no call to belong to (on={type(on).__name__}); it is left out")
        return None
    return Score(
        name=called,
        value=None if number is None else float(number),
        label=clean_label("the label of a score", verdict),
        explanation=why if isinstance(why, str) else None,
        **target,
    )


def _target(on: Any) -> dict[str, Any] | None:
    if on is None:
        return _of_span(get_current_span())
    if isinstance(on, Call):
        return {**_ids(on.trace_id, on.span_id), "response_id": on.response_id}
    if isinstance(on, str):
        ids = _recent.get(on)
        known = {} if ids is None else {"trace_id": ids.trace_id, "span_id": ids.span_id}
        return {"response_id": on, **known} if on else None
    if isinstance(on, tuple) and len(on) == 2 and all(isinstance(one, str) for one in on):
        return _ids(*on) or None
    return _of_span(on) if hasattr(on, "get_span_context") else None


def _of_span(span: Any) -> dict[str, Any] | None:
    ids = span.get_span_context()
    return {"trace_id": ids.trace_id, "span_id": ids.span_id, "open_span": span} if ids.is_valid else None


def _ids(trace: str, span: str) -> dict[str, Any]:
    trace, span = trace.lower(), span.lower()
    if len(trace) != 32 or len(span) != 16 or not _HEX.fullmatch(trace + span):
        return {}
    return {"trace_id": int(trace, 16), "span_id": int(span, 16)}
