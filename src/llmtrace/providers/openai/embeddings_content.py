"""OpenAI embeddings: the texts that were asked of. Vectors are never content."""

from __future__ import annotations

from typing import Any

from ..._read import get
from ...model import RequestContent
from ...model.content_format import ContentFormat
from .._messages import iter_items

__all__ = ["EMBEDDINGS_CONTENT"]


def read_request(body: Any) -> RequestContent:
    asked = RequestContent()
    given = get(body, "input")
    if isinstance(given, str):
        asked.texts.append(given)
    else:
        # An input of token numbers says nothing.
        asked.texts += (item for item in iter_items(body, "input", asked) if isinstance(item, str))
    return asked


EMBEDDINGS_CONTENT = ContentFormat(read_request)
