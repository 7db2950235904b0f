"""Tolerant readers for what comes over the wire, be it a mapping or a vendor's object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["each", "number", "peek", "pick", "text", "whole"]


def peek(source: Any, name: str) -> Any:
    """The value under ``name``, or ``None``."""
    if type(source) is dict or isinstance(source, Mapping):
        return source.get(name)
    return getattr(source, name, None)


def text(source: Any, name: str) -> str | None:
    value = peek(source, name)
    return value if isinstance(value, str) and value else None


def whole(source: Any, name: str) -> int | None:
    """A count: a non-negative integer. Anything else is "not told"."""
    value = peek(source, name)
    return value if type(value) is int and value >= 0 else None


def number(source: Any, name: str) -> float | None:
    value = peek(source, name)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def each(source: Any, name: str) -> Iterator[Any]:
    """The items of a list under ``name``. Generators are the caller's and are left alone."""
    value = peek(source, name)
    return iter(value) if isinstance(value, (list, tuple)) else iter(())


def pick(source: Any, *names: str) -> dict[str, Any]:
    """The plain values (text, numbers, booleans, lists of text) under ``names``."""
    found: dict[str, Any] = {}
    for name in names:
        value = peek(source, name)
        if isinstance(value, (str, int, float)) or (
            isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
        ):
            found[name] = value
    return found
