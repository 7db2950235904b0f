"""Validation of tags, metadata and names. Invalid values are dropped or cut with one warning; nothing is raised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from .. import _process
from .._settings import ConfigError, content_mode
from .._text import encodable

Primitive = str | int | float | bool

_MAX_LABEL_CHARS = 256
_MAX_TEXT_CHARS = 4096
_MAX_VALUES = 64
_MAX_INTEGER = 2**63
_MAX_WARNINGS = 1000
"""Values come from the program's data: they must not fill the log, nor keep other warnings out of it."""


def warn_invalid(subject: str, message: str) -> None:
    """Log a warning about an invalid value, the first time that there is one about ``subject``."""
    _process.warn_once(f"llmtrace: {message} (logged once)", about=("value", subject), limit=_MAX_WARNINGS)


def clean_label(name: str, value: object) -> str | None:
    """Return ``value`` as a short text, the form of ``feature``, ``user``, ``session`` and ``tenant``.

    Args:
        name: The name of the value, for warnings.
        value: Text, an integer or a UUID. Text of more than 256 characters is cut.

    Returns:
        The text, or ``None`` if the value is empty or of another type.
    """
    if value is None:
        return None
    if isinstance(value, str):
        if type(value) is str and value.isascii() and 0 < len(value) <= _MAX_LABEL_CHARS and "\0" not in value:
            return value
        text = value if type(value) is str else str.__str__(value)
    elif isinstance(value, (int, UUID)) and not isinstance(value, bool):
        try:
            text = str(value)
        except ValueError:
            warn_invalid(name, f"{name} is a number with too many digits; it is not recorded")
            return None
    else:
        warn_invalid(name, f"{name} must be text, an integer or a UUID, not {type(value).__name__}; it is not recorded")
        return None
    if not text:
        return None
    return _clean(name, text, _MAX_LABEL_CHARS)


def clean_content_mode(value: object) -> str:
    """Return the content mode for ``capture_content=value``; an invalid value records no content."""
    try:
        return content_mode("capture_content", value)
    except ConfigError as error:
        warn_invalid("capture_content", f"{error}; no content is recorded")
        return "no_content"


def clean_labels(name: str, value: object) -> tuple[str, ...]:
    """Return up to 64 different short texts from an iterable of labels, or from a single label."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        label = clean_label(name, value)
        return () if label is None else (label,)
    labels: dict[str, None] = {}
    for item in value:
        if len(labels) >= _MAX_VALUES:
            warn_invalid(f"{name}.count", f"{name} takes at most {_MAX_VALUES} values; the rest is not recorded")
            break
        label = clean_label(name, item)
        if label is not None:
            labels[label] = None
    return tuple(labels)


def clean_value(name: str, value: object) -> Primitive | None:
    """Return ``value`` as text, a number or a boolean, or ``None`` if it is of another type.

    Text of more than 4096 characters is cut. Integers must fit 64 bits, and floats must be finite.
    """
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return _clean(name, str.__str__(value), _MAX_TEXT_CHARS)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, int):
        if -_MAX_INTEGER <= value < _MAX_INTEGER:
            return int(value)
        problem = "does not fit 64 bits"
    elif isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        problem = "is not a finite number"
    else:
        problem = f"must be text, a number or a boolean, not {type(value).__name__}"
    warn_invalid(name, f"{name} {problem}; it is not recorded")
    return None


def clean_values(name: str, values: Mapping[str, Any]) -> dict[str, Primitive]:
    """Return up to 64 keys of ``values`` with valid names and values."""
    cleaned: dict[str, Primitive] = {}
    for key, value in values.items():
        if len(cleaned) >= _MAX_VALUES:
            warn_invalid(f"{name}.count", f"{name} takes at most {_MAX_VALUES} keys; the rest is not recorded")
            break
        if not key or len(key) > _MAX_LABEL_CHARS:
            warn_invalid(
                f"{name}.key",
                f"a key of {name} is empty or longer than {_MAX_LABEL_CHARS} characters; it is not recorded",
            )
            continue
        primitive = clean_value(f"{name} {key!r}", value)
        if primitive is not None:
            cleaned[_clean(name, key, _MAX_LABEL_CHARS)] = primitive
    return cleaned


def _clean(name: str, text: str, max_chars: int) -> str:
    if len(text) > max_chars:
        warn_invalid(name, f"{name} is longer than {max_chars} characters; it is cut")
        text = text[:max_chars]
    # Replace lone surrogates: they cannot be encoded, and one would lose its entire export batch.
    return encodable(text)
