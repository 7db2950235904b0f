"""Fingerprint of a request body as it was sent, for any API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..model.fingerprint import Fingerprint, fingerprint

__all__ = ["read_fingerprint"]

_MESSAGES = ("messages", "contents", "input", "prompt")
_SYSTEM = ("system", "instructions", "systemInstruction", "system_instruction")
_IGNORED_FIELDS = frozenset(
    {"stream", "stream_options", "user", "metadata", "store", "safety_identifier", "prompt_cache_key", "labels"}
)
"""Fields that do not influence the response."""


def read_fingerprint(sent: bytes | Mapping[str, Any], model: str | None, key: bytes = b"") -> Fingerprint | None:
    """Return the fingerprint of a request body, or ``None`` if it contains no messages.

    Args:
        sent: The body, as JSON or parsed.
        model: The requested model, where the URL names it and the body does not.
        key: The key of the hashes, so that they cannot be compared with those of another store.
    """
    try:
        body = json.loads(sent) if isinstance(sent, bytes) else sent
    except (ValueError, RecursionError):  # not JSON, for example a form with a file
        return None
    if not isinstance(body, Mapping):
        return None
    name = next((name for name in _MESSAGES if body.get(name)), None)
    if name is None:
        return None
    used = {name, "model", "tools", *_SYSTEM}
    return fingerprint(
        body[name],
        system=next((body[field] for field in _SYSTEM if body.get(field)), None),
        tools=body.get("tools"),
        model=body.get("model") or model,
        params={field: value for field, value in body.items() if field not in used and field not in _IGNORED_FIELDS},
        key=key,
    )
