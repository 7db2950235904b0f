"""The setting ``redact``, the built-in redactor, and a wrapper that makes any redactor fail closed.

``detect`` and ``secret_patterns`` decide what the built-in redactor replaces. ``content`` passes messages and documents
to the redactor, ``content_policy`` names and tags, which are redacted even if no content is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import iscoroutinefunction
from pkgutil import resolve_name

from .._process import warn_once
from .._settings import ConfigError
from ..context import state as context_state
from .decode import Decoded, decode, fold, form_data, may_hold_escapes
from .detect import Finding, find
from .secret_patterns import secrets

Redactor = Callable[[str], str]

REDACTED = "__REDACTED__"
"""Text written in place of a text whose redactor failed, or has no time left."""

_replaces_all = False
_ACCEPTED = "none, builtin, or module:callable (a function from text to text)"


def load(name: str, value: object) -> Redactor | None:
    """Return the redactor that a setting selects.

    Args:
        name: Name of the setting, for error messages.
        value: ``none``, ``builtin``, ``module:callable``, or a function from text to text.

    Returns:
        A redactor that returns ``REDACTED`` for texts on which it fails; ``None`` for no redaction.

    Raises:
        ConfigError: If the value is invalid, cannot be loaded, or is an asynchronous function.
    """
    if value is None or value is False:
        return None
    if callable(value):
        return fail_closed(_require_sync(name, value))
    if not isinstance(value, str):
        raise ConfigError(f"{name}={value!r} is not accepted; use {_ACCEPTED}")
    word = value.strip()
    if word.lower() in ("", "none"):
        return None
    if word.lower() == "builtin":
        secrets()  # read the patterns now, not during a call
        return builtin
    return fail_closed(_require_sync(name, _import_callable(name, word)))


def _require_sync(name: str, redact: Callable[[str], object]) -> Callable[[str], object]:
    if iscoroutinefunction(redact) or iscoroutinefunction(getattr(redact, "__call__", None)):  # noqa: B004
        raise ConfigError(f"{name}={redact!r} is asynchronous, which is not supported; use {_ACCEPTED}")
    return redact


def _import_callable(name: str, word: str) -> Callable[[str], object]:
    if not all(word.partition(":")):
        raise ConfigError(f"{name}={word!r} is not accepted; use {_ACCEPTED}")
    try:
        imported: Callable[[str], object] = resolve_name(word)
    except Exception as error:
        raise ConfigError(
            f"{name}={word!r} cannot be loaded ({type(error).__name__}: {error}); use {_ACCEPTED}"
        ) from error
    if not callable(imported):
        raise ConfigError(f"{name}={word!r} is not callable; use {_ACCEPTED}")
    return imported


@contextmanager
def replacing_all() -> Iterator[None]:
    """Replace every text inside the block by ``REDACTED`` instead of calling the application's redactor."""
    global _replaces_all  # noqa: PLW0603 - the calls that the process still has to end are on several threads
    _replaces_all = True
    try:
        yield
    finally:
        _replaces_all = False


def fail_closed(redact: Callable[[str], object]) -> Redactor:
    """Return ``redact`` wrapped to fail closed: a text that it cannot redact is replaced by ``REDACTED``.

    Calls to a model from within ``redact`` are not traced: they would be redacted too, in endless recursion.
    """

    def redact_or_replace(text: str) -> str:
        if _replaces_all:
            return _replacement("there is no time left")
        outer = context_state.current()
        token = context_state.attach(context_state.suppressing(outer))
        try:
            redacted = redact(text)
        except (Exception, SystemExit) as error:
            problem = type(error).__name__  # the message and the frames may hold the text
        else:
            if isinstance(redacted, str):
                return redacted
            problem = f"returned {type(redacted).__name__}"
        finally:
            context_state.restore(token, outer)
        return _replacement(problem)

    return redact_or_replace


def _replacement(problem: str) -> str:
    warn_once(
        f"the redactor failed ({problem}); llmtrace records {REDACTED} instead of each text that it cannot redact",
        about="redactor",
    )
    return REDACTED


def builtin(text: str) -> str:
    """Return ``text`` with personal data and secrets replaced by tokens such as ``[EMAIL]``.

    Replaced are e-mail and IP addresses, phone, card, account and social security numbers, passwords and API keys,
    also where they are escaped for JSON, URLs, HTML or terminals.
    """
    if len(text) < 20 and _MAY_HOLD_FINDING.search(text) is None:
        return text
    findings = _find_decoded(text) if may_hold_escapes(text) else find(text)
    return _replace(text, findings) if findings else text


_MAY_HOLD_FINDING = re.compile(r"[0-9@:%=&\\]|[^\0-\x7f]")
"""Characters of which a short text must have one to hold personal data or a secret."""
_MAX_ESCAPE_LEVELS = 5
"""Levels of nested escapes to decode: JSON in JSON in a URL in JSON has four."""


def _find_decoded(text: str) -> list[Finding]:
    """Return the findings in ``text`` and in each level of decoded escapes, as positions in ``text``."""
    findings: list[Finding] = []
    levels: list[Decoded] = []
    for _ in range(_MAX_ESCAPE_LEVELS):
        text = fold(text)
        decoded = decode(text)
        current = find(text)
        form = form_data(text)
        if form is not None:
            current += find(form)
        if decoded is None:
            return findings + _to_original(current, levels)
        # Keep or replace complete escapes: the n of a \n does not belong to the address that follows it.
        findings += _to_original([(*decoded.outside(start, end), token) for start, end, token in current], levels)
        if decoded.separated is not None:
            findings += _to_original(find(decoded.separated.text), [*levels, decoded.separated])
        levels.append(decoded)
        text = decoded.text
    return findings + _to_original(find(fold(text)), levels)


def _to_original(findings: list[Finding], levels: list[Decoded]) -> list[Finding]:
    for level in reversed(levels):
        findings = [(*level.original(start, end), token) for start, end, token in findings if start < end]
    return findings


def _replace(text: str, findings: list[Finding]) -> str:
    """Return ``text`` with its findings replaced; overlapping findings get the token of the longest one."""
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
