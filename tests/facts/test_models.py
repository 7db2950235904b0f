"""What the name of a model says by itself."""

from __future__ import annotations

import pytest

from llmtrace.facts import is_pinned

PINNED = [
    "gpt-4o-2024-08-06",
    "gpt-3.5-turbo-0613",
    "claude-sonnet-4-5-20250929",
    "claude-sonnet-4-5@20250929",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "grok-4-0709",
    "command-r-08-2024",
    "mistral-large-2411",
    "devstral-small-2507",
    "gemini-2.5-flash-preview-05-20",
    "gemini-2.0-flash-001",
]
FLOATING = [
    "gpt-4o",
    "gpt-5.1",
    "o4-mini",
    "claude-3-opus-latest",
    "claude-opus-4-1",
    "gemini-2.5-pro",
    "mistral-large-latest",
    "mixtral-8x22b",
    "llama-3.3-70b-versatile",
    "gpt-4-32k",
    "qwen-2-72b-instruct",
]


@pytest.mark.parametrize("model", PINNED)
def test_a_dated_name_is_a_snapshot(model: str) -> None:
    """In any vendor's way to write a date: a year and a month, a month and a day, all three, or a number."""
    assert is_pinned(model)


@pytest.mark.parametrize("model", FLOATING)
def test_a_name_without_a_date_is_none(model: str) -> None:
    """Versions and sizes are no dates."""
    assert not is_pinned(model)
