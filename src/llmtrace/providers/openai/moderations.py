"""OpenAI moderations, which are free of charge. Their results are not recorded."""

from __future__ import annotations

from typing import Any

from ..._read import get_text
from ...model import Request, Response
from ...model.wire_format import WireFormat
from .media_content import MODERATIONS_CONTENT

__all__ = ["MODERATIONS"]


def read_request(body: Any) -> Request:
    return Request(operation="moderation", model=get_text(body, "model"))


def read_response(response: Any) -> Response:
    return Response(id=get_text(response, "id"), model=get_text(response, "model"))


MODERATIONS = WireFormat(request=read_request, response=read_response, content=MODERATIONS_CONTENT)
