"""The setting ``redact``, the guard of a redactor, and the built-in one."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from importlib import import_module
from inspect import iscoroutinefunction

from .._settings import ConfigError
from ..context import state as scopes
from .decode import Decoded, decode, fold, form_data, may_hold_escapes
from .detect import Finding, find

__all__ = ["REDACTED", "Redactor", "builtin", "guarded", "load"]

Redactor = Callable[[str], str]

REDACTED = "__REDACTED__"
"""Stands for a text whose redactor failed."""

_log = logging.getLogger("llmtrace")
_ACCEPTED = "none, builtin, or module:callable (a function from text to text)"


def load(name: str, value: object) -> Redactor | None:
    """The redactor that the setting ``name`` asks for; ``None`` for none."""
    if value is None or value is False:
        return None
    if callable(value):
        return guarded(_plain(name, value))
    if not isinstance(value, str):
        raise ConfigError(f"{name}={value!r} is not accepted; use {_ACCEPTED}")
    word = value.strip()
    if word.lower() in ("", "none"):
        return None
    return builtin if word.lower() == "builtin" else guarded(_plain(name, _imported(name, word)))


def _plain(name: str, redact: Callable[[str], object]) -> Callable[[str], object]:
    if iscoroutinefunction(redact) or iscoroutinefunction(getattr(redact, "__call__", None)):  # noqa: B004
        raise ConfigError(f"{name}={redact!r} is asynchronous; use {_ACCEPTED}")
    return redact


def _imported(name: str, word: str) -> Callable[[str], object]:
    module, _, path = word.partition(":")
    if not (module and path):
        raise ConfigError(f"{name}={word!r} is not accepted; use {_ACCEPTED}")
    try:
        found = import_module(module)
        for step in path.split("."):
            found = getattr(found, step)
    except Exception as error:
        raise ConfigError(
            f"{name}={word!r} cannot be loaded ({type(error).__name__}: {error}); use {_ACCEPTED}"
        ) from error
    if not callable(found):
        raise ConfigError(f"{name}={word!r} is not callable; use {_ACCEPTED}")
    imported: Callable[[str], object] = found
    return imported


def guarded(redact: Callable[[str], object]) -> Redactor:
    """``redact``, failing closed: what it cannot handle is not written at all.

    What a redactor itself asks of a model is not traced: that would be redacted too, without end.
    """
    told = False

    def closed(text: str) -> str:
        nonlocal told
        outer = scopes.current()
        token = scopes.attach(scopes.suppressing(outer))
        try:
            found = redact(text)
        except (Exception, SystemExit) as error:
            fault = type(error).__name__  # its message and its frames may hold the text
        else:
            if isinstance(found, str):
                return found
            fault = f"returned {type(found).__name__}"
        finally:
            scopes.restore(token, outer)
        if not told:
            told = True
            _log.warning("the redactor failed (%s); llmtrace writes %s instead of the text", fault, REDACTED)
        return REDACTED

    return closed


def builtin(text: str) -> str:
    """``text`` without e-mail addresses, phone, card, account and social security numbers, IP addresses and keys."""
    if len(text) < 20 and _MARKED.search(text) is None:
        return text
    findings = _find_decoded(text) if may_hold_escapes(text) else find(text)
    return _replaced(text, findings) if findings else text


_MARKED = re.compile(r"[0-9@:%=&\\]|[^\0-\x7f]")
_LEVELS = 5
"""Escapes within escapes that are decoded: JSON in JSON in an address in JSON has four."""


def _find_decoded(text: str) -> list[Finding]:
    """Return what ``text`` holds as it stands, and at each level of its escapes, by the positions in ``text``."""
    findings: list[Finding] = []
    levels: list[Decoded] = []
    for _ in range(_LEVELS):
        text = fold(text)
        decoded = decode(text)
        found = find(text)
        form = form_data(text)
        if form is not None:
            found += find(form)
        if decoded is None:
            return findings + _original(found, levels)
        # An escape stays whole, or goes whole: the letter of a \n is no part of the address that follows.
        findings += _original([(*decoded.outside(start, end), token) for start, end, token in found], levels)
        if decoded.separated is not None:
            findings += _original(find(decoded.separated.text), [*levels, decoded.separated])
        levels.append(decoded)
        text = decoded.text
    return findings + _original(find(fold(text)), levels)


def _original(findings: list[Finding], levels: list[Decoded]) -> list[Finding]:
    for level in reversed(levels):
        findings = [(*level.original(start, end), token) for start, end, token in findings if start < end]
    return findings


def _replaced(text: str, findings: list[Finding]) -> str:
    """Write the tokens into ``text``; of findings that overlap the longest names all of them."""
    findings.sort()
    pieces: list[str] = []
    done = 0
    index = 0
    while index < len(findings):
        start, end, token = findings[index]
        longest = end - start
        index += 1
        while index < len(findings) and findings[index][0] < end:
            other, other_end, other_token = findings[index]
            if other_end - other > longest:
                longest, token = other_end - other, other_token
            end = max(end, other_end)
            index += 1
        if start < end:
            pieces += (text[done:start], token)
            done = end
    return "".join([*pieces, text[done:]])
