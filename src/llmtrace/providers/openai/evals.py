"""Runs of OpenAI evaluations, which report the usage of each model when they have ended."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_text, iter_list
from ...capture.error_body import read_error
from ...model import Counts, Response
from ...model.wire_format import WireFormat
from .._common import read_fetch
from .._usage import Reported

__all__ = ["EVAL_RUN"]

_FINAL_STATUSES = frozenset({"completed", "failed", "canceled"})
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def read_response(run: Any) -> Response:
    status = get_text(run, "status")
    used: list[tuple[str | None, Counts]] = []
    for usage in iter_list(run, "per_model_usage"):
        reported, model = Reported(), get_text(usage, "model_name") or get_text(usage, "run_model_name")
        cached = {"prompt_tokens_details": {"cached_tokens": get(usage, "cached_tokens")}}
        reported.add({name: get(usage, name) for name in _COUNTS} | cached)
        counts = reported.fill_openai(Response()).usage
        if counts:
            used.append((model, counts))
    (model, usage), *others = used or [(get_text(run, "model"), {})]
    failed = status == "failed"
    return Response(
        id=get_text(run, "id"),
        model=model,
        finish_reasons=(status,) if status is not None and status in _FINAL_STATUSES else (),
        usage=usage or None,
        additional_usage=tuple(others),
        # The sizes of the single calls are not reported, and evaluations that are shared with OpenAI may be free.
        price_context={"evaluation": "model calls"},
        status="cancelled" if status == "canceled" else status,
        error=read_error(run) or "error" if failed else None,
        failed=failed,
        background=True,
    )


EVAL_RUN = WireFormat(request=read_fetch, response=read_response)
