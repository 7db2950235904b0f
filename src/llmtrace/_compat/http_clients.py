"""Private parts of the HTTP clients' requests and responses: httpx, httpx2, requests and botocore.

Public properties raise for bodies that are streamed, and look headers up one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import warn_missing


def request_of(response: Any) -> Any:
    """Return the request of a response or of an error, ``None`` if it has none."""
    return getattr(response, "_request", None) or _public(response, "request")


def body_of(request: Any) -> bytes | None:
    """Return the body that was sent, ``None`` if it was streamed and is not kept."""
    body = getattr(request, "_content", None)
    if body is None:
        body = _public(request, "content")
    return body if isinstance(body, bytes) else None


def is_read(response: Any) -> bool:
    """Return True if the body of a closed response is in memory."""
    return bool(response.is_closed) and (hasattr(response, "_content") or _public(response, "content") is not None)


def headers_of(response: Any) -> Any:
    """Return the headers of a response, ``None`` if it has none. Botocore's response is a dictionary."""
    if isinstance(response, dict):
        metadata = response.get("ResponseMetadata")
        return metadata.get("HTTPHeaders") if isinstance(metadata, dict) else None
    return getattr(response, "headers", None)


def header_entries(headers: Any) -> Iterable[tuple[bytes, bytes, bytes]] | None:
    """Return the raw name, the lower-case name and the value of each header, ``None`` if headers have another form."""
    entries: Iterable[tuple[bytes, bytes, bytes]] | None = getattr(headers, "_list", None)
    return entries


def make_decoders(response: Any) -> list[Any] | None:
    """Return new decoders for the content encodings of a response, in the order of their use.

    Without them, what a caller reads of a compressed body is not recorded; the result is ``None``.
    """
    try:
        decoder = response._get_content_decoder()
    except AttributeError:
        name = f"{type(response).__name__}._get_content_decoder"
        warn_missing("httpx", name, "bodies that your program reads by itself are not recorded if they are compressed")
        return None
    return [type(each)() for each in getattr(decoder, "children", None) or (decoder,)]


def _public(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name, None)
    except Exception:  # the body was streamed, or there is no request
        return None
