"""Tags that travel to another service: only those opted in, and never to a vendor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from opentelemetry import baggage, propagate, trace
from opentelemetry import context as otel
from opentelemetry.sdk.trace import TracerProvider
from scope_vendor import Vendor

import llmtrace
from llmtrace import current, tag, workflow
from llmtrace.context import state as scopes


@pytest.fixture
def travelling() -> Iterator[None]:
    with llmtrace.instrument(tracer_provider=TracerProvider(), baggage_keys="feature, plan", strict=True):
        yield


def headers() -> dict[str, str]:
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def test_without_opting_in_only_the_trace_travels(spans: Any) -> None:
    """The headers of an outgoing request name the trace and no tag."""
    with tag(feature="marker", user="marker"), workflow("w"):
        told = headers()
        trace_id = trace.get_current_span().get_span_context().trace_id
    assert set(told) == {"traceparent"}
    assert f"{trace_id:032x}" in told["traceparent"]


def test_opted_in_tags_reach_the_next_service(travelling: None) -> None:
    """There they are tags again, in the same trace, below what that service says itself."""
    with tag(feature="f", user="marker", plan="pro", other="marker"), workflow("w"):
        told = headers()
        here = trace.get_current_span().get_span_context().trace_id
    assert "marker" not in str(told)
    assert not baggage.get_all()
    token = otel.attach(propagate.extract(told))
    try:
        assert trace.get_current_span().get_span_context().trace_id == here
        assert (current().feature, current().metadata, current().user) == ("f", {"plan": "pro"}, None)
        with tag(feature="mine", n=1):
            assert (current().feature, current().metadata) == ("mine", {"plan": "pro", "n": 1})
    finally:
        otel.detach(token)
    assert current().feature is None
    with tag(feature="f"), workflow("w"):  # what was not said does not travel, and what did not travel is not there
        assert headers()["baggage"] == "llmtrace.feature=f"
    assert "baggage" not in headers()


def test_what_an_upstream_says_is_not_believed_unless_opted_in(spans: Any) -> None:
    """Baggage from outside sets no tag of a service that has not asked for it."""
    token = otel.attach(baggage.set_baggage("llmtrace.feature", "forged"))
    try:
        assert current().feature is None
    finally:
        otel.detach(token)


def test_no_tag_travels_to_a_vendor(travelling: None, vendor: Vendor) -> None:
    """While an SDK works, baggage holds only what the application put there itself."""

    def inject(request: Any) -> None:
        propagate.inject(request.headers)

    token = otel.attach(baggage.set_baggage("mine", "kept"))
    try:
        with tag(feature="marker", plan="marker"):
            inner = scopes.with_call(otel.get_current(), object(), trace.INVALID_SPAN)
            assert dict(baggage.get_all(inner)) == {"mine": "kept"}
            with openai.OpenAI(base_url=vendor.url, api_key="x") as client:
                client._client.event_hooks = {"request": [inject], "response": []}
                client.chat.completions.create(model="m", messages=[])
    finally:
        otel.detach(token)
    sent, body = vendor.received[0]
    assert sent["baggage"] == "mine=kept"
    assert "marker" not in str(sent) + body
    assert httpx.Headers(sent)["traceparent"]
