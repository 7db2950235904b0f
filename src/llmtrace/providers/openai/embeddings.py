"""OpenAI embeddings. Vectors are never read, but for the length of the first."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_count, get_text, iter_list
from ...model import Request, Response
from ...model.wire_format import WireFormat
from .._texts import NO_WORDS
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


def read_response(answer: Any) -> Response:
    reported = Reported()
    reported.add(get(answer, "usage"))
    # Nothing is written in answer to an embedding: the total is the input.
    if "total" in reported.counts:
        reported.counts.setdefault("input", reported.counts["total"])
    if not reported.counts.get("output"):
        reported.counts.pop("output", None)
    vector = get(next(iter_list(answer, "data"), None), "embedding")
    return reported.fill_openai(
        Response(id=get_text(answer, "id"), model=get_text(answer, "model"), dimensions=_length(vector))
    )


def _length(vector: Any) -> int | None:
    if isinstance(vector, str):  # base64 of floats of four bytes, which is what the SDK asks for
        return len(vector.rstrip("=")) * 3 // 16 or None
    return len(vector) if isinstance(vector, list) else None


EMBEDDINGS = WireFormat(request=read_request, response=read_response, content=EMBEDDINGS_CONTENT, words=NO_WORDS)
