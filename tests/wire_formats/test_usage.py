"""Usage under every name in use, reported once or repeatedly, with nulls and zeros."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from openai.types.completion_usage import CompletionUsage

from llmtrace._tables import read_tables
from llmtrace.model import Response, Usage
from llmtrace.model.wire_format import WireFormat
from llmtrace.providers._usage import Reported
from llmtrace.providers.anthropic.messages import MESSAGES
from llmtrace.providers.openai.chat import CHAT
from llmtrace.providers.openai.embeddings import EMBEDDINGS
from llmtrace.providers.openai.media import IMAGES, SPEECH, TRANSCRIPTIONS
from llmtrace.providers.openai.responses import RESPONSES

BASE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
NAMES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "LiteLLM": (
        {
            "cache_creation_input_tokens": 30,
            "cache_read_input_tokens": 40,
            "prompt_tokens_details": {
                "cached_tokens": 40,
                "cache_creation_tokens": 30,
                "text_tokens": 30,
                "cache_creation_token_details": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            },
        },
        {"cache_read": 40, "cache_write": 30, "cache_write_5m": 10, "cache_write_1h": 20, "text_input": 30},
    ),
    "LiteLLM, Maps": (
        {"prompt_tokens_details": {"google_maps_grounding_requests": 1, "web_search_requests": 2}},
        {"maps_searches": 1, "web_searches": 2},
    ),
    "DashScope": (
        {
            "prompt_tokens_details": {
                "cached_tokens": 0,
                "cache_creation_input_tokens": 60,
                "cache_type": "ephemeral",
                "cache_creation": {"ephemeral_5m_input_tokens": 60},
                "audio_tokens": 8,
                "image_tokens": 7,
            },
            "completion_tokens_details": {"text_tokens": 15, "audio_tokens": 5},
            "plugins": {"search": {"count": 1, "strategy": "turbo"}},
        },
        {
            "cache_read": 0,
            "cache_write": 60,
            "cache_write_5m": 60,
            "audio_input": 8,
            "image_input": 7,
            "text_output": 15,
            "audio_output": 5,
            "web_searches": 1,
        },
    ),
    "DeepSeek": ({"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}, {"cache_read": 64}),
    "Mistral": (
        {"num_cached_tokens": 64, "prompt_audio_seconds": 20, "prompt_token_details": {"cached_tokens": 64}},
        {"cache_read": 64, "audio_seconds": 20},
    ),
    "Moonshot": ({"cached_tokens": 64}, {"cache_read": 64}),
    "New API": (
        {
            "input_tokens": 0,
            "output_tokens": 0,
            "input_tokens_details": None,
            "claude_cache_creation_1_h_tokens": 9,
            "prompt_tokens_details": {"cached_creation_tokens": 9},
        },
        {"cache_write": 9, "cache_write_1h": 9},
    ),
    "OpenRouter": (
        {
            "prompt_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 2, "file_tokens": 3, "video_tokens": 4},
            "server_tool_use_details": {"web_search_requests": 5, "tool_calls_executed": 5},
        },
        {"cache_read": 1, "cache_write": 2, "document_input": 3, "video_input": 4, "web_searches": 5},
    ),
    "xAI": (
        {"server_side_tool_usage_details": {"web_search_calls": 3, "code_interpreter_calls": 1, "mcp_calls": 2}},
        {"web_searches": 3, "code_executions": 1},
    ),
    "names of the responses API": (
        {"output_tokens_details": {"reasoning_tokens": 7}, "input_tokens_details": {"cached_tokens": 6}},
        {"reasoning": 7, "cache_read": 6},
    ),
    "write of unknown lifetime": (
        {"cache_creation": {"ephemeral_5m_input_tokens": 4}, "cache_write_input_tokens": 9},
        {"cache_write": 9, "cache_write_5m": 4},
    ),
}


@pytest.mark.parametrize(("more", "counts"), list(NAMES.values()), ids=list(NAMES))
@pytest.mark.parametrize("form", ["mapping", "model", "stream"])
def test_gateway_usage_names_are_read(more: dict[str, Any], counts: dict[str, Any], form: str) -> None:
    """Counts are read under the names of gateways and compatible servers, nested or not."""
    usage: Any = {**BASE, **more}
    if form == "stream":
        assert CHAT.accumulator is not None
        folded = CHAT.accumulator()
        folded.add({"id": "c", "model": "m", "choices": [], "usage": usage})
        response = folded.result()
    else:
        usage = CompletionUsage.construct(**usage) if form == "model" else usage
        response = CHAT.response({"model": "m", "choices": [], "usage": usage})
    assert response.usage == {"input": 100, "output": 20, **counts}
    assert response.unmapped_counts == ()


@pytest.mark.parametrize(
    ("wire", "body", "counts"),
    [
        (TRANSCRIPTIONS, {"usage": {"type": "duration", "seconds": 8.5}}, {"audio_seconds": 8.5}),
        (TRANSCRIPTIONS, {"duration": 8.47, "text": "x", "segments": []}, {"audio_seconds": 8.47}),
        (TRANSCRIPTIONS, {"duration": 8.47, "usage": {"seconds": 9}}, {"audio_seconds": 9}),
        (
            TRANSCRIPTIONS,
            {"usage": {"prompt_audio_seconds": 203, "prompt_tokens": 4, "completion_tokens": 63, "total_tokens": 3264}},
            {"audio_seconds": 203, "input": 4, "output": 63},
        ),
        (
            TRANSCRIPTIONS,
            {"usage": {"input_tokens": 29, "output_tokens": 14, "input_token_details": {"audio_tokens": 28}}},
            {"input": 29, "output": 14, "audio_input": 28},
        ),
        (
            IMAGES,
            {
                "data": [{}],
                "usage": {
                    "prompt_tokens": 22,
                    "completion_tokens": 1_372,
                    "prompt_tokens_details": {"text_tokens": 22, "image_tokens": 0},
                    "completion_tokens_details": {"image_tokens": 1_300, "text_tokens": 72},
                },
            },
            {
                "input": 22,
                "output": 1_372,
                "text_input": 22,
                "image_input": 0,
                "image_output": 1_300,
                "text_output": 72,
                "images": 1,
            },
        ),
        (EMBEDDINGS, {"data": [], "usage": {"total_tokens": 7}}, {"input": 7}),
        (EMBEDDINGS, {"usage": {"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}}, {"input": 5}),
        (
            EMBEDDINGS,
            {"data": [], "usage": {"input_tokens": 9, "input_tokens_details": {"image_tokens": 4, "text_tokens": 5}}},
            {"input": 9, "image_input": 4, "text_input": 5},
        ),
        (SPEECH, {"usage": {"characters": 12}}, {"characters": 12}),
        (
            RESPONSES,
            {"usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_token_details": {"cache_write_tokens": 3}}},
            {"input": 9, "output": 4, "cache_write": 3},
        ),
        (
            MESSAGES,
            {"usage": {"input_tokens": 0, "prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": 3}},
            {"input": 9, "output": 4, "cache_read": 3},
        ),
    ],
)
def test_usage_names_are_read_by_every_api(wire: WireFormat, body: Any, counts: dict[str, Any]) -> None:
    """Images, audio, embeddings and responses are read under chat's names, and vice versa."""
    assert wire.response(body).usage == counts


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        # input and output, then the rest of the total
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 65, "cache_read_input_tokens": 50}, (60, 5)),
        ({"prompt_tokens": 60, "completion_tokens": 5, "total_tokens": 65, "cache_read_input_tokens": 50}, (60, 5)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 45, "reasoning_tokens": 30}, (10, 35)),
    ],
)
def test_separate_counts_become_inclusive_by_the_total(usage: dict[str, int], counts: tuple[int, int]) -> None:
    """The total reveals a server that counts cached tokens or reasoning separately."""
    found = CHAT.response({"choices": [], "usage": usage}).usage
    assert found is not None
    assert (found["input"], found["output"]) == counts


@pytest.mark.parametrize(
    ("usage", "unread"),
    [
        ({**BASE, "video_seconds": 4}, ("video_seconds",)),
        ({**BASE, "prompt_tokens_details": {"image_count": 2}}, ("image_count",)),
        ({**BASE, "cache_creation": {"ephemeral_12h_input_tokens": 4}}, ("ephemeral_12h_input_tokens",)),
        ({**BASE, "extras": {"page_requests": 4}}, ("page_requests",)),
        ({**BASE, "video_seconds": 0, "queue_time": 0.3, "note": "tokens", "rejected_tokens": -1}, ()),
        ({**BASE, "completion_tokens_details": {"rejected_prediction_tokens": 3}}, ()),
    ],
)
@pytest.mark.parametrize("wire", [CHAT, MESSAGES, RESPONSES])
def test_unknown_billable_counts_are_named(wire: WireFormat, usage: Any, unread: tuple[str, ...]) -> None:
    """A positive count that may be billed and is in no table is reported by name."""
    assert wire.response({"choices": [], "usage": usage}).unmapped_counts == unread


@pytest.mark.parametrize("usage", [None, 7, "usage", [], {}, {"prompt_tokens": True, "completion_tokens": 1.5}])
def test_invalid_usage_is_ignored(usage: Any) -> None:
    """A usage of the wrong type gives no counts."""
    assert CHAT.response({"choices": [], "usage": usage}).usage is None


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 0.5}, 0.5),
        ({"cost": "0.00012"}, Decimal("0.00012")),
        ({"cost": {"total_cost": 0.25, "request_cost": 0.1}}, 0.25),
        ({"total_cost": 0.25}, 0.25),
        ({"cost_in_usd_ticks": 15}, Fraction(15, 10**10)),
        ({"cost": 0.1, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}, Fraction(3, 10)),
        ({"cost": "much"}, None),
        ({"cost": "1e-9999"}, None),
        ({"cost": float("nan")}, None),
        ({"cost": None}, None),
    ],
)
def test_stated_cost_is_read_in_every_form(usage: Any, cost: Any) -> None:
    """A cost may be a number, text or a table of parts."""
    for wire in (CHAT, EMBEDDINGS, IMAGES, TRANSCRIPTIONS, RESPONSES, MESSAGES):
        assert wire.response({"data": [], "usage": {**BASE, **usage}}).stated_cost == cost


def test_deeply_nested_usage_keeps_other_counts() -> None:
    """Nested values do not affect the counts next to them."""
    nested: dict[str, Any] = {}
    for _ in range(5_000):
        nested = {"more": nested}
    assert CHAT.response({"choices": [], "usage": {**BASE, "more": nested}}).usage == {"input": 100, "output": 20}


def test_stated_cost_is_not_erased_by_later_chunks() -> None:
    """Perplexity begins with a cost of zero; a later chunk without one leaves it."""
    reported = Reported()
    for usage in ({"cost": {"total_cost": 0.0}}, {"cost": {"total_cost": 0.7}}, {"cost": {"total_cost": 0}}, BASE):
        reported.add(usage)
    assert reported.fill(Response(), None).stated_cost == 0.7


def test_usage_object_without_field_list_is_read() -> None:
    """The known names are read from a vendor's object."""

    class Slotted:
        __slots__ = ("completion_tokens", "prompt_tokens", "prompt_tokens_details")

        def __init__(self) -> None:
            self.prompt_tokens, self.completion_tokens = 9, 4
            self.prompt_tokens_details = SimpleNamespace(cached_tokens=3)

    assert CHAT.response({"choices": [], "usage": Slotted()}).usage == {"input": 9, "output": 4, "cache_read": 3}


def test_every_table_of_names_leads_to_fields_of_the_usage() -> None:
    """A wrong field, or a table that comes later in the file, would be a count that no price reads."""
    known = {field.name for field in fields(Usage)} | {"total", "ignored", "include"}
    for table, names in read_tables("llmtrace.providers", "usage.toml").items():
        assert names.keys() <= known, table
        known.add(table)
