"""OpenAI embeddings. Of the vectors, which are never content, only the length of the first is read."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_count, get_text, iter_list, put
from ...model import Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import WireFormat
from .._messages import count_encoded, iter_items
from .._texts import no_texts
from .._usage import Reported

__all__ = ["EMBEDDINGS"]


def read_request(body: Any) -> Request:
    params: dict[str, Any] = {}
    encoding = get_text(body, "encoding_format")
    put(params, {"encoding_formats": encoding and [encoding], "dimensions": get_count(body, "dimensions")})
    return Request(operation="embeddings", model=get_text(body, "model"), params=params)


def read_response(response: Any) -> Response:
    vector = get(next(iter_list(response, "data"), None), "embedding")
    return Reported(get(response, "usage")).fill_input(
        Response(id=get_text(response, "id"), model=get_text(response, "model"), dimensions=_length(vector))
    )


def _length(vector: Any) -> int | None:
    if isinstance(vector, str):  # base64 of four-byte floats, which the SDK requests
        return len(vector.rstrip("=")) * 3 // 16 or None
    return len(vector) if isinstance(vector, list) else None


def read_content(body: Any) -> RequestContent:
    request = RequestContent()
    value = get(body, "input")
    for item in [value] if isinstance(value, str) else iter_items(body, "input", request):
        if isinstance(item, str):
            request.texts.append(item)
        else:
            request.token_count += count_encoded(item)
    return request


EMBEDDINGS = WireFormat(read_request, read_response, content=ContentFormat(read_content), texts=no_texts)
