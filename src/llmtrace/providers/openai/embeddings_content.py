"""Content of OpenAI embeddings: the texts to embed. Vectors are never content."""

from __future__ import annotations

from typing import Any

from ..._read import get
from ...model import RequestContent
from ...model.content_format import ContentFormat
from .._messages import count_encoded, iter_items

__all__ = ["EMBEDDINGS_CONTENT"]


def read_request(body: Any) -> RequestContent:
    request = RequestContent()
    value = get(body, "input")
    for item in [value] if isinstance(value, str) else iter_items(body, "input", request):
        if isinstance(item, str):
            request.texts.append(item)
        else:
            request.token_count += count_encoded(item)
    return request


EMBEDDINGS_CONTENT = ContentFormat(read_request)
