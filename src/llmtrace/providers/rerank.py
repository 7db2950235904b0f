"""Reranking, whose requests and responses differ between vendors in few names."""

from __future__ import annotations

from itertools import islice
from typing import Any

from .._read import get, get_count, get_number, get_text, iter_list
from ..model import Document, Request, RequestContent, Response
from ..model.content_format import ContentFormat
from ..model.wire_format import WireFormat
from ._messages import iter_items
from ._usage import Reported

__all__ = ["RERANK", "read_ranking"]

_MAX_DOCUMENTS = 100
_SCORES = ("relevance_score", "relevanceScore")


def read_request(body: Any) -> Request:
    top = get_count(body, "top_n") or get_count(body, "top_k")
    params = {} if top is None else {"reranker.top_k": top}
    return Request(operation="rerank", model=get_text(body, "model"), params=params)


def read_response(response: Any) -> Response:
    read = Response(id=get_text(response, "id"), model=get_text(response, "model"), documents=read_ranking(response))
    return Reported(get(response, "usage")).fill_input(read)


def read_ranking(response: Any) -> tuple[Document, ...]:
    """Return the documents that were kept, with their scores. Voyage calls the list ``data``."""
    return tuple(
        Document(str(index), next((score for name in _SCORES if (score := get_number(item, name)) is not None), None))
        for name in ("results", "data")
        for item in islice(iter_list(response, name), _MAX_DOCUMENTS)
        if (index := get_count(item, "index")) is not None
    )


def read_content(body: Any) -> RequestContent:
    request = RequestContent(query=get_text(body, "query"))
    for document in iter_items(body, "documents", request):
        text = document if isinstance(document, str) else get_text(document, "text")
        if text is not None:
            request.texts.append(text)
    return request


RERANK = WireFormat(request=read_request, response=read_response, content=ContentFormat(read_content))
