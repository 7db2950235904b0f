"""What answers with embeddings say of their vectors."""

from __future__ import annotations

import struct
from base64 import b64encode
from typing import Any

import pytest

from llmtrace.providers.openai.embeddings import EMBEDDINGS


@pytest.mark.parametrize(
    ("vector", "length"),
    [
        *(([0.5] * size, size) for size in (1, 1536)),
        *((b64encode(struct.pack(f"<{size}f", *[0.5] * size)).decode(), size) for size in (1, 2, 3, 1536)),
        ("", None),
        (None, None),
    ],
)
def test_the_length_of_a_vector(vector: Any, length: int | None) -> None:
    """Is known in either encoding: base64 is what the SDK asks for where the caller asks for none."""
    assert EMBEDDINGS.response({"data": [{"embedding": vector}]}).dimensions == length


def test_what_a_vector_is_to_be() -> None:
    """Its length and its encoding are parameters; a length that is no count is none."""
    asked = EMBEDDINGS.request({"model": "m", "dimensions": 8, "encoding_format": "base64"})
    assert asked.params == {"dimensions": 8, "encoding_formats": ["base64"]}
    assert EMBEDDINGS.request({"dimensions": "8"}).params == {}
