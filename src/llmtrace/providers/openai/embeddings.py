"""OpenAI embeddings. Of the vectors only the length of the first is read."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_count, get_text, iter_list
from ...model import Request, Response
from ...model.wire_format import WireFormat
from .._texts import no_texts
from .._usage import Reported
from .embeddings_content import EMBEDDINGS_CONTENT

__all__ = ["EMBEDDINGS"]


def read_request(body: Any) -> Request:
    params: dict[str, Any] = {}
    encoding = get_text(body, "encoding_format")
    if encoding:
        params["encoding_formats"] = [encoding]
    dimensions = get_count(body, "dimensions")
    if dimensions is not None:
        params["dimensions"] = dimensions
    return Request(operation="embeddings", model=get_text(body, "model"), params=params)


def read_response(response: Any) -> Response:
    reported = Reported()
    reported.add(get(response, "usage"))
    vector = get(next(iter_list(response, "data"), None), "embedding")
    return reported.fill_input(
        Response(id=get_text(response, "id"), model=get_text(response, "model"), dimensions=_length(vector))
    )


def _length(vector: Any) -> int | None:
    if isinstance(vector, str):  # base64 of four-byte floats, which the SDK requests
        return len(vector.rstrip("=")) * 3 // 16 or None
    return len(vector) if isinstance(vector, list) else None


EMBEDDINGS = WireFormat(request=read_request, response=read_response, content=EMBEDDINGS_CONTENT, texts=no_texts)
