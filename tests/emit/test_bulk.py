"""The short way to set attributes leads where the SDK's own way leads."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.trace import INVALID_SPAN

from llmtrace.emit.bulk import set_all

PLAIN = {"text": "a", "count": 3, "share": 0.5, "flag": True, "list": ["a", "b"], "tuple": (1, 2), "empty": []}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK says what it drops and cuts, which is meant here."""
    monkeypatch.setattr(logging.getLogger("opentelemetry.attributes"), "disabled", True)


def both(attributes: dict[str, Any], limits: SpanLimits | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a span has after the SDK's way, and after ours."""
    tracer = TracerProvider(span_limits=limits).get_tracer("test")
    theirs, ours = (tracer.start_span("x", attributes={"text": "old", "first": 1}) for _ in range(2))
    theirs.set_attributes(attributes)
    set_all(ours, attributes)
    return dict(theirs.attributes or {}), dict(ours.attributes or {})  # type: ignore[attr-defined]


def limits(**values: int) -> SpanLimits:
    return SpanLimits(**values)


@pytest.mark.parametrize(
    ("attributes", "limit"),
    [
        (PLAIN, None),
        ({**PLAIN, "bytes": b"x"}, None),
        ({**PLAIN, "nested": {"a": 1}}, None),
        ({**PLAIN, "lists": [["a"], ["b"]]}, None),
        ({**PLAIN, "none": None}, None),
        (PLAIN, limits(max_span_attribute_length=2)),
        ({"text": "longer than that"}, limits(max_attribute_length=4)),
    ],
)
def test_both_ways_lead_to_the_same(attributes: dict[str, Any], limit: SpanLimits | None) -> None:
    """Values of every type, and limits of length."""
    theirs, ours = both(attributes, limit)
    assert ours == theirs


def test_the_limit_of_number_is_kept() -> None:
    """Above it the SDK decides which to drop."""
    theirs, ours = both({f"key{number}": number for number in range(9)}, limits(max_span_attributes=5))
    assert ours == theirs and len(ours) == 5


def test_what_was_given_may_change_afterwards() -> None:
    """A list of the caller's is copied."""
    given = ["a"]
    span = TracerProvider().get_tracer("test").start_span("x")
    set_all(span, {"list": given})
    given.append("b")
    assert span.attributes == {"list": ("a",)}  # type: ignore[attr-defined]


def test_an_ended_span_stays_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    """The SDK says so, and nothing is written."""
    span = TracerProvider().get_tracer("test").start_span("x", attributes={"first": 1})
    span.end()
    set_all(span, PLAIN)
    assert span.attributes == {"first": 1}  # type: ignore[attr-defined]
    assert "ended span" in caplog.text
    set_all(INVALID_SPAN, PLAIN)


def test_an_sdk_that_keeps_them_otherwise_does_its_own_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release without the inner dictionary is used as its documentation says."""

    class Other(BoundedAttributes):
        def __init__(self) -> None:
            self.seen: dict[str, Any] = {}

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

        def __setitem__(self, key: str, value: Any) -> None:
            self.seen[key] = value

        def _set_items(self, attributes: Any) -> None:
            self.seen.update(attributes)

    monkeypatch.setattr("llmtrace.emit.bulk._KEPT", Other)
    span: Any = TracerProvider().get_tracer("test").start_span("x")
    span._attributes = Other()
    set_all(span, {"a": 1})
    assert span._attributes.seen == {"a": 1}
