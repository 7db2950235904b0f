"""OpenAI batches, which report the usage of all their requests together when they have ended."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_text
from ...model import Response
from ...model.wire_format import WireFormat
from .._common import read_fetch
from .._usage import Reported

__all__ = ["BATCH"]

_FINAL_STATUSES = frozenset({"completed", "expired", "cancelled", "failed"})


def read_response(batch: Any) -> Response:
    status = get_text(batch, "status")
    return Reported(get(batch, "usage")).fill_openai(
        Response(
            id=get_text(batch, "id"),
            model=get_text(batch, "model"),
            finish_reasons=(status,) if status in _FINAL_STATUSES else (),
            status=status,
            service_tier="batch",
            background=True,
        )
    )


BATCH = WireFormat(request=read_fetch, response=read_response)
