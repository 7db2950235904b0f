"""The fingerprint of a request as it went over the wire, whichever API it was for."""

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
"""Does not decide the answer."""


def read_fingerprint(sent: bytes | Mapping[str, Any], model: str | None, key: bytes = b"") -> Fingerprint | None:
    """The fingerprint of a body; ``None`` where there are no messages in it.

    Args:
        sent: The body, as JSON or read.
        model: The model asked for, where the address says it and the body does not.
        key: Makes hashes of this store mean nothing elsewhere.
    """
    try:
        body = json.loads(sent) if isinstance(sent, bytes) else sent
    except (ValueError, RecursionError):  # a form with a file, say
        return None
    if not isinstance(body, Mapping):
        return None
    name = next((name for name in _MESSAGES if body.get(name)), None)
    if name is None:
        return None
    said = {name, "model", "tools", *_SYSTEM}
    return fingerprint(
        body[name],
        system=next((body[each] for each in _SYSTEM if body.get(each)), None),
        tools=body.get("tools"),
        model=body.get("model") or model,
        params={each: value for each, value in body.items() if each not in said and each not in _IGNORED_FIELDS},
        key=key,
    )
