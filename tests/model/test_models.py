"""Recognition of pinned model names."""

from __future__ import annotations

import pytest

from llmtrace.model import is_pinned

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
    "gpt-4-0613",
    "gpt-4-1106-preview",
    "gemini-1.5-pro-002",
    "models/gemini-1.5-pro-002",
    "claude-3-5-sonnet-20241022",
    "claude-3-5-sonnet-v2@20241022",
    "anthropic.claude-3-5-sonnet-20240620-v1:0",
    "amazon.nova-pro-v1:0",
    "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
    "openai/gpt-4o-2024-08-06:free",
    "text-bison@001",
    "text-embedding-004",
    "ft:gpt-4o-mini-2024-07-18:org::id",
    "ft:gpt-3.5-turbo:org::id",
    "GPT-4O-2024-08-06",
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
    "chatgpt-4o-latest",
    "claude-3-5-sonnet-latest",
    "mistral-large-2411-latest",
    "claude-sonnet-4@latest",
    "gemini-1.5-pro@default",
    "text-embedding-3-small",
    "mixtral-8x7b-32768",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc1def2ghi3",
    "prod-chat",
    "",
]


@pytest.mark.parametrize("model", PINNED)
def test_model_name_with_a_date_is_pinned(model: str) -> None:
    """A date in the format of any vendor pins a model: year and month, month and day, all three, or a number."""
    assert is_pinned(model)


@pytest.mark.parametrize("model", FLOATING)
def test_model_name_without_a_date_is_not_pinned(model: str) -> None:
    """Versions and sizes do not count as dates."""
    assert not is_pinned(model)
