"""Text as every exporter, database and backend takes it."""

from __future__ import annotations

__all__ = ["encodable"]


def encodable(text: str) -> str:
    """Return ``text`` without lone surrogates, which are not Unicode, and NUL characters, which PostgreSQL refuses.

    One of them in an attribute would cost the span, or the whole batch it is exported with.
    """
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text.replace("\0", "\ufffd") if "\0" in text else text
