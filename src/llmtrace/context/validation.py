"""What a tag may say. A value that is not accepted is left out, or cut, with one warning; nothing is ever raised."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from .._settings import ConfigError, content_mode
from .._text import encodable

__all__ = [
    "Plain",
    "clean_content_mode",
    "clean_label",
    "clean_labels",
    "clean_value",
    "clean_values",
    "forget_warnings",
    "warn_once",
]

Plain = str | int | float | bool

_log = logging.getLogger("llmtrace")
_MAX_LABEL_CHARS = 256
_MAX_TEXT_CHARS = 4096
_MAX_VALUES = 64
_MAX_INTEGER = 2**63

_warned: set[str] = set()
_lock = threading.Lock()


def warn_once(about: str, message: str) -> None:
    """Say ``message``, the first time that anything is to be said of ``about``."""
    if about in _warned:
        return
    with _lock:
        if about in _warned or len(_warned) > 1000:
            return
        _warned.add(about)
    _log.warning("llmtrace: %s (said once)", message)


def forget_warnings() -> None:
    """Let every warning be given once more."""
    with _lock:
        _warned.clear()


def clean_label(name: str, value: object) -> str | None:
    """A short text: what ``feature``, ``user``, ``session`` and ``tenant`` may be."""
    if value is None:
        return None
    if type(value) is str:
        text = value
    elif isinstance(value, str):
        text = str.__str__(value)
    elif isinstance(value, (int, UUID)) and not isinstance(value, bool):
        try:
            text = str(value)
        except ValueError:
            warn_once(name, f"{name} is a number of too many digits; it is left out")
            return None
    else:
        warn_once(name, f"{name} must be text (or an integer or UUID), not {type(value).__name__}; it is left out")
        return None
    if not text:
        return None
    return _clean(name, text, _MAX_LABEL_CHARS)


def clean_content_mode(value: object) -> str:
    """Whether content is written. What means nothing asks for none."""
    try:
        return content_mode("capture_content", value)
    except ConfigError as error:
        warn_once("capture_content", f"{error}; nothing that is said is written")
        return "no_content"


def clean_labels(name: str, value: object) -> tuple[str, ...]:
    """Some short texts; one alone will do."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        one = clean_label(name, value)
        return () if one is None else (one,)
    found: dict[str, None] = {}
    for item in value:
        if len(found) >= _MAX_VALUES:
            warn_once(f"{name}.count", f"{name} takes at most {_MAX_VALUES} values; the rest is left out")
            break
        one = clean_label(name, item)
        if one is not None:
            found[one] = None
    return tuple(found)


def clean_value(name: str, value: object) -> Plain | None:
    """Text, a number or a truth value."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return _clean(name, str.__str__(value), _MAX_TEXT_CHARS)
    if isinstance(value, int):
        if -_MAX_INTEGER <= value < _MAX_INTEGER:
            return int(value)
        warn_once(name, f"{name} does not fit 64 bits; it is left out")
        return None
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        warn_once(name, f"{name} is not a finite number; it is left out")
        return None
    if isinstance(value, UUID):
        return str(value)
    warn_once(name, f"{name} must be text, a number or a truth value, not {type(value).__name__}; it is left out")
    return None


def clean_values(name: str, values: Mapping[str, Any]) -> dict[str, Plain]:
    found: dict[str, Plain] = {}
    for key, value in values.items():
        if len(found) >= _MAX_VALUES:
            warn_once(f"{name}.count", f"{name} takes at most {_MAX_VALUES} keys; the rest is left out")
            break
        if not key or len(key) > _MAX_LABEL_CHARS:
            warn_once(
                f"{name}.key", f"a key of {name} is empty or longer than {_MAX_LABEL_CHARS} characters; it is left out"
            )
            continue
        one = clean_value(f"{name} {key!r}", value)
        if one is not None:
            found[_clean(name, key, _MAX_LABEL_CHARS)] = one
    return found


def _clean(name: str, text: str, longest: int) -> str:
    if len(text) > longest:
        warn_once(name, f"{name} is longer than {longest} characters; it is cut")
        text = text[:longest]
    # A lone surrogate cannot be encoded, and would cost the whole batch it is exported with.
    return encodable(text)
