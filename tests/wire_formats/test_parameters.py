"""Copies of request parameters, without content and identity."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from llmtrace.providers._parameters import read_parameters


class Mode(Enum):
    FAST = "fast"


@pytest.mark.parametrize(
    ("body", "parameters"),
    [
        (
            {
                "model": "m",
                "messages": [{"role": "user", "content": "secret"}],
                "tools": [{"type": "function", "function": {"name": "f", "description": "secret"}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
                "max_completion_tokens": 5,
                "n": 2,
                "logit_bias": {"50256": -100},
                "parallel_tool_calls": False,
                "stop": ["a", "b"],
                "response_format": {"type": "json_schema", "json_schema": {"name": "secret"}},
                "user": "alice@example.com",
                "metadata": {"customer": "secret"},
                "seed": None,
            },
            {
                "tool_choice": {"type": "function", "function": {"name": "f"}},
                "max_completion_tokens": 5,
                "n": 2,
                "logit_bias": {"50256": -100},
                "parallel_tool_calls": False,
                "stop": ["a", "b"],
                "response_format": {"type": "json_schema"},
            },
        ),
        (
            {"model": "c", "system": "secret", "max_tokens": 5, "thinking": {"type": "enabled", "budget_tokens": 1024}},
            {"max_tokens": 5, "thinking": {"type": "enabled", "budget_tokens": 1024}},
        ),
        (
            {
                "contents": [],
                "systemInstruction": {"parts": [{"text": "secret"}]},
                "generationConfig": {
                    "topK": 40,
                    "responseSchema": {"secret": 1},
                    "thinkingConfig": {"mode": Mode.FAST},
                },
                "safetySettings": [{"category": "HATE", "threshold": "BLOCK"}],
            },
            {
                "topK": 40,
                "thinkingConfig": {"mode": "fast"},
                "safetySettings": [{"category": "HATE", "threshold": "BLOCK"}],
            },
        ),
        ({"instances": [{"prompt": "secret"}], "parameters": {"sampleCount": 2}}, {"sampleCount": 2}),
        ({"input": "secret", "dimensions": 8, "note": "x" * 500}, {"dimensions": 8}),
        (None, {}),
        ("text", {}),
    ],
)
def test_parameters_leave_content_and_identity_out(body: Any, parameters: dict[str, Any]) -> None:
    """The body of each wire format gives its parameters only."""
    assert read_parameters(body) == parameters


def test_parameters_are_copies() -> None:
    """The caller may change its lists while the call is in progress."""
    stop = ["a"]
    found = read_parameters({"stop": stop})
    stop.append("b")
    assert found == {"stop": ["a"]}


def test_parameters_are_bounded() -> None:
    """Deep values and large numbers of values are cut."""
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(50):
        inner["x"] = {}
        inner = inner["x"]
    assert read_parameters({"a": 1, "deep": deep}) == {"a": 1}
    assert len(read_parameters({str(number): number for number in range(1000)})) == 32


@pytest.mark.parametrize(
    "body",
    [
        {"parameters": {"sampleCount": 1, "negativePrompt": "secret"}},
        {"tool_results": [{"call": {"name": "f"}, "outputs": [{"answer": "secret"}]}]},
        {"generationConfig": {"response_json_schema": {"secret": 1}}},
        {"outputConfig": {"textFormat": {"structure": {"jsonSchema": {"name": "secret"}}}}},
        {"format": {"type": "object", "title": "secret"}},
        {"taskType": "RETRIEVAL_DOCUMENT", "title": "secret"},
        {"known_speaker_names": ["secret"]},
        {"toolConfig": {"retrievalConfig": {"latLng": {"latitude": "secret"}}}},
        *({name: "secret"} for name in ("user_id", "user_profile_id", "session_id", "document", "question")),
    ],
    ids=str,
)
def test_content_and_identity_under_other_names_are_no_parameters(body: dict[str, Any]) -> None:
    """Names of several vendors, at any depth."""
    assert "secret" not in str(read_parameters(body))
