"""Content of recorded exchanges on the spans of the same calls."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import check_shapes, flushed_attributes, output_messages, recorded_messages
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from recordings import (
    Cassette,
    all_of_both,
    all_of_own_clients,
    call_async,
    call_sync,
    one_of_each_kind,
    own_request_of,
    request_of,
)

pytestmark = pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")


def check_content(cassette: Cassette, attributes: dict[str, Any], failed: bool) -> None:
    check_shapes(attributes)
    if failed:
        return
    expected, recorded = recorded_messages(cassette), output_messages(attributes)
    if "reasoning_text" in (cassette["response"].get("body") or ""):
        # The recordings count a summary as reasoning, not the full text that some servers send.
        expected = [{**output, "reasoning": None} for output in expected]
        recorded = [{**output, "reasoning": None} for output in recorded]
    nothing = {"text": "", "reasoning": "", "tools": []}
    assert (recorded or [nothing] * len(expected)) == expected
    body = cassette["request"]["body"] or {}
    if body.get("messages") or body.get("input"):
        names = {"gen_ai.input.messages", "embedding.embeddings.0.embedding.text"}
        reported_something = not names.isdisjoint(attributes)
        assert reported_something or all(isinstance(item, (int, list)) for item in body.get("input", [1]))


def is_refused(cassette: Cassette) -> bool:
    """Return true if the model refused, or a filter stopped the prompt or the response."""
    expected = cassette["expected"]
    reasons = {*(expected.get("finish_reasons") or ()), expected.get("incomplete_reason")}
    declined = any(output.get("refusal") for output in expected.get("outputs") or [])
    stopped = "content_filter" in cassette["features"] and cassette["response"]["status"] >= 400
    return declined or stopped or not reasons.isdisjoint({"refusal", "content_filter"})


def refused_only(cassettes: list[Cassette]) -> list[Cassette]:
    return [cassette for cassette in all_of_both(cassettes) if is_refused(cassette)]


@pytest.mark.cassettes(choose=refused_only)
def test_refusal_is_recorded_with_content_off(cassette: Cassette, replay: Any, spans: InMemorySpanExporter) -> None:
    """A refusal or a filter is not content: it is always on the span."""
    call_sync(request_of(cassette, replay.url), raw=False)
    assert flushed_attributes(spans)["llmtrace.refusal"] is True


@pytest.mark.cassettes(choose=all_of_both)
def test_recorded_content_is_on_the_span(cassette: Cassette, replay: Any, content_spans: InMemorySpanExporter) -> None:
    """Texts, reasoning, refusals and tool calls of every recording are on the span, as the conventions define."""
    seen = call_sync(request_of(cassette, replay.url), raw=False)
    attributes = flushed_attributes(content_spans)
    check_content(cassette, attributes, failed=seen.error is not None)
    assert attributes.get("llmtrace.refusal", False) is is_refused(cassette)


@pytest.mark.cassettes(choose=all_of_own_clients)
async def test_recorded_content_of_own_client_is_on_the_span(
    cassette: Cassette, replay: Any, content_spans: InMemorySpanExporter
) -> None:
    """The vendors' own clients record the same content."""
    seen = await call_async(own_request_of(cassette, replay.url), raw=False)
    check_content(cassette, flushed_attributes(content_spans), failed=seen.error is not None)


@pytest.mark.cassettes(choose=one_of_each_kind)
async def test_recorded_content_of_async_client_is_on_the_span(
    cassette: Cassette, replay: Any, content_spans: InMemorySpanExporter
) -> None:
    """The asynchronous clients record the same content."""
    seen = await call_async(request_of(cassette, replay.url), raw=False)
    check_content(cassette, flushed_attributes(content_spans), failed=seen.error is not None)


@pytest.mark.cassettes(choose=one_of_each_kind)
def test_recorded_content_of_raw_response_is_on_the_span(
    cassette: Cassette, replay: Any, content_spans: InMemorySpanExporter
) -> None:
    """The same content is recorded if the caller reads the raw response."""
    seen = call_sync(request_of(cassette, replay.url), raw=True)
    check_content(cassette, flushed_attributes(content_spans), failed=seen.error is not None)
