"""The short ways to set attributes, at once or when somebody looks, lead where the SDK's own way leads."""

from __future__ import annotations

import copy
import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import INVALID_SPAN

from llmtrace import _errors
from llmtrace.telemetry import fast_attributes
from llmtrace.telemetry.fast_attributes import set_attributes, set_lazily

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
    set_attributes(ours, attributes)
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
    set_attributes(span, {"list": given})
    given.append("b")
    assert span.attributes == {"list": ("a",)}  # type: ignore[attr-defined]


def test_an_ended_span_stays_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    """The SDK says so, and nothing is written."""
    span = TracerProvider().get_tracer("test").start_span("x", attributes={"first": 1})
    span.end()
    set_attributes(span, PLAIN)
    assert span.attributes == {"first": 1}  # type: ignore[attr-defined]
    assert "ended span" in caplog.text
    set_attributes(INVALID_SPAN, PLAIN)


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

    monkeypatch.setattr("llmtrace.telemetry.fast_attributes._KEPT", Other)
    span: Any = TracerProvider().get_tracer("test").start_span("x")
    span._attributes = Other()
    set_attributes(span, {"a": 1})
    assert span._attributes.seen == {"a": 1}


# -- when somebody looks ---------------------------------------------------------------------------------------------


class Maker:
    """Says the attributes, and counts how often it is asked."""

    def __init__(self, **made: Any) -> None:
        self.made = made
        self.asked = 0

    def __call__(self, known: dict[str, Any], limit: int) -> dict[str, Any]:
        self.asked += 1
        return {**self.made, "limit": limit}


def late(make: Any, **options: Any) -> tuple[Any, bool]:
    span: Any = TracerProvider(**options).get_tracer("test").start_span("x", attributes={"first": 1})
    return span, set_lazily(span, make)


WAYS = {
    "as a mapping": lambda span: dict(span.attributes),
    "by name": lambda span: {name: span.attributes[name] for name in ("first", "list", "limit")},
    "as JSON": lambda span: span.to_json() and dict(span.attributes),
    "by its length": lambda span: len(span.attributes) == 3 and dict(span.attributes),
    "as items": lambda span: dict(span.attributes.items()),
}
if hasattr(BoundedAttributes, "__deepcopy__"):  # those of the first releases cannot be copied
    WAYS["as a copy"] = lambda span: dict(copy.deepcopy(span._attributes))


@pytest.mark.parametrize("way", WAYS)
def test_made_once_when_looked_at(way: str) -> None:
    """Whatever way an exporter takes, after the end of the span or before."""
    for ended in (False, True):
        make = Maker(list=["a"])
        span, done = late(make)
        assert done and make.asked == 0
        if ended:
            span.end()
            assert make.asked == 0
        assert WAYS[way](span) == {"first": 1, "list": ("a",), "limit": 128}
        assert WAYS[way](span) == {"first": 1, "list": ("a",), "limit": 128}
        assert make.asked == 1
        assert type(span._attributes) is BoundedAttributes


def test_the_exporter_of_otlp_sends_them() -> None:
    """It encodes what the span was to have."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = provider.get_tracer("test").start_span("x", attributes={"first": 1})
    assert set_lazily(span, Maker(late="yes"))
    span.end()
    sent = encode_spans(exporter.get_finished_spans()).resource_spans[0].scope_spans[0].spans[0]
    assert {each.key for each in sent.attributes} == {"first", "late", "limit"}


def test_a_processor_may_look_at_the_end() -> None:
    """One of the application's that reads a span as it ends reads all of it."""
    read = []

    class Reads(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            read.append(dict(span.attributes or {}))

    provider = TracerProvider()
    provider.add_span_processor(Reads())
    span = provider.get_tracer("test").start_span("x")
    assert set_lazily(span, Maker(late=1))
    span.end()
    assert read == [{"late": 1, "limit": 128}]


def test_two_threads_that_look_at_once_see_the_same() -> None:
    """Neither sees a part, and neither waits for the other."""
    inside = threading.Barrier(2)

    class Slow(Maker):
        def __call__(self, known: dict[str, Any], limit: int) -> dict[str, Any]:
            inside.wait(10)
            return super().__call__(known, limit)

    make = Slow(late=1)
    span, _ = late(make)
    span.end()
    seen: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: seen.append(dict(span.attributes))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert seen == [{"first": 1, "late": 1, "limit": 128}] * 2
    assert make.asked == 2


def test_who_is_late_changes_nothing() -> None:
    """What a quicker thread has made may be masked by now."""

    def make(known: dict[str, Any], limit: int) -> dict[str, Any]:
        if not masked:
            masked.append(True)  # meanwhile, elsewhere
            span._attributes._dict["late"] = "masked"
        return {"late": "secret"}

    masked: list[bool] = []
    span, _ = late(make)
    span.end()
    assert dict(span.attributes) == {"first": 1, "late": "masked"}


def test_values_that_the_sdk_would_change_are_changed() -> None:
    """As by its own way."""
    given = {**PLAIN, "bytes": b"x", "nested": {"a": 1}, "none": None}
    span, _ = late(Maker(**given))
    theirs: Any = TracerProvider().get_tracer("test").start_span("x")
    theirs.set_attributes({"first": 1, **given, "limit": 128})
    assert dict(span.attributes) == dict(theirs.attributes)


def test_attributes_set_after_it_are_kept() -> None:
    """They come last, as they were set last."""
    make = Maker(late=1)
    span, _ = late(make)
    span.set_attribute("late", 2)
    span.set_attribute("other", 3)
    assert dict(span.attributes) == {"first": 1, "late": 2, "limit": 128, "other": 3}


@pytest.mark.parametrize(
    "limit", [limits(max_span_attributes=5), limits(max_span_attribute_length=9), limits(max_attribute_length=9)]
)
def test_unusual_limits_are_left_to_the_sdk(limit: SpanLimits) -> None:
    """They decide which attribute goes, and what of it."""
    span, done = late(Maker(), span_limits=limit)
    assert not done
    assert dict(span.attributes) == {"first": 1}


def test_above_the_limit_the_oldest_go() -> None:
    """A processor of the application's may have filled the span as it began."""
    more = {"first": 2, **{f"late{number}": number for number in range(9)}}
    theirs, ours = (TracerProvider().get_tracer("test").start_span("x") for _ in range(2))
    for span in (theirs, ours):
        span.set_attributes({"first": 1, **{f"key{number}": number for number in range(125)}})
    theirs.set_attributes(more)
    assert set_lazily(ours, lambda known, limit: dict(more))
    assert list(ours.attributes.items()) == list(theirs.attributes.items())  # type: ignore[attr-defined]
    assert ours.dropped_attributes == theirs.dropped_attributes == 7  # type: ignore[attr-defined]


def test_a_higher_limit_is_told() -> None:
    """Who makes the attributes learns how many there may be."""
    span, done = late(Maker(), span_limits=limits(max_span_attributes=500))
    assert done
    assert span.attributes["limit"] == 500


def spans_of_others() -> Iterator[Any]:
    ended: Any = TracerProvider().get_tracer("test").start_span("x")
    ended.end()
    yield ended
    yield INVALID_SPAN
    unusual: Any = TracerProvider().get_tracer("test").start_span("x")
    unusual._attributes = type("Other", (BoundedAttributes,), {})()
    yield unusual
    unusual = TracerProvider().get_tracer("test").start_span("x")
    del unusual._attributes._immutable
    yield unusual
    unusual = TracerProvider().get_tracer("test").start_span("x")
    del unusual._attributes._dict
    yield unusual


def test_other_spans_are_left_alone() -> None:
    """Ended ones, and those that keep their attributes in another way."""
    assert [set_lazily(span, Maker()) for span in spans_of_others()] == [False] * 5


@pytest.mark.faulty
def test_a_fault_costs_the_attributes_of_one_span() -> None:
    """An exporter has a batch of others in hand when it looks."""

    class Hostile(list[str]):
        def __iter__(self) -> Iterator[str]:
            raise RuntimeError

    for given in (Maker(late=Hostile()), lambda known, limit: 1 // 0):
        span, done = late(given)
        span.end()
        assert done
        assert dict(span.attributes) == {"first": 1}
        assert type(span._attributes) is BoundedAttributes
    assert _errors.internal_errors["write a span"] == 2


def test_others_may_put_attributes_in_their_place() -> None:
    """As some processors do, that mask what a span says."""
    make = Maker(late=1)
    span, _ = late(make)
    span.end()
    span._attributes._dict = {"masked": True}
    assert dict(span.attributes) == {"masked": True}
    assert make.asked == 0


def test_an_sdk_without_room_for_more_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attributes in slots have no place for what is to make them."""

    class Slotted:
        __slots__ = ("_immutable", "max_value_len", "maxlen")

    span: Any = TracerProvider().get_tracer("test").start_span("x")
    monkeypatch.setattr(fast_attributes, "_KEPT", Slotted)
    span._attributes = Slotted()
    span._attributes._immutable, span._attributes.max_value_len, span._attributes.maxlen = False, None, None
    assert not set_lazily(span, Maker())


def test_nobody_looks_and_nothing_stays() -> None:
    """What is to make the attributes goes with the span, without waiting for the collector."""
    make = Maker()
    gone = weakref.ref(make)
    span, _ = late(make)
    span.end()
    gc.disable()
    try:
        del span, make
        assert gone() is None
    finally:
        gc.enable()
