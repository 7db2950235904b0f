"""Fast ways to set attributes, at once or lazily, have the same results as those of the SDK."""

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
from llmtrace._compat import span_attributes
from llmtrace._compat.span_attributes import set_attributes, set_lazily

PLAIN = {"text": "a", "count": 3, "share": 0.5, "flag": True, "list": ["a", "b"], "tuple": (1, 2), "empty": []}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable the SDK's warnings on dropped and cut attributes, which these tests cause."""
    monkeypatch.setattr(logging.getLogger("opentelemetry.attributes"), "disabled", True)


def set_both_ways(
    attributes: dict[str, Any], limits: SpanLimits | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the attributes of two spans, one set by the SDK and one by ``set_attributes``."""
    tracer = TracerProvider(span_limits=limits).get_tracer("test")
    expected, actual = (tracer.start_span("x", attributes={"text": "old", "first": 1}) for _ in range(2))
    expected.set_attributes(attributes)
    set_attributes(actual, attributes)
    return dict(expected.attributes or {}), dict(actual.attributes or {})  # type: ignore[attr-defined]


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
def test_set_attributes_equals_the_sdk(attributes: dict[str, Any], limit: SpanLimits | None) -> None:
    """Values of every type, and length limits, have the same result as with the SDK."""
    expected, actual = set_both_ways(attributes, limit)
    assert actual == expected


def test_set_attributes_above_the_limit_equals_the_sdk() -> None:
    """Above the limit the same attributes are dropped as by the SDK."""
    expected, actual = set_both_ways({f"key{number}": number for number in range(9)}, limits(max_span_attributes=5))
    assert actual == expected and len(actual) == 5


def test_set_attributes_copies_lists() -> None:
    """A list that the caller changes later does not change the span."""
    values = ["a"]
    span = TracerProvider().get_tracer("test").start_span("x")
    set_attributes(span, {"list": values})
    values.append("b")
    assert span.attributes == {"list": ("a",)}  # type: ignore[attr-defined]


def test_set_attributes_on_an_ended_span_writes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The SDK logs a warning and the span stays unchanged."""
    span = TracerProvider().get_tracer("test").start_span("x", attributes={"first": 1})
    span.end()
    set_attributes(span, PLAIN)
    assert span.attributes == {"first": 1}  # type: ignore[attr-defined]
    assert "ended span" in caplog.text
    set_attributes(INVALID_SPAN, PLAIN)


def test_set_attributes_uses_the_api_of_an_unexpected_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release with other internals is used through its public API."""

    class Other(BoundedAttributes):
        def __init__(self) -> None:
            self.seen: dict[str, Any] = {}

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

        def __setitem__(self, key: str, value: Any) -> None:
            self.seen[key] = value

        def _set_items(self, attributes: Any) -> None:
            self.seen.update(attributes)

    monkeypatch.setattr("llmtrace._compat.span_attributes._BOUNDED_ATTRIBUTES", Other)
    span: Any = TracerProvider().get_tracer("test").start_span("x")
    span._attributes = Other()
    set_attributes(span, {"a": 1})
    assert span._attributes.seen == {"a": 1}


# -- lazy attributes ------------------------------------------------------------------------------------------------


class CountingFunction:
    """Function for ``set_lazily`` that counts its calls."""

    def __init__(self, **attributes: Any) -> None:
        self.attributes = attributes
        self.calls = 0

    def __call__(self, existing: dict[str, Any], limit: int) -> dict[str, Any]:
        self.calls += 1
        return {**self.attributes, "limit": limit}


def make_lazy_span(make: Any, **options: Any) -> tuple[Any, bool]:
    span: Any = TracerProvider(**options).get_tracer("test").start_span("x", attributes={"first": 1})
    return span, set_lazily(span, make)


READERS = {
    "as a mapping": lambda span: dict(span.attributes),
    "by name": lambda span: {name: span.attributes[name] for name in ("first", "list", "limit")},
    "as JSON": lambda span: span.to_json() and dict(span.attributes),
    "by its length": lambda span: len(span.attributes) == 3 and dict(span.attributes),
    "as items": lambda span: dict(span.attributes.items()),
}
if hasattr(BoundedAttributes, "__deepcopy__"):  # those of the first releases cannot be copied
    READERS["as a copy"] = lambda span: dict(copy.deepcopy(span._attributes))


@pytest.mark.parametrize("reader", READERS)
def test_lazy_attributes_are_computed_once_when_read(reader: str) -> None:
    """Attributes are computed by the first read of any kind, before or after the end of the span."""
    for ended in (False, True):
        make = CountingFunction(list=["a"])
        span, done = make_lazy_span(make)
        assert done and make.calls == 0
        if ended:
            span.end()
            assert make.calls == 0
        assert READERS[reader](span) == {"first": 1, "list": ("a",), "limit": 128}
        assert READERS[reader](span) == {"first": 1, "list": ("a",), "limit": 128}
        assert make.calls == 1
        assert type(span._attributes) is BoundedAttributes


def test_otlp_encoder_reads_lazy_attributes() -> None:
    """The OTLP encoder includes lazy attributes."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = provider.get_tracer("test").start_span("x", attributes={"first": 1})
    assert set_lazily(span, CountingFunction(late="yes"))
    span.end()
    sent = encode_spans(exporter.get_finished_spans()).resource_spans[0].scope_spans[0].spans[0]
    assert {attribute.key for attribute in sent.attributes} == {"first", "late", "limit"}


def test_span_processor_reads_lazy_attributes_at_the_end() -> None:
    """A span processor of the application reads all attributes in ``on_end``."""
    read = []

    class Reads(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            read.append(dict(span.attributes or {}))

    provider = TracerProvider()
    provider.add_span_processor(Reads())
    span = provider.get_tracer("test").start_span("x")
    assert set_lazily(span, CountingFunction(late=1))
    span.end()
    assert read == [{"late": 1, "limit": 128}]


def test_concurrent_readers_get_the_same_attributes() -> None:
    """Two threads that read at once both get all attributes, without waiting for each other."""
    inside = threading.Barrier(2)

    class Slow(CountingFunction):
        def __call__(self, existing: dict[str, Any], limit: int) -> dict[str, Any]:
            inside.wait(10)
            return super().__call__(existing, limit)

    make = Slow(late=1)
    span, _ = make_lazy_span(make)
    span.end()
    seen: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: seen.append(dict(span.attributes))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert seen == [{"first": 1, "late": 1, "limit": 128}] * 2
    assert make.calls == 2


def test_slower_reader_keeps_the_attributes_of_the_faster_one() -> None:
    """Attributes that another thread has computed and masked are not replaced."""

    def make(existing: dict[str, Any], limit: int) -> dict[str, Any]:
        if not masked:
            masked.append(True)  # as another thread would
            span._attributes._dict["late"] = "masked"
        return {"late": "secret"}

    masked: list[bool] = []
    span, _ = make_lazy_span(make)
    span.end()
    assert dict(span.attributes) == {"first": 1, "late": "masked"}


def test_lazy_values_are_converted_like_the_sdk() -> None:
    """Values of other types are converted or dropped as by the SDK."""
    attributes = {**PLAIN, "bytes": b"x", "nested": {"a": 1}, "none": None}
    span, _ = make_lazy_span(CountingFunction(**attributes))
    expected: Any = TracerProvider().get_tracer("test").start_span("x")
    expected.set_attributes({"first": 1, **attributes, "limit": 128})
    assert dict(span.attributes) == dict(expected.attributes)


def test_attributes_set_after_set_lazily_take_precedence() -> None:
    """Attributes that are set later come last and replace lazy ones."""
    make = CountingFunction(late=1)
    span, _ = make_lazy_span(make)
    span.set_attribute("late", 2)
    span.set_attribute("other", 3)
    assert dict(span.attributes) == {"first": 1, "late": 2, "limit": 128, "other": 3}


@pytest.mark.parametrize(
    "limit", [limits(max_span_attributes=5), limits(max_span_attribute_length=9), limits(max_attribute_length=9)]
)
def test_set_lazily_rejects_unusual_limits(limit: SpanLimits) -> None:
    """Length limits and low number limits are left to the SDK."""
    span, done = make_lazy_span(CountingFunction(), span_limits=limit)
    assert not done
    assert dict(span.attributes) == {"first": 1}


def test_lazy_attributes_above_the_limit_drop_the_oldest() -> None:
    """A span that a processor has almost filled drops its oldest attributes, as with the SDK."""
    more = {"first": 2, **{f"late{number}": number for number in range(9)}}
    expected, actual = (TracerProvider().get_tracer("test").start_span("x") for _ in range(2))
    for span in (expected, actual):
        span.set_attributes({"first": 1, **{f"key{number}": number for number in range(125)}})
    expected.set_attributes(more)
    assert set_lazily(actual, lambda existing, limit: dict(more))
    assert list(actual.attributes.items()) == list(expected.attributes.items())  # type: ignore[attr-defined]
    assert actual.dropped_attributes == expected.dropped_attributes == 7  # type: ignore[attr-defined]


def test_lazy_function_gets_the_limit_of_the_span() -> None:
    """The function gets the number of attributes that the span keeps."""
    span, done = make_lazy_span(CountingFunction(), span_limits=limits(max_span_attributes=500))
    assert done
    assert span.attributes["limit"] == 500


def foreign_spans() -> Iterator[Any]:
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


def test_set_lazily_rejects_ended_and_foreign_spans() -> None:
    """Ended spans and spans with other internals are rejected."""
    assert [set_lazily(span, CountingFunction()) for span in foreign_spans()] == [False] * 5


@pytest.mark.faulty
def test_error_in_the_lazy_function_loses_one_spans_attributes() -> None:
    """The reader gets the span without the lazy attributes, and the error is counted."""

    class Hostile(list[str]):
        def __iter__(self) -> Iterator[str]:
            raise RuntimeError

    for make in (CountingFunction(late=Hostile()), lambda existing, limit: 1 // 0):
        span, done = make_lazy_span(make)
        span.end()
        assert done
        assert dict(span.attributes) == {"first": 1}
        assert type(span._attributes) is BoundedAttributes
    assert _errors.internal_errors["write a span"] == 2


def test_lazy_attributes_can_be_replaced_by_processors() -> None:
    """A processor that assigns masked attributes prevents the computation."""
    make = CountingFunction(late=1)
    span, _ = make_lazy_span(make)
    span.end()
    span._attributes._dict = {"masked": True}
    assert dict(span.attributes) == {"masked": True}
    assert make.calls == 0


def test_set_lazily_rejects_attributes_with_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attributes of a class with slots cannot hold the function and are rejected."""

    class Slotted:
        __slots__ = ("_immutable", "max_value_len", "maxlen")

    span: Any = TracerProvider().get_tracer("test").start_span("x")
    monkeypatch.setattr(span_attributes, "_BOUNDED_ATTRIBUTES", Slotted)
    span._attributes = Slotted()
    span._attributes._immutable, span._attributes.max_value_len, span._attributes.maxlen = False, None, None
    assert not set_lazily(span, CountingFunction())


def test_unread_span_releases_its_lazy_function() -> None:
    """The function is released with the span, without the garbage collector."""
    make = CountingFunction()
    reference = weakref.ref(make)
    span, _ = make_lazy_span(make)
    span.end()
    gc.disable()
    try:
        del span, make
        assert reference() is None
    finally:
        gc.enable()
