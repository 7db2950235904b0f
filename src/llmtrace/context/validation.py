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

__all__ = ["Plain", "complain", "content", "forget_warnings", "label", "labels", "plain", "plains"]

Plain = str | int | float | bool

_log = logging.getLogger("llmtrace")
_LONGEST = 256
_LONGEST_TEXT = 4096
_MOST = 64
_LARGEST = 2**63

_said: set[str] = set()
_lock = threading.Lock()


def complain(about: str, message: str) -> None:
    """Say ``message``, the first time that anything is to be said of ``about``."""
    if about in _said:
        return
    with _lock:
        if about in _said or len(_said) > 1000:
            return
        _said.add(about)
    _log.warning("llmtrace: %s (said once)", message)


def forget_warnings() -> None:
    """Let every warning be given once more."""
    with _lock:
        _said.clear()


def label(name: str, value: object) -> str | None:
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
            complain(name, f"{name} is a number of too many digits; it is left out")
            return None
    else:
        complain(name, f"{name} must be text (or an integer or UUID), not {type(value).__name__}; it is left out")
        return None
    if not text:
        return None
    return _clean(name, text, _LONGEST)


def content(value: object) -> str:
    """Whether content is written. What means nothing asks for none."""
    try:
        return content_mode("capture_content", value)
    except ConfigError as error:
        complain("capture_content", f"{error}; nothing that is said is written")
        return "no_content"


def labels(name: str, value: object) -> tuple[str, ...]:
    """Some short texts; one alone will do."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        one = label(name, value)
        return () if one is None else (one,)
    found: dict[str, None] = {}
    for item in value:
        if len(found) >= _MOST:
            complain(f"{name}.count", f"{name} takes at most {_MOST} values; the rest is left out")
            break
        one = label(name, item)
        if one is not None:
            found[one] = None
    return tuple(found)


def plain(name: str, value: object) -> Plain | None:
    """Text, a number or a truth value."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return _clean(name, str.__str__(value), _LONGEST_TEXT)
    if isinstance(value, int):
        if -_LARGEST <= value < _LARGEST:
            return int(value)
        complain(name, f"{name} does not fit 64 bits; it is left out")
        return None
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        complain(name, f"{name} is not a finite number; it is left out")
        return None
    if isinstance(value, UUID):
        return str(value)
    complain(name, f"{name} must be text, a number or a truth value, not {type(value).__name__}; it is left out")
    return None


def plains(name: str, given: Mapping[str, Any]) -> dict[str, Plain]:
    found: dict[str, Plain] = {}
    for key, value in given.items():
        if len(found) >= _MOST:
            complain(f"{name}.count", f"{name} takes at most {_MOST} keys; the rest is left out")
            break
        if not key or len(key) > _LONGEST:
            complain(f"{name}.key", f"a key of {name} is empty or longer than {_LONGEST} characters; it is left out")
            continue
        one = plain(f"{name} {key!r}", value)
        if one is not None:
            found[_clean(name, key, _LONGEST)] = one
    return found


def _clean(name: str, text: str, longest: int) -> str:
    if len(text) > longest:
        complain(name, f"{name} is longer than {longest} characters; it is cut")
        text = text[:longest]
    # A lone surrogate cannot be encoded, and would cost the whole batch it is exported with.
    return encodable(text)
