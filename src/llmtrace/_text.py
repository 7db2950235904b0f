"""Text that every exporter, database and backend accepts."""

from __future__ import annotations

import json


def compact_json(value: object) -> str:
    """Return ``value`` as JSON without blanks; an empty text if that is not possible."""
    try:
        return json.dumps(value, separators=(",", ":"), default=str)
    except (TypeError, ValueError, RecursionError):
        return ""


def encodable(text: str) -> str:
    """Return ``text`` without lone surrogates, which UTF-8 cannot encode, and NUL, which PostgreSQL rejects.

    One such character in an attribute would lose the span, or the batch it is exported with.
    """
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text.replace("\0", "\ufffd") if "\0" in text else text
