"""Response headers: request ids, rate limits, stated costs, and what the reader of a wire format takes from them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from .._compat.http_clients import header_entries
from .._read import Money, read_money
from ..model import Response
from ..model.wire_format import HeaderReader

_COST_HEADERS = ("x-litellm-response-cost", "x-nr-request-cost", "cf-aig-cost", "x-total-cost")
"""Response headers in which gateways state the cost of a call in USD."""


def _stated_cost(headers: Mapping[str, str]) -> Money | None:
    """Return the cost stated by a gateway. Ignore 0: gateways send it while the cost is unknown."""
    name = next(filter(headers.__contains__, _COST_HEADERS), None)
    cost = None if name is None else read_money(headers[name])
    return cost if cost is not None and cost > 0 else None


_RECORDED = (
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-tokens-remaining",
)


@cache
def _names_with(names: tuple[str, ...]) -> Mapping[bytes, str]:
    return {name.encode(): name for name in (*_RECORDED, *_COST_HEADERS, *names)}


def complete_from_headers(response: Response, headers: Any, reader: HeaderReader | None) -> Mapping[str, str]:
    """Add what the headers of an HTTP client report to ``response``, and return those that are recorded."""
    read = _read_headers(headers, _names_with(() if reader is None else reader.names))
    if response.stated_cost is None:
        response.stated_cost = _stated_cost(read)
    if reader is not None:
        reader.complete(response, read)
    return read


def _read_headers(headers: Any, names: Mapping[bytes, str]) -> dict[str, str]:
    # Read httpx's list of (raw name, lower-case name, value) once: each look-up by name scans all headers.
    entries = header_entries(headers)
    if entries is not None:
        return {names[name]: value.decode("latin-1") for _, name, value in entries if name in names}
    # Other clients keep the case that the server sent.
    return {name: value for key, value in headers.items() if (name := key.lower()).encode() in names}
