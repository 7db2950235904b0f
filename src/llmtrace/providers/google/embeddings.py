"""Gemini embeddings (one text or a batch). Of the vectors only the length of the first is read."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_count, iter_list, put
from ...model import Request, Response
from ...model.wire_format import WireFormat
from .._texts import no_texts
from .generate_content import EMBED_CONTENT

__all__ = ["EMBED"]


def read_request(body: Any) -> Request:
    first = next(iter_list(body, "requests"), body)
    request = Request(operation="embeddings")
    for source in (get(first, "embedContentConfig"), first):
        put(request.params, {"dimensions": get_count(source, "outputDimensionality")})
    return request


def read_response(response: Any) -> Response:
    count = get_count(get(response, "usageMetadata"), "promptTokenCount")
    vector = get(next(iter_list(response, "embeddings"), get(response, "embedding")), "values")
    return Response(
        usage=None if count is None else {"input": count}, dimensions=len(vector) if isinstance(vector, list) else None
    )


EMBED = WireFormat(request=read_request, response=read_response, content=EMBED_CONTENT, texts=no_texts)
