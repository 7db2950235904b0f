"""Reranking, in the dialect of Cohere that other vendors share. The documents are not read."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_text
from .. import Request, Response, WireFormat
from .._usage import Reported

__all__ = ["RERANK"]


def read_request(body: Any) -> Request:
    return Request(operation="rerank", model=get_text(body, "model"))


def read_response(response: Any) -> Response:
    reported = Reported()
    reported.add(get(response, "usage"))
    reported.add(get(get(response, "meta"), "billed_units"))
    if "total" in reported.counts:
        reported.counts.setdefault("input", reported.counts["total"])
    return reported.fill_openai(Response(id=get_text(response, "id"), model=get_text(response, "model")))


RERANK = WireFormat(request=read_request, response=read_response)
