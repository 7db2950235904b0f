"""Tolerant readers of request and response bodies: mappings or vendor objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from ._decimal import parse
from ._text import encodable

_MAX_COUNT = 2**48
"""Largest accepted count. Sums of many such counts still fit the 64 bits of an attribute or a metric."""


def get(source: Any, name: str) -> Any:
    """Return the value of the key or attribute ``name``, or ``None``."""
    if type(source) is dict:
        return source.get(name)
    own = getattr(source, "__dict__", None)
    if own is not None:
        if name in own:
            return own[name]
        # Read the extra fields directly: a failed ``getattr`` on a pydantic model costs ten times the look-up.
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
    """Return the plain dictionary inside ``source`` if it has one, else ``source``, for several reads."""
    if type(source) is dict:
        return source
    if source is None:
        return None
    own = getattr(source, "__dict__", None)
    extra = getattr(source, "__pydantic_extra__", source)
    if own is None or (extra is not None and type(extra) is not dict):
        return source  # not a pydantic model: it may have attributes outside its dictionary
    if not extra:
        return own
    fields = {**extra, **own}
    fields.pop("__pydantic_extra__", None)  # models that Speakeasy generates list it as a field
    return fields


def get_text(source: Any, name: str) -> str | None:
    """Return a non-empty text that an exporter can encode, or ``None``."""
    value = source.get(name) if type(source) is dict else get(source, name)
    if value is None or not isinstance(value, str) or not value:
        return None
    # Check first: nearly every text is ASCII, and a call costs more than the check.
    return value if value.isascii() and "\0" not in value else encodable(value)


def get_count(source: Any, name: str) -> int | None:
    """Return a non-negative integer up to 2**48, or ``None``: any other value counts as not reported."""
    value = get(source, name)
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None


def get_number(source: Any, name: str) -> float | None:
    """Return a finite number, or ``None``."""
    value = get(source, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if -_MAX_COUNT <= value <= _MAX_COUNT else None


def iter_list(source: Any, name: str) -> Iterator[Any]:
    """Return an iterator over the list ``name``. Generators are not consumed: they belong to the caller."""
    value = get(source, name)
    return iter(value) if isinstance(value, (list, tuple)) else iter(())


def put(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Add ``values`` to a dictionary, except those that are ``None``."""
    for name, value in values.items():
        if value is not None:
            into[name] = value


def select(source: Any, names: frozenset[str]) -> dict[str, Any]:
    """Return the plain values (text, numbers, booleans, lists of text) of ``names``."""
    if type(source) is dict:
        return {
            name: copy
            for name, value in source.items()
            if name in names and (copy := value if type(value) in _SCALARS else _copy_plain(value)) is not None
        }
    return {name: copy for name in names if (copy := _copy_plain(get(source, name))) is not None}


_SCALARS = frozenset({str, int, float, bool})


def _copy_plain(value: Any) -> Any:
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return list(value)  # a copy: the caller may change its list before a span is written
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
