"""Recorded responses of vendors through LiteLLM: one span each, with the recorded values."""

from __future__ import annotations

from typing import Any

import pytest
from answers import QUESTION
from helpers import flushed_attributes
from litellm_calls import OLDEST, call
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from recordings import Cassette, expected_attributes

pytestmark = pytest.mark.filterwarnings("ignore")  # LiteLLM's own
VENDORS = {"mistral": "mistral_ai", "groq": "groq", "openrouter": "openrouter", "deepseek": "deepseek", "xai": "x_ai"}
"""Vendors whose chat completions LiteLLM requests itself, and our names of them."""


def replayable(cassettes: list[Cassette]) -> list[Cassette]:
    """Return the recorded chat completions and messages, without those of errors."""
    return [
        each
        for each in cassettes
        if each["response"]["status"] == 200
        and (
            (each["surface"] == "messages" and each["provider"] == "anthropic")
            or (each["surface"] == "chat.completions" and each["provider"] in VENDORS)
        )
    ]


@pytest.mark.cassettes(choose=replayable)
async def test_recorded_response_is_one_correct_span(
    cassette: Cassette, replay: Any, spans: InMemorySpanExporter
) -> None:
    """The span has what the vendor reported, whatever LiteLLM makes of it."""
    if OLDEST and "error_in_stream" in cassette["features"]:
        pytest.skip("this release reads no further than the error")
    vendor, colour = cassette["provider"], "async" if cassette["id"] < "m" else "sync"
    options = {
        "model": f"{vendor}/{cassette['expected']['request_model']}",
        "messages": QUESTION,
        "api_key": "k",
        "api_base": f"{replay.url}/v1" if vendor in VENDORS else replay.url,
        "extra_headers": {"x-cassette-id": cassette["id"]},
        "max_retries": 0,
    }
    if cassette["streaming"]:
        options |= {"stream": True, "stream_options": {"include_usage": True}}
    try:
        result = await call("completion", colour, **options)
        if cassette["streaming"]:
            _ = list(result) if colour == "sync" else [chunk async for chunk in result]
    except Exception as error:  # LiteLLM cannot read every response
        print(error)
    found = flushed_attributes(spans)
    wanted = expected_attributes(cassette)
    if vendor == "groq":  # gives each chunk an identifier of its own
        del wanted["gen_ai.response.id"]
    assert {name: found.get(name) for name in wanted} == wanted
