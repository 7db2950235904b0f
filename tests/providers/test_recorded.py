"""Recorded OpenAI-form and Anthropic exchanges through the vendors' clients: one correct span each."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from recordings import (
    COUNTING,
    Cassette,
    Seen,
    all_of_both,
    all_of_own_clients,
    call_async,
    call_sync,
    expected_attributes,
    one_of_each_kind,
    own_request_of,
    ran_in_background,
    request_of,
)

# Recordings name models that the newest clients call deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")


def check_seen(cassette: Cassette, seen: Seen) -> None:
    status = cassette["response"]["status"]
    if status >= 400:
        assert getattr(seen.error, "status_code", None) == status
    elif "error_in_stream" in cassette["features"]:
        # The first releases of Groq's client return the error as a chunk.
        assert seen.error is not None or seen.values[-1][1]["error"]
    else:
        assert seen.error is None
        assert seen.values


def check_span(cassette: Cassette, seen: Seen, finished: tuple[ReadableSpan, ...]) -> None:
    assert len(finished) == 1, [span.name for span in finished]
    (span,) = finished
    attributes = dict(span.attributes or {})
    status = cassette["response"]["status"]
    wanted = expected_attributes(cassette)
    ids = {value["id"] for _, value in seen.values if value.get("id")}
    if cassette["surface"] == "chat.completions" and len(ids) > 1:
        # One vendor gives each chunk an identifier of its own: any of them will do.
        del wanted["gen_ai.response.id"]
        assert attributes.get("gen_ai.response.id") in ids
    assert {name: attributes.get(name) for name in wanted} == wanted
    if cassette["surface"] in COUNTING or (
        cassette["surface"] == "responses.retrieve" and not ran_in_background(cassette)
    ):
        assert not [name for name in attributes if name.startswith("gen_ai.usage.")]
    if status >= 400:
        assert attributes.get("error.type") == str(status)
    if seen.error is not None or "error_in_stream" in cassette["features"]:
        assert span.status.status_code is StatusCode.ERROR
        assert attributes.get("error.type")
    else:
        assert span.status.status_code is not StatusCode.ERROR
        assert "error.type" not in attributes


either_way = pytest.mark.parametrize("raw", [False, True], ids=["plain", "raw"])


# --------------------------------------------------------------------------
# Tests
# --------------------------------------------------------------------------
@pytest.mark.cassettes(choose=all_of_both)
@either_way
def test_sync_call_gives_one_correct_span(
    cassette: Cassette, raw: bool, replay: Any, spans: InMemorySpanExporter
) -> None:
    """A recorded exchange through the sync client has one span with the recorded values."""
    seen = call_sync(request_of(cassette, replay.url), raw)
    check_seen(cassette, seen)
    check_span(cassette, seen, spans.get_finished_spans())


@pytest.mark.cassettes(choose=all_of_both)
@either_way
async def test_async_call_gives_one_correct_span(
    cassette: Cassette, raw: bool, replay: Any, spans: InMemorySpanExporter
) -> None:
    """A recorded exchange through the async client has one span with the recorded values."""
    seen = await call_async(request_of(cassette, replay.url), raw)
    check_seen(cassette, seen)
    check_span(cassette, seen, spans.get_finished_spans())


@pytest.mark.cassettes(choose=all_of_own_clients)
@either_way
def test_sync_call_of_own_client_gives_one_correct_span(
    cassette: Cassette, raw: bool, replay: Any, spans: InMemorySpanExporter
) -> None:
    """A recorded exchange through the sync client of its vendor has one span with the recorded values."""
    seen = call_sync(own_request_of(cassette, replay.url), raw)
    check_seen(cassette, seen)
    check_span(cassette, seen, spans.get_finished_spans())


@pytest.mark.cassettes(choose=all_of_own_clients)
@either_way
async def test_async_call_of_own_client_gives_one_correct_span(
    cassette: Cassette, raw: bool, replay: Any, spans: InMemorySpanExporter
) -> None:
    """A recorded exchange through the async client of its vendor has one span with the recorded values."""
    seen = await call_async(own_request_of(cassette, replay.url), raw)
    check_seen(cassette, seen)
    check_span(cassette, seen, spans.get_finished_spans())


@pytest.mark.cassettes(choose=all_of_both)
def test_client_repeats_the_recorded_path(cassette: Cassette, replay: Any) -> None:
    """The harness sends the recorded method and path, so that the other tests test the intended call."""
    call_sync(request_of(cassette, replay.url), raw=False)
    entry = next(entry for entry in reversed(replay.log) if entry["cassette"] == cassette["id"])
    assert (entry["method"], entry["path"]) == (cassette["request"]["method"], cassette["request"]["path"])


@pytest.mark.cassettes(choose=one_of_each_kind)
@either_way
def test_sync_caller_gets_the_same_as_without_llmtrace(
    cassette: Cassette, raw: bool, replay: Any, request: pytest.FixtureRequest
) -> None:
    """The sync caller's results, their types and errors are those of the same call without llmtrace."""
    call = request_of(cassette, replay.url)
    alone = call_sync(call, raw)
    exporter = request.getfixturevalue("spans")
    traced = call_sync(call, raw)
    assert traced.comparable() == alone.comparable()
    assert len(exporter.get_finished_spans()) == 1


@pytest.mark.cassettes(choose=all_of_own_clients)
def test_caller_of_own_client_gets_the_same_as_without_llmtrace(
    cassette: Cassette, replay: Any, request: pytest.FixtureRequest
) -> None:
    """The results and errors of the vendor's own client are those of the same call without llmtrace."""
    call = own_request_of(cassette, replay.url)
    alone = call_sync(call, raw=False)
    request.getfixturevalue("spans")
    assert call_sync(call, raw=False).comparable() == alone.comparable()
    entry = next(entry for entry in reversed(replay.log) if entry["cassette"] == cassette["id"])
    assert (entry["method"], entry["path"]) == (cassette["request"]["method"], cassette["request"]["path"])


@pytest.mark.cassettes(choose=one_of_each_kind)
@either_way
async def test_async_caller_gets_the_same_as_without_llmtrace(
    cassette: Cassette, raw: bool, replay: Any, request: pytest.FixtureRequest
) -> None:
    """The async caller's results, their types and errors are those of the same call without llmtrace."""
    call = request_of(cassette, replay.url)
    alone = await call_async(call, raw)
    exporter = request.getfixturevalue("spans")
    traced = await call_async(call, raw)
    assert traced.comparable() == alone.comparable()
    assert len(exporter.get_finished_spans()) == 1
