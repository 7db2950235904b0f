"""Recorded Gemini exchanges, sent again through the google-genai client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.genai import errors
from google_recordings import (
    IGNORED_WARNINGS,
    PARAMS,
    Cassette,
    Seen,
    all_of_google,
    call_async,
    call_sync,
    uses_vertex,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

pytestmark = IGNORED_WARNINGS

USAGE = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
}
USAGE_SUBSETS = {
    "cache_read_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "reasoning_output_tokens": "gen_ai.usage.reasoning.output_tokens",
    "input_audio_tokens": "gen_ai.usage.audio.input_tokens",
    "output_audio_tokens": "gen_ai.usage.audio.output_tokens",
    "tool_use_input_tokens": "llmtrace.usage.tool_input_tokens",
}


# --------------------------------------------------------------------------
# What the span must say
# --------------------------------------------------------------------------
def expected_attributes(cassette: Cassette) -> dict[str, Any]:
    """Return the expected attributes of a recording; ``None`` for an attribute that must be absent."""
    expected, surface = cassette["expected"], cassette["surface"]
    wanted: dict[str, Any] = {
        "gen_ai.provider.name": "gcp.vertex_ai" if uses_vertex(cassette) else "gcp.gemini",
        "gen_ai.request.model": expected["request_model"],
        "gen_ai.response.model": expected["model"],
        "gen_ai.response.id": expected["response_id"],
        "gen_ai.request.stream": True if cassette["streaming"] else None,
        "llmtrace.response.finish_reasons_raw": tuple(expected["finish_reasons"]) or None,
    }
    if expected["finish_reasons"] == ["in_progress"]:
        wanted["llmtrace.response.finish_reasons_raw"] = None
    counts = expected["normalised"] or {}
    wanted |= {name: counts.get(key) for key, name in USAGE.items()}
    wanted |= {name: counts.get(key) or None for key, name in USAGE_SUBSETS.items()}
    if surface == "count_tokens":
        wanted["llmtrace.usage.counted_tokens"] = (expected["usage"] or {}).get("totalTokens")
    if surface == "generate_content":
        requested = (cassette["request"]["body"] or {}).get("generationConfig", {})
        wanted |= {f"gen_ai.request.{name}": requested.get(key) for key, name in PARAMS.items()}
    return wanted


def check(cassette: Cassette, seen: Seen, finished: tuple[ReadableSpan, ...]) -> None:
    assert len(finished) == 1, [span.name for span in finished]
    (span,) = finished
    attributes = dict(span.attributes or {})
    wanted = expected_attributes(cassette)
    assert {name: attributes.get(name) for name in wanted} == wanted
    status = cassette["response"]["status"]
    if status >= 400:
        assert isinstance(seen.error, errors.APIError)
        assert span.status.status_code is StatusCode.ERROR
        assert attributes["error.type"] == str(status)
        assert attributes["http.response.status_code"] == status
        assert attributes["llmtrace.error.code"] == cassette["expected"]["error"]["body"].get("status")
    else:
        assert seen.error is None
        assert seen.values
        assert span.status.status_code is StatusCode.UNSET
        assert "error.type" not in attributes


# --------------------------------------------------------------------------
# Tests
# --------------------------------------------------------------------------
@pytest.mark.cassettes(choose=all_of_google)
def test_sync_call_gives_one_correct_span(cassette: Cassette, replay: Any, request: pytest.FixtureRequest) -> None:
    """The sync client gives one correct span, and the caller gets the same as without llmtrace."""
    alone = call_sync(cassette, replay.url)
    exporter = request.getfixturevalue("spans")
    seen = call_sync(cassette, replay.url)
    check(cassette, seen, exporter.get_finished_spans())
    assert seen.comparable() == alone.comparable()
    entry = replay.log[-1]
    assert (entry["cassette"], entry["path"]) == (cassette["id"], cassette["request"]["path"])


@pytest.mark.cassettes(choose=all_of_google)
def test_async_call_gives_one_correct_span(cassette: Cassette, replay: Any, request: pytest.FixtureRequest) -> None:
    """The async client gives one correct span, and the caller gets the same as without llmtrace."""
    with asyncio.Runner() as runner:
        alone = runner.run(call_async(cassette, replay.url))
        exporter = request.getfixturevalue("spans")
        seen = runner.run(call_async(cassette, replay.url))
    check(cassette, seen, exporter.get_finished_spans())
    assert seen.comparable() == alone.comparable()
