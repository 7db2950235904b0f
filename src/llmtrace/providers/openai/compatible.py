"""OpenAI wire formats in the libraries of other vendors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...model import Request
from ...model.wire_format import WireFormat

__all__ = ["compatible"]


def compatible(wire_format: WireFormat) -> WireFormat:
    """Return the wire format without what only OpenAI's own API has.

    Streams of the other vendors report their usage without ``stream_options``, which some of them reject.
    """

    def read_request(body: Any) -> Request:
        request = wire_format.request(body)
        request.api_type = None
        return request

    return replace(wire_format, request=read_request)
