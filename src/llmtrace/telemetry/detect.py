"""Personal data and secrets in plain text, recognised by their form and confirmed by their checksum.

Every pattern is bounded or starts at a mark that is cheap to find, so that no text, however long or hostile, takes more
than linear time. A detector whose mark is not in the text costs one substring search.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from itertools import pairwise

from .secret_patterns import CREDENTIAL_NAMES, PASSWORD_NAMES, SECRETS, TOKEN_NAMES

__all__ = ["Finding", "find"]

Finding = tuple[int, int, str]
"""Start, end and the text to write instead."""
Judge = Callable[[str, re.Match[str]], Iterable[Finding]]

_MASK = "\0"
"""Written over what has been detected: no pattern matches it, and the positions stay."""


def find(text: str) -> list[Finding]:
    """Return the secrets and the personal data of ``text``, in no order."""
    findings: list[Finding] = []
    text = _find_named(_find_prefixed(text, findings), findings)
    if "@" in text or "%40" in text:
        text = _detect(text, _DOMAIN, _address, findings)
    text = _detect(text, _IBAN, _iban, findings)
    text = _detect(text, _NUMBERS, _numbers, findings)
    if "::" in text or text.count(":") >= 7:
        _detect(text, _IPV6, _ipv6, findings)
    return findings


def _find_prefixed(text: str, findings: list[Finding]) -> str:
    """Append the secrets that their own form gives away; return ``text`` with them masked."""
    # Prefixes are looked for in long words only: that is a small part of most text.
    long_words = " ".join([word for word in text.split() if len(word) >= _SHORTEST_KEY])
    for gate, secrets in _GATED:
        if gate in long_words:
            for mark, pattern, judge in secrets:
                if mark in long_words:
                    text = _detect(text, pattern, judge, findings)
    for mark, pattern, judge in _SPACED:
        if mark in text:
            text = _detect(text, pattern, judge, findings)
    if len(long_words) >= 40:
        text = _detect(text, _KEY_DIGIT, _aws_secret, findings)
    return text


def _find_named(text: str, findings: list[Finding]) -> str:
    """Append the secrets that the text around them gives away; return ``text`` with them masked."""
    if "://" in text:
        text = _detect(text, _URL_PASSWORD, _url_password, findings)
    if "asic" in text or "ASIC" in text:
        text = _detect(text, _BASIC, _basic, findings)
    if any(sign in text for sign in (":", "=", "--", "</")):
        lower = text.replace("\u0130", "i").lower()  # as long as the text: that letter alone becomes two
        for name, pattern in _NAME_ENDS:
            if name in lower:
                text = _detect(text, pattern, _pair, findings, lower)
    return text


def _detect(
    text: str, pattern: re.Pattern[str], judge: Judge, findings: list[Finding], searched: str | None = None
) -> str:
    """Append what ``judge`` confirms of each match, in ``searched`` or ``text``; return ``text`` with it masked.

    Every pattern begins with a literal or a plain set: those are searched ten times faster than a look-behind. What
    ``judge`` returns may begin before the match does.
    """
    pieces: list[str] = []
    done = 0
    for match in pattern.finditer(text if searched is None else searched):
        for begin, end, token in judge(text, match):
            start = max(begin, done)
            if start < end:
                findings.append((start, end, token))
                pieces += (text[done:start], _MASK * (end - start))
                done = end
    return "".join([*pieces, text[done:]]) if pieces else text


def _follows_word(text: str, start: int, more: str = "") -> bool:
    """Return True if a letter or a digit touches ``start``: other scripts need no blank before a key."""
    return start > 0 and ((text[start - 1].isascii() and text[start - 1].isalnum()) or text[start - 1] in more)


def _always(token: str) -> Judge:
    return lambda text, match: ((*match.span(), token),)


def _not_in_word(token: str) -> Judge:
    return lambda text, match: () if _follows_word(text, match.start()) else ((*match.span(), token),)


_SHORTEST_KEY = 14
_Search = tuple[str, re.Pattern[str], Judge]


def _compiled() -> Iterable[_Search]:
    for secret in SECRETS:
        judge = (_not_in_word if secret.word else _always)(secret.token)
        yield secret.mark, re.compile(secret.pattern, re.ASCII), judge


def _gated(searches: Iterable[_Search]) -> list[tuple[str, list[_Search]]]:
    """Group ``searches`` by the rarest character of their marks: its absence saves looking for all the marks."""
    groups: dict[str, list[_Search]] = {}
    for search in searches:
        gate = next((sign for sign in "_/=.-:" if sign in search[0]), search[0])
        groups.setdefault(gate, []).append(search)
    return list(groups.items())


_SPACED = [search for search in _compiled() if " " in search[1].pattern]
"""Those that blanks may interrupt."""
_GATED = _gated(search for search in _compiled() if " " not in search[1].pattern)

# The password may hold signs that should have been escaped: up to the last @ before a slash, else to the first.
_URL_PASSWORD = re.compile(
    r"://[^\s:/@\"'`<>\[\]\\]{0,256}:(?![0-9]{1,5}[/?#])"
    r"(?P<password>[^\s/\"'`<>\\\0]{1,256}(?=@)|[^\s@\"'`<>\\\0]{1,256}(?=@))"
)


def _url_password(text: str, match: re.Match[str]) -> Iterable[Finding]:
    password = match["password"]
    return () if _is_placeholder(password) else ((*match.span("password"), "[PASSWORD]"),)


_BASIC = re.compile(r"(?:asic|ASIC)[ \t:+]{1,3}([A-Za-z0-9+/_-]{6,}={0,2})")


def _basic(text: str, match: re.Match[str]) -> Iterable[Finding]:
    """Confirm that the credential is a name and a password in base64: "basic understanding" is not."""
    start = match.start() - 1
    encoded = match[1].rstrip("=")
    if start < 0 or text[start] not in "bB":
        return ()
    try:
        plain = b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_" if set("-_") & set(encoded) else None)
        pair = plain.decode()
    except ValueError:
        return ()
    return ((start, match.end(), "[PASSWORD]"),) if ":" in pair and pair.isprintable() else ()


_NAMES = (*PASSWORD_NAMES, *TOKEN_NAMES, *CREDENTIAL_NAMES)
_ENDS = (
    *("password", "passwd", "passphrase", "passwort", "pass", "pwd", "key", "secret", "token", "credential"),
    *("signature", "authorization"),
)
"""The last words of all the names."""
# name = value, name: value, "name": "value", <name>value, --name value
_NAME_ENDS = [
    (end, re.compile(rf"{end}[\"'`\]\\ \t]{{0,6}}(?:[:=>]|(?<=[ \t])(?=[^\s:=>]))", re.ASCII)) for end in _ENDS
]
_PUNCTUATION = dict.fromkeys(map(ord, " \t_-.\"'`[]\\"))
_ANNOTATED = re.compile(r"[ \t]*[\w.\[\]| ]{1,40}(?==)")
_VARIABLE = re.compile(r"(?<!PRIMARY)(?<!PUBLIC)(?<!CACHE)(?<!SORT)(?<!FOREIGN)_KEY[ \t]*$")
"""The end of the name of an environment variable that holds a key."""
_FLAG = re.compile(r"--[\w-]{1,40}[ \t]+$")
_VALUE = re.compile(
    r">?[ \t]{0,4}(?:[bBrRuU]{0,2}(?P<quote>[\"'`])(?P<quoted>(?:\\.|(?!(?P=quote))[^\\\n\0]){1,512})"
    # A backslash that begins an escape ends a value: the decoded text shows what follows.
    r"|(?P<plain>(?:[^\s\"'`<>&;\\\0]|\\(?![nrtbfux\"'/\\])){1,512}))"
)
_CREDENTIAL = re.compile(r">?[ \t]{0,4}[\"'`]?(?:[A-Za-z][\w-]{2,24}[ \t]+)?([^\s\"'`<>&;,\\\0]{1,512})")
_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*[(\[]?", re.ASCII)
_DOTTED = re.compile(r"[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)+", re.ASCII)
_EMPTY_VALUES = frozenset(
    {
        *("none", "null", "true", "false", "undefined", "unset", "empty", "any"),
        *("string", "str", "int", "bool", "bytes", "required", "optional", "redacted", "hidden"),
    }
)
_WORDS = ("password", "passwd", "token", "secret", "apikey", "api_key", "credential", "your", "example")


def _pair(text: str, match: re.Match[str]) -> Iterable[Finding]:
    """Confirm that a name calls the value a secret, and that the value is neither code nor a word."""
    end = match.end()
    sign = text[end - 1]
    head = text[max(0, match.start() - 40) : end - (sign in ":=>")]
    name = head.lower().translate(_PUNCTUATION)
    if not (name.endswith(_NAMES) or _VARIABLE.search(head)) or (sign not in ":=>" and _FLAG.search(head) is None):
        return ()
    if name.endswith(CREDENTIAL_NAMES):
        return _credential(text, end)
    found = _value(text, end, sign, head, name)
    if not found and sign == ":" and (annotation := _ANNOTATED.match(text, end)) is not None:
        found = _value(text, annotation.end() + 1, "=", head, name)
    return found


def _credential(text: str, end: int) -> Iterable[Finding]:
    value = _CREDENTIAL.match(text, end)
    return ((*value.span(1), "[API_KEY]"),) if value is not None and _is_key(value[1], quoted=False) else ()


def _value(text: str, end: int, sign: str, head: str, name: str) -> Iterable[Finding]:
    value = _VALUE.match(text, end)
    if value is None:
        return ()
    quoted = value["quote"] is not None
    low, high = value.span("quoted" if quoted else "plain")
    if not quoted:
        high = low + len(text[low:high].rstrip(",.)]}!?:"))
    if sign == ">" and not text.startswith("</", high):
        return ()
    if not name.endswith(PASSWORD_NAMES):
        return ((low, high, "[API_KEY]"),) if _is_key(text[low:high], quoted) else ()
    # A query, or a line of settings: there a word may be a password.
    tight = sign == "=" and low == end and not _in_call(head)
    return ((low, high, "[PASSWORD]"),) if _is_password(text[low:high], quoted, tight) else ()


def _in_call(head: str) -> bool:
    before = head.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789")
    return before.endswith(("(", ", ", "\n    ", "\t", "$"))


def _is_placeholder(value: str) -> bool:
    return (
        not value
        or value[0] in "$<{%[("
        or value.lower() in _EMPTY_VALUES
        or not value.strip("*xX.•-_…?")
        or _MASK in value
    )


def _is_password(value: str, quoted: bool, tight: bool) -> bool:
    if len(value) < 4 or _is_placeholder(value) or value[0] in "/~" or value[1:3] in (":\\", ":/"):
        return False  # ``pwd`` is a folder too
    if quoted:
        lower = value.lower()
        return value.count(" ") < 6 and not (" " in value and any(word in lower for word in _WORDS))
    if (code := _IDENTIFIER.match(value)) is not None:
        if value[code.end() - 1 : code.end()] in ("(", "[") or _DOTTED.fullmatch(value):
            return False
        if code.end() == len(value) and any(word in value.lower() for word in _WORDS):
            return False
    return tight or not value.isalpha()


def _is_key(value: str, quoted: bool) -> bool:
    if len(value) < 8 or _is_placeholder(value) or " " in value or "://" in value:
        return False
    if not quoted and (_DOTTED.fullmatch(value) or "(" in value or "[" in value):
        return False
    digit, letter = any(map(str.isdigit, value)), any(map(str.isalpha, value))
    if not digit and _DOTTED.fullmatch(value):
        return False
    if digit:
        return letter or len(value) >= 20
    mixed = not value.islower() and not value.isupper()
    return len(value) >= 16 and (quoted or not _IDENTIFIER.fullmatch(value)) and (mixed or not value.isalpha())


# An AWS secret key has no prefix: forty signs of base64 in disorder. Nearly each has a digit before a letter.
_KEY_DIGIT = re.compile(r"[0-9][A-Za-z/+]")
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_AWS_SECRET = re.compile(r"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
_AWS_SECRET_CHANGES = 16
"""Changes between capitals, small letters, digits and signs: 24 in random text, far fewer in names and paths."""


def _aws_secret(text: str, match: re.Match[str]) -> Iterable[Finding]:
    start = match.start()
    while start > 0 and text[start - 1] in _BASE64:
        start -= 1
        if match.start() - start > 40:
            return ()
    found = _AWS_SECRET.match(text, start)
    if found is None:
        return ()
    kinds = [
        "u" if sign.isupper() else "l" if sign.islower() else "d" if sign.isdigit() else "s" for sign in found.group()
    ]
    changes = sum(one != other for one, other in pairwise(kinds))
    if changes < _AWS_SECRET_CHANGES or "u" not in kinds or "l" not in kinds:
        return ()
    return ((*found.span(), "[API_KEY]"),)


# From the sign on, since a search from the left would read each long word once per letter.
_DOMAIN = re.compile(r"[@%](?:40)?[\w-]{1,63}(?:\.[\w-]{1,63}){0,10}\.(?:xn--[\w-]{1,60}|[^\W\d_]{2,63})")
_LOCAL = frozenset("_.+%'&*/=?^{|}~!#$-")


def _address(text: str, match: re.Match[str]) -> Iterable[Finding]:
    at = start = match.start()
    if text[at] == "%" and not text.startswith("40", at + 1):
        return ()
    if text.startswith("(", match.end()):
        return ()  # a matrix product and a call
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] in _LOCAL) and at - start < 320:
        start -= 1
    while start < at and text[start] in "'{|}*":
        start += 1
    return ((start, match.end(), "[EMAIL]"),) if start < at else ()


_IBAN = re.compile(r"[0-9][0-9](?<=[A-Za-z][A-Za-z][0-9][0-9])")
_IBAN_TAIL = re.compile(r"(?:[ .\-\t\r\n]{0,3}[A-Za-z0-9]){11,30}")
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


def _iban(text: str, match: re.Match[str]) -> Iterable[Finding]:
    start = match.start() - 2
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper())
    if length is None or _follows_word(text, start):
        return ()
    tail = _IBAN_TAIL.match(text, match.end())
    if tail is None:
        return ()
    plain = text[start : match.end()]
    end = match.end()
    while len(plain) < length and end < tail.end():
        if text[end] not in " .-\t\r\n":
            plain += text[end]
        end += 1
    if len(plain) != length or (text[end : end + 1].isascii() and text[end : end + 1].isalnum()):
        return ()
    number = "".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])
    return ((start, end, "[IBAN]"),) if int(number) % 97 == 1 else ()


# All that may be a number of some kind. The exact patterns, which are slow to search, see nothing else.
_NUMBERS = re.compile(r"[0-9](?:[ ()._\-/\t\r\n]{0,4}[0-9]){3,}")
_GAP = r"(?:[ ._\-/\t]{0,3}|[ \t]?\r?\n[ \t]{0,2})"
# Inside a look-ahead, so that a number which fails its checksum hides none that begins within it. Not the decimals of
# a fraction.
_CARD = re.compile(
    rf"(?<![0-9])(?<![0-9]\.)(?=("
    rf"(?:4[0-9]{{3}}|5[0-9]{{3}}|2[2-7][0-9]{{2}}|3[0-9]{{3}}|6[0-9]{{3}})(?:{_GAP}[0-9]{{4}}){{3}}"
    rf"|3[0-9]{{3}}{_GAP}[0-9]{{6}}{_GAP}[0-9]{{4,5}}"
    rf"|3[0-9]{{3}}(?:{_GAP}[0-9]{{4}}){{2}}{_GAP}[0-9]{{3}}"
    rf"|4[0-9]{{12}})({_GAP}[0-9]{{1,3}})?(?![0-9]))"
)
_IPV4 = re.compile(r"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\.?[0-9])")
_VERSION = re.compile(r"(?:[vV]|[=~<>]=|[Vv]ersion |[Vv]ersion: )$")
_SSN = re.compile(r"(?<![0-9-])(?!000|666|9)[0-9]{3}([- ])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![0-9-])")
_PHONE = re.compile(
    r"(?<![\w+.])(?:"
    r"\+[1-9](?:[ ().\-/]{0,2}[0-9]){6,14}"  # international
    r"|(?:1[-. ])?\(?[2-9][0-9]{2}\)?[-. ]{1,2}[0-9]{3}[-. ][0-9]{4}"  # North America
    r"|\(?00?[1-9](?:[ ()\-/.]{0,2}[0-9]){7,10}"  # with a trunk zero; the separators are checked
    r")(?![0-9])",
    re.ASCII,
)
_DATE = re.compile(r"\(?[0-9]{2}[-./ ][0-9]{2}[-./ ][0-9]{4}")


def _numbers(text: str, match: re.Match[str]) -> Iterable[Finding]:
    start, end = match.span()
    if end - start < 7:
        return ()
    low = max(0, start - _CONTEXT)
    piece = text[low : end + 1]
    found: list[Finding] = []
    if end - start >= 13:
        piece = _detect(piece, _CARD, _card, found)
    if piece.count(".") >= 3:
        piece = _detect(piece, _IPV4, _ipv4, found)
    if end - start >= 8:
        piece = _detect(piece, _SSN, _always("[SSN]"), found)
        _detect(piece, _PHONE, _phone, found)
    # What lies in the context alone belongs to the match before.
    return [(low + one, low + other, token) for one, other, token in sorted(found) if low + other > start]


_CONTEXT = 10
"""Characters read before a number: a sign, a bracket, or the word that calls it a version."""


def _card(text: str, match: re.Match[str]) -> Iterable[Finding]:
    number, extra = match.group(1), match.group(2) or ""
    start = match.start()
    if extra and _luhn(number + extra):
        return ((start, start + len(number + extra), "[CARD]"),)
    if extra[:1].isdecimal() or not _luhn(number):
        return ()
    return ((start, start + len(number), "[CARD]"),)  # without a security code behind it


def _luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number) if digit.isdecimal()]
    doubled = (2 * digit for digit in digits[1::2])
    return (sum(digits[::2]) + sum(digit - 9 if digit > 9 else digit for digit in doubled)) % 10 == 0


def _ipv4(text: str, match: re.Match[str]) -> Iterable[Finding]:
    if any(int(part) > 255 for part in match.group().split(".")) or _VERSION.search(text, 0, match.start()):
        return ()
    return ((*match.span(), "[IP]"),)


def _phone(text: str, match: re.Match[str]) -> Iterable[Finding]:
    number = match.group()
    if number.lstrip("(").startswith("0") and (number.isdecimal() or _DATE.match(number)):
        return ()
    return ((*match.span(), "[PHONE]"),)


_IPV6 = re.compile(r":[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]*")
_HEX = frozenset("0123456789abcdefABCDEF")


def _ipv6(text: str, match: re.Match[str]) -> Iterable[Finding]:
    start = match.start()
    while start > 0 and match.start() - start < 5 and text[start - 1] in _HEX:
        start -= 1
    end = match.end()
    while end > start and text[end - 1] == ".":
        end -= 1
    address = text[start:end]
    # ``a::b`` is also how some languages write names, and ``[1::2]`` how Python takes every second item.
    if sum(sign in _HEX for sign in address) < 4 or not any(map(str.isdigit, address)):
        return ()
    if _follows_word(text, start, ":.") or text[end : end + 1].isalnum():
        return ()
    try:
        ip_address(address)
    except ValueError:
        return ()
    return ((start, end, "[IP]"),)
