"""Reranking, whose requests and responses differ between vendors in few names. Scores are not recorded."""

from __future__ import annotations

from typing import Any

from .._read import get, get_count, get_text
from ..model import Request, RequestContent, Response
from ..model.content_format import ContentFormat
from ..model.wire_format import WireFormat
from ._messages import iter_items
from ._usage import Reported

__all__ = ["RERANK"]


def read_request(body: Any) -> Request:
    top = get_count(body, "top_n") or get_count(body, "top_k")
    params = {} if top is None else {"reranker.top_k": top}
    return Request(operation="rerank", model=get_text(body, "model"), params=params)


def read_response(response: Any) -> Response:
    reported = Reported()
    reported.add(get(response, "usage"))
    return reported.fill_input(Response(id=get_text(response, "id"), model=get_text(response, "model")))


def read_content(body: Any) -> RequestContent:
    request = RequestContent(query=get_text(body, "query"))
    for document in iter_items(body, "documents", request):
        text = document if isinstance(document, str) else get_text(document, "text")
        if text is not None:
            request.texts.append(text)
    return request


RERANK = WireFormat(request=read_request, response=read_response, content=ContentFormat(read_content))
