"""What answers with embeddings say of their vectors."""

from __future__ import annotations

import struct
from base64 import b64encode
from typing import Any

import pytest

from llmtrace.wire.openai_embeddings import EMBEDDINGS


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
