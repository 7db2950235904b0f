"""What must not leave the process: personal data and secrets, told by their shape and proven by their checksum.

Every pattern is bounded or starts at a mark that is cheap to find, so that no text, however long or hostile, takes more
than linear time. A detector whose mark is not in the text costs one substring search.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from importlib import import_module
from inspect import iscoroutinefunction
from ipaddress import ip_address

from .._config import ConfigError
from ..scope import context as scopes

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
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub("[PRIVATE_KEY]", text)
    if "eyJ" in text:
        text = _JWT.sub("[JWT]", text)
    for mark, pattern in _KEYS:
        if mark in text:
            text = _replace(text, pattern, _key)
    if "@" in text or "%40" in text:
        text = _replace(text, _DOMAIN, _address)
    text = _replace(text, _IBAN, _iban)
    text = _replace(text, _NUMBERS, _number)
    if "::" in text or text.count(":") >= 7:
        text = _replace(text, _IPV6, _ipv6)
    return text


Finding = tuple[int, int, str] | None
"""From where to where, and what to write instead."""


def _replace(text: str, pattern: re.Pattern[str], judge: Callable[[str, re.Match[str]], Finding]) -> str:
    """``text`` with what ``judge`` makes of each match, which may begin before the match does.

    Every pattern begins with a literal or a plain set: those are searched ten times faster than a look-behind.
    """
    pieces: list[str] = []
    done = 0
    for match in pattern.finditer(text):
        finding = judge(text, match)
        if finding is not None:
            start, end, token = finding
            pieces += (text[done : max(start, done)], token)
            done = end
    return "".join([*pieces, text[done:]]) if pieces else text


def _follows_word(text: str, start: int, more: str = "") -> bool:
    return start > 0 and (text[start - 1].isalnum() or text[start - 1] in more)


_MARKED = re.compile("[0-9@:%]")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
    # A block that lost its end is a secret up to the end of the text.
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
# A look-behind is free where it stands behind the literal.
_JWT = re.compile(r"eyJ(?<![\w-]eyJ)[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?", re.ASCII)

_KEYS = [
    (re.split(r"\[|\\w", pattern)[0].replace("\\", ""), re.compile(pattern, re.ASCII))
    for pattern in (
        r"sk-[\w-]{16,}",  # openai, anthropic, openrouter, deepseek
        r"sk_live_\w{10,}", r"pk_live_\w{10,}", r"rk_live_\w{10,}", r"sk_test_\w{10,}", r"whsec_\w{16,}",  # stripe
        r"AKIA[0-9A-Z]{16}", r"ASIA[0-9A-Z]{16}",  # aws
        r"AIza[\w-]{30,}", r"ya29\.[\w-]{20,}", r"GOCSPX-[\w-]{20,}",  # google
        r"ghp_\w{30,}", r"gho_\w{30,}", r"ghu_\w{30,}", r"ghs_\w{30,}", r"ghr_\w{30,}", r"github_pat_\w{30,}",
        r"glpat-[\w-]{16,}", r"xox[abeoprs]-[\w-]{10,}", r"xapp-[\w-]{10,}",
        r"hf_\w{20,}", r"gsk_\w{20,}", r"xai-\w{20,}", r"pplx-\w{20,}", r"nvapi-[\w-]{20,}", r"r8_\w{30,}",
        r"npm_\w{30,}", r"pypi-[\w-]{30,}", r"SG\.[\w-]{16,}\.[\w-]{16,}", r"dop_v1_[0-9a-f]{40,}",
        r"AccountKey=[\w+/]{20,}=*",  # azure storage
        r"Bearer [\w.~+/-]{16,}=*", r"bearer [\w.~+/-]{16,}=*",
    )
]  # fmt: skip


def _key(text: str, match: re.Match[str]) -> Finding:
    return None if _follows_word(text, match.start()) else (*match.span(), "[API_KEY]")


# From the sign on, since a search from the left would read each long word once per letter.
_DOMAIN = re.compile(r"[@%](?:40)?[\w-]{1,63}(?:\.[\w-]{1,63}){0,10}\.(?:xn--[\w-]{1,60}|[^\W\d_]{2,63})")
_LOCAL = frozenset("_.+%'&*/=?^{|}~!#$-")


def _address(text: str, match: re.Match[str]) -> Finding:
    at = start = match.start()
    if text[at] == "%" and not text.startswith("40", at + 1):
        return None
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] in _LOCAL) and at - start < 320:
        start -= 1
    return (start, match.end(), "[EMAIL]") if start < at else None


_IBAN = re.compile(r"[0-9][0-9](?:[ -]?[A-Za-z0-9]){11,30}", re.ASCII)
_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC",
        32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip


def _iban(text: str, match: re.Match[str]) -> Finding:
    start = match.start() - 2
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper()) if start >= 0 else None
    if length is None or _follows_word(text, start):
        return None
    plain = ""
    end = start
    while len(plain) < length and end < match.end():
        if text[end] not in " -":
            plain += text[end]
        end += 1
    if len(plain) != length or text[end : end + 1].isalnum():
        return None
    number = "".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])
    return (start, end, "[IBAN]") if int(number) % 97 == 1 else None


# All that may be a number of some kind. The exact patterns, which are slow to search, see nothing else.
_NUMBERS = re.compile(r"[0-9](?:[ \xa0().\-/]{0,2}[0-9]){3,}")
# Inside a look-ahead, so that a number which fails its checksum hides none that begins within it.
_CARD = re.compile(
    r"(?<![0-9])(?=("
    r"[2-6][0-9]{3}(?P<a>[ -]?)[0-9]{4}(?P=a)[0-9]{4}(?P=a)[0-9]{4}(?:(?P=a)[0-9]{1,3})?"
    r"|3[0-9]{3}(?P<b>[ -]?)[0-9]{6}(?P=b)[0-9]{4,5}"
    r"|4[0-9]{12})(?![0-9]))"
)
_IPV4 = re.compile(r"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\.?[0-9])")
_SSN = re.compile(r"(?<![0-9-])(?!000|666|9)[0-9]{3}([- ])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![0-9-])")
_PHONE = re.compile(
    r"(?<![\w+.])(?:"
    r"\+[1-9](?:[ \xa0().\-/]{0,2}[0-9]){6,14}"  # international
    r"|(?:1[-. ])?\(?[2-9][0-9]{2}\)?[-. ]{1,2}[0-9]{3}[-. ][0-9]{4}"  # North America
    r"|\(?0[1-9](?:[ \xa0()\-/.]{0,2}[0-9]){7,10}"  # with a trunk zero; the separators are checked
    r")(?![0-9])"
)
_DATE = re.compile(r"\(?[0-9]{2}[-./ ][0-9]{2}[-./ ][0-9]{4}")


def _number(text: str, match: re.Match[str]) -> Finding:
    start, end = match.span()
    if start > 0 and text[start - 1] in "+(":
        start -= 1
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    found = before + text[start:end] + after
    kept = found
    if end - start >= 13:
        kept = _without_cards(kept)
    if kept.count(".") >= 3:
        kept = _IPV4.sub(_ipv4, kept)
    if end - start >= 8:
        kept = _PHONE.sub(_phone, _SSN.sub("[SSN]", kept))
    if kept == found:
        return None
    return start, end, kept[len(before) : len(kept) - len(after)]


def _without_cards(text: str) -> str:
    pieces: list[str] = []
    done = 0
    for match in _CARD.finditer(text):
        number = match.group(1)
        if match.start() < done:
            continue
        if not _luhn(number):
            number = number[:19].rstrip(" -")  # without a security code behind it
            if not _luhn(number):
                continue
        pieces += (text[done : match.start()], "[CARD]")
        done = match.start() + len(number)
    return "".join([*pieces, text[done:]]) if pieces else text


def _luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number) if digit.isdecimal()]
    doubled = (2 * digit for digit in digits[1::2])
    return (sum(digits[::2]) + sum(digit - 9 if digit > 9 else digit for digit in doubled)) % 10 == 0


def _ipv4(match: re.Match[str]) -> str:
    address = match.group()
    return "[IP]" if all(int(part) < 256 for part in address.split(".")) else address


def _phone(match: re.Match[str]) -> str:
    number = match.group()
    if number.lstrip("(").startswith("0") and (number.isdecimal() or _DATE.match(number)):
        return number
    return "[PHONE]"


_IPV6 = re.compile(r":[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]*")


def _ipv6(text: str, match: re.Match[str]) -> Finding:
    start = match.start()
    while start > 0 and match.start() - start < 5 and text[start - 1] in _HEX:
        start -= 1
    end = match.end()
    while end > start and text[end - 1] == ".":
        end -= 1
    address = text[start:end]
    # ``a::b`` is also how some languages write names.
    if _follows_word(text, start, ":.") or text[end : end + 1].isalnum() or not any(map(str.isdigit, address)):
        return None
    try:
        ip_address(address)
    except ValueError:
        return None
    return start, end, "[IP]"


_HEX = frozenset("0123456789abcdefABCDEF")
