"""OpenAI moderations, which bill nothing. What was found is left alone."""

from __future__ import annotations

from typing import Any

from ..._read import get_text
from ...model import Request, Response
from ...model.wire_format import WireFormat
from .media_content import MODERATIONS_CONTENT

__all__ = ["MODERATIONS"]


def read_request(body: Any) -> Request:
    return Request(operation="moderation", model=get_text(body, "model"))


def read_response(answer: Any) -> Response:
    return Response(id=get_text(answer, "id"), model=get_text(answer, "model"))


MODERATIONS = WireFormat(request=read_request, response=read_response, content=MODERATIONS_CONTENT)
