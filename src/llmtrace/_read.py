"""Tolerant readers for what comes over the wire, be it a mapping or a vendor's object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from ._decimal import parse
from ._text import encodable

__all__ = ["Money", "as_mapping", "get", "get_count", "get_number", "get_text", "iter_list", "read_money", "select"]


_MAX_COUNT = 2**48
"""More than anybody counts; and sums of many such counts still fit the 64 bits of an attribute or a metric."""


def get(source: Any, name: str) -> Any:
    """The value under ``name``, or ``None``."""
    if type(source) is dict:
        return source.get(name)
    own = getattr(source, "__dict__", None)
    if own is not None:
        if name in own:
            return own[name]
        # A pydantic model raises for a name it lacks, which costs ten times the look-up.
        extra = getattr(source, "__pydantic_extra__", own)
        if extra is None:
            return None
        if extra is not own and type(extra) is dict:
            return extra.get(name)
    if source is None:
        return None
    if isinstance(source, Mapping):
        return source.get(name)
    return getattr(source, name, None)


def as_mapping(source: Any) -> Any:
    """What to read several names from: the plain dictionary inside ``source`` where it has one, else ``source``."""
    if type(source) is dict:
        return source
    if source is None:
        return None
    own = getattr(source, "__dict__", None)
    extra = getattr(source, "__pydantic_extra__", source)
    if own is None or (extra is not None and type(extra) is not dict):
        return source  # not a pydantic model: it may answer for names outside its dictionary
    return {**extra, **own} if extra else own


def get_text(source: Any, name: str) -> str | None:
    """Text that is not empty and that an exporter can encode."""
    value = source.get(name) if type(source) is dict else get(source, name)
    if value is None or not isinstance(value, str) or not value:
        return None
    return encodable(value)


def get_count(source: Any, name: str) -> int | None:
    """A count: a non-negative integer that can be one. Anything else is "not told"."""
    value = get(source, name)
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None


def get_number(source: Any, name: str) -> float | None:
    """A finite number."""
    value = get(source, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if -_MAX_COUNT <= value <= _MAX_COUNT else None


def iter_list(source: Any, name: str) -> Iterator[Any]:
    """The items of a list under ``name``. Generators are the caller's and are left alone."""
    value = get(source, name)
    return iter(value) if isinstance(value, (list, tuple)) else iter(())


def select(source: Any, names: frozenset[str]) -> dict[str, Any]:
    """The plain values (text, numbers, booleans, lists of text) under ``names``."""
    if type(source) is dict:
        return {
            name: plain
            for name, value in source.items()
            if name in names and (plain := value if type(value) in _SCALARS else _plain(value)) is not None
        }
    return {name: plain for name in names if (plain := _plain(get(source, name))) is not None}


_SCALARS = frozenset({str, int, float, bool})


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return list(value)  # the caller may change its list before a span is written
    return None


Money = float | Decimal | Fraction
"""USD, exact unless it is a float."""
_MAX_EXPONENT = 30


def read_money(value: Any) -> Money | None:
    """Return a finite amount, be it a number or text."""
    if isinstance(value, str):
        try:
            value = parse(value)
        except InvalidOperation:
            return None
        return value if value.is_finite() and abs(value.adjusted()) <= _MAX_EXPONENT else None
    return get_number({"": value}, "")
