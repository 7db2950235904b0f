"""Gemini requests without generation: counting tokens, and managing cached content."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_count, get_text
from ...model import Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import WireFormat
from .generate_content import GENERATE_CONTENT

__all__ = ["CACHES", "COUNT"]


def read_count_request(body: Any) -> Request:
    return Request(operation="count_tokens")


def read_count(response: Any) -> Response:
    return Response(counted_tokens=get_count(response, "totalTokens"))


def _cache(operation: str) -> WireFormat:
    def read_request(body: Any) -> Request:
        model = get_text(body, "model")
        return Request(operation=operation, model=None if model is None else model.rpartition("models/")[2])

    return WireFormat(request=read_request, response=read_cache)


def read_cache(response: Any) -> Response:
    return Response(counted_tokens=get_count(get(response, "usageMetadata"), "totalTokenCount"))


def read_counted(body: Any) -> RequestContent:
    # Vertex AI takes the contents directly, the Gemini API inside a complete request.
    return GENERATE_CONTENT.request(get(body, "generateContentRequest") or body)


COUNT = WireFormat(request=read_count_request, response=read_count, content=ContentFormat(read_counted))
CACHES = {action: _cache(f"{action}_cache") for action in ("create", "update", "get", "list", "delete")}
