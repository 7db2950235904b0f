"""Tags in baggage for other services: only those opted in, and never to a vendor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from loopback_vendor import Vendor
from opentelemetry import baggage, propagate, trace
from opentelemetry import context as otel
from opentelemetry.sdk.trace import TracerProvider

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


def test_headers_without_opt_in_carry_only_the_trace(spans: Any) -> None:
    """The headers of an outgoing request name the trace and no tag."""
    with tag(feature="marker", user="marker"), workflow("w"):
        sent_headers = headers()
        trace_id = trace.get_current_span().get_span_context().trace_id
    assert set(sent_headers) == {"traceparent"}
    assert f"{trace_id:032x}" in sent_headers["traceparent"]


def test_opted_in_tags_reach_the_next_service(travelling: None) -> None:
    """They are tags again in the next service, in the same trace; that service's own tags take precedence."""
    with tag(feature="f", user="marker", plan="pro", other="marker"), workflow("w"):
        sent_headers = headers()
        here = trace.get_current_span().get_span_context().trace_id
    assert "marker" not in str(sent_headers)
    assert not baggage.get_all()
    token = otel.attach(propagate.extract(sent_headers))
    try:
        assert trace.get_current_span().get_span_context().trace_id == here
        assert (current().feature, current().metadata, current().user) == ("f", {"plan": "pro"}, None)
        with tag(feature="mine", n=1):
            assert (current().feature, current().metadata) == ("mine", {"plan": "pro", "n": 1})
    finally:
        otel.detach(token)
    assert current().feature is None
    with tag(feature="f"), workflow("w"):  # only opted-in tags with a value are propagated
        assert headers()["baggage"] == "llmtrace.feature=f"
    assert "baggage" not in headers()


def test_upstream_baggage_without_opt_in_is_ignored(spans: Any) -> None:
    """Baggage from outside sets no tag of a service that has not opted in."""
    token = otel.attach(baggage.set_baggage("llmtrace.feature", "forged"))
    try:
        assert current().feature is None
    finally:
        otel.detach(token)


def test_request_to_a_vendor_carries_no_tag(travelling: None, vendor: Vendor) -> None:
    """While an SDK sends a request, baggage holds only the application's own entries."""

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
