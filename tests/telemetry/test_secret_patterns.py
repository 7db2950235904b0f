"""The patterns of ``secrets.toml``: each example is replaced, or kept, as the file says."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrace.telemetry.detect import find
from llmtrace.telemetry.redact import builtin
from llmtrace.telemetry.secret_patterns import Secret, secrets


def examples(kind: str) -> list[Any]:
    return [
        pytest.param(secret, example, id=f"{secret.name}-{secret.mark}-{number}")
        for secret in secrets()
        for number, example in enumerate(getattr(secret, kind))
    ]


@pytest.mark.parametrize("secret", secrets(), ids=lambda secret: f"{secret.name}-{secret.mark}")
def test_secret_has_a_token_and_examples_of_both_kinds(secret: Secret) -> None:
    """Each mark occurs in an example that is replaced and in one that is kept, and tokens are in brackets."""
    assert secret.token.startswith("[") and secret.token.endswith("]")
    assert all(secret.mark in example for example in secret.matches)
    assert secret.matches and any(secret.mark in example for example in secret.keeps)


@pytest.mark.parametrize(("secret", "example"), examples("matches"))
def test_secret_is_replaced_completely(secret: Secret, example: str) -> None:
    """The example is one finding from its first to its last character, alone and in a sentence."""
    assert find(example) == [(0, len(example), secret.token)]
    assert builtin(f"use '{example}' for this") == f"use '{secret.token}' for this"


@pytest.mark.parametrize(("secret", "example"), examples("keeps"))
def test_text_like_a_secret_is_kept(secret: Secret, example: str) -> None:
    """The example is neither this secret nor another."""
    assert find(example) == [], secret.name
