"""Content of OpenAI embeddings: the texts to embed. Vectors are never content."""

from __future__ import annotations

from typing import Any

from ..._read import get
from ...model import RequestContent
from ...model.content_format import ContentFormat
from .._messages import iter_items

__all__ = ["EMBEDDINGS_CONTENT"]


def read_request(body: Any) -> RequestContent:
    request = RequestContent()
    value = get(body, "input")
    if isinstance(value, str):
        request.texts.append(value)
    else:
        # Skip token numbers, which are not text.
        request.texts += (item for item in iter_items(body, "input", request) if isinstance(item, str))
    return request


EMBEDDINGS_CONTENT = ContentFormat(read_request)
