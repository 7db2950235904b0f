"""Vectors of embedding requests and responses."""

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
def test_vector_length_is_read_in_both_encodings(vector: Any, length: int | None) -> None:
    """The length is read from floats and from base64, which the SDK requests by default."""
    assert EMBEDDINGS.response({"data": [{"embedding": vector}]}).dimensions == length


def test_requested_vector_parameters_are_read() -> None:
    """Dimensions and encoding are parameters; a length that is not a count is ignored."""
    requested = EMBEDDINGS.request({"model": "m", "dimensions": 8, "encoding_format": "base64"})
    assert requested.params == {"dimensions": 8, "encoding_formats": ["base64"]}
    assert EMBEDDINGS.request({"dimensions": "8"}).params == {}
