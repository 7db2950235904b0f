"""Readers that several wire formats share: fetched objects, token counts, and requests without content."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from .._read import get_count, get_text
from ..model import Request, RequestContent, Response


def read_fetch(_: Any) -> Request:
    return Request(operation="fetch_response", background=True)


def read_count_request(body: Any) -> Request:
    return Request(operation="count_tokens", model=get_text(body, "model"))


def read_count(response: Any) -> Response:
    return Response(counted_tokens=get_count(response, "input_tokens"))


def no_content(_: Any) -> RequestContent:
    return RequestContent()


def remember(entries: dict[str, Any], key: str, value: Any, limit: int) -> None:
    """Set a value in a dictionary of at most ``limit`` entries, from which the oldest are removed."""
    entries[key] = value
    while len(entries) > limit:
        with suppress(RuntimeError, StopIteration):  # another thread changes it between the two steps
            entries.pop(next(iter(entries)), None)
