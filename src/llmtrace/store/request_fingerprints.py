"""Fingerprint of a request body as it was sent, for any API."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..model import RequestContent
from ..model.fingerprint import Fingerprint, fingerprint

_IGNORED_FIELDS = frozenset(
    {"stream", "stream_options", "user", "metadata", "store", "safety_identifier", "prompt_cache_key", "labels"}
)
"""Fields that do not influence the response."""


class SentBody(NamedTuple):
    """One request body, and the reader of its wire format."""

    body: bytes | Mapping[str, Any]
    """The body, as JSON or parsed."""
    read: Callable[[Any], RequestContent]


def read_fingerprint(sent: SentBody, model: str | None, key: bytes = b"") -> Fingerprint | None:
    """Return the fingerprint of a request body, or ``None`` if it contains no messages.

    ``model`` is used where the URL names it and the body does not. The hashes of two keys cannot be compared.
    """
    try:
        body = json.loads(sent.body) if isinstance(sent.body, bytes) else sent.body
    except (ValueError, RecursionError):  # not JSON, for example a form with a file
        return None
    if not isinstance(body, Mapping):
        return None
    content = sent.read(body)
    messages = content.messages or content.texts
    if not (messages or content.token_count or content.variables):
        return None
    return fingerprint(
        messages,
        system=content.system,
        tools=content.tools,
        model=body.get("model") or model,
        # Everything that was sent: content includes only what the conventions have a form for.
        params={field: value for field, value in body.items() if field not in _IGNORED_FIELDS},
        key=key,
    )
