"""Detection of personal data and secrets in plain text, by their form and, if they have one, their checksum.

Every pattern is bounded or starts at a mark that is cheap to find, so any text takes linear time, hostile text too. A
detector whose mark is not in the text costs one substring search.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterable
from functools import cache
from ipaddress import ip_address
from itertools import pairwise

from .secret_patterns import CREDENTIAL_NAMES, PASSWORD_NAMES, TOKEN_NAMES, Secret, secrets

Finding = tuple[int, int, str]
"""Start, end and replacement text of a secret or an item of personal data."""
Validator = Callable[[str, re.Match[str]], Iterable[Finding]]
"""Function that confirms a match in a text and returns its findings."""

_MASK = "\0"
"""Character that overwrites findings: no pattern matches it, and positions stay the same."""


def find(text: str) -> list[Finding]:
    """Return the secrets and the personal data in ``text``, in no particular order."""
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
    """Append the secrets with a recognizable form; return ``text`` with them masked."""
    # Search for prefixes in long words only: they are a small part of most texts.
    long_words = " ".join([word for word in text.split() if len(word) >= _MIN_KEY_CHARS])
    grouped, with_blanks = _searches()
    for rarest, searches in grouped:
        if rarest in long_words:
            for mark, pattern, validate in searches:
                if mark in long_words:
                    text = _detect(text, pattern, validate, findings)
    for mark, pattern, validate in with_blanks:
        if mark in text:
            text = _detect(text, pattern, validate, findings)
    if len(long_words) >= 40:
        text = _detect(text, _KEY_DIGIT, _aws_secret, findings)
    return text


def _find_named(text: str, findings: list[Finding]) -> str:
    """Append the secrets that a name or a URL before them identifies; return ``text`` with them masked."""
    if "://" in text:
        text = _detect(text, _URL_PASSWORD, _url_password, findings)
    if "asic" in text or "ASIC" in text:
        text = _detect(text, _BASIC, _basic, findings)
    if any(sign in text for sign in (":", "=", "--", "</")):
        lower = text.replace("\u0130", "i").lower()  # keep the length: only this letter becomes two in lower case
        for name, pattern in _NAME_ENDS:
            if name in lower:
                text = _detect(text, pattern, _named_secret, findings, lower)
    return text


def _detect(
    text: str, pattern: re.Pattern[str], validate: Validator, findings: list[Finding], searched: str | None = None
) -> str:
    """Append the findings that ``validate`` confirms; return ``text`` with them masked.

    Every pattern begins with a literal or a character set, which is searched ten times faster than a look-behind.
    Therefore a finding may begin before its match.

    Args:
        text: The text, in which earlier findings are masked.
        pattern: The pattern of candidates.
        validate: Confirms a candidate and returns its findings.
        findings: List to append to.
        searched: Text of the same length to search instead of ``text``, such as its lower-case form.
    """
    pieces: list[str] = []
    done = 0
    for match in pattern.finditer(text if searched is None else searched):
        for begin, end, token in validate(text, match):
            start = max(begin, done)
            if start < end:
                findings.append((start, end, token))
                pieces += (text[done:start], _MASK * (end - start))
                done = end
    return "".join([*pieces, text[done:]]) if pieces else text


def _follows_word(text: str, start: int, more: str = "") -> bool:
    """Return True if an ASCII letter or digit, or a character of ``more``, precedes ``start``.

    Other letters do not count: some scripts put no blank before a key.
    """
    return start > 0 and ((text[start - 1].isascii() and text[start - 1].isalnum()) or text[start - 1] in more)


def _always(token: str) -> Validator:
    """Return a validator that confirms every match."""
    return lambda text, match: ((*match.span(), token),)


def _validator(secret: Secret) -> Validator:
    """Return a validator that adds the part before the mark, and rejects matches inside a word."""
    token, before = secret.token, secret.before
    if before is not None:

        def validate(text: str, match: re.Match[str]) -> Iterable[Finding]:
            start = match.start()
            head = before.search(text, max(0, start - _MAX_CHARS_BEFORE_MARK), start)
            return () if head is None else ((head.start(), match.end(), token),)

        return validate
    if secret.apart:
        return lambda text, match: () if _follows_word(text, match.start()) else ((*match.span(), token),)
    return _always(token)


_MIN_KEY_CHARS = 14
_MAX_CHARS_BEFORE_MARK = 64
_Search = tuple[str, re.Pattern[str], Validator]
"""Mark, pattern and validator of a secret."""


@cache
def _searches() -> tuple[list[tuple[str, list[_Search]]], list[_Search]]:
    """Return the searches for secrets without blanks, by the rarest character of their marks, and those with blanks.

    A text without the rarest character needs no search for the marks.
    """
    groups: dict[str, list[_Search]] = {}
    with_blanks = []
    for secret in secrets():
        search = secret.mark, secret.pattern, _validator(secret)
        if " " in secret.pattern.pattern:
            with_blanks.append(search)
        else:
            rarest = next((sign for sign in "_/=.-:" if sign in secret.mark), secret.mark)
            groups.setdefault(rarest, []).append(search)
    return list(groups.items()), with_blanks


# The password may hold characters that should be escaped. It ends at the last @ before a slash, else at the first.
_URL_PASSWORD = re.compile(
    r"://[^\s:/@\"'`<>\[\]\\]{0,256}:(?![0-9]{1,5}[/?#])"
    r"(?P<password>[^\s/\"'`<>\\\0]{1,256}(?=@)|[^\s@\"'`<>\\\0]{1,256}(?=@))"
)


def _url_password(text: str, match: re.Match[str]) -> Iterable[Finding]:
    """Confirm the password of a URL, unless it is a placeholder."""
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


_SECRET_NAMES = (*PASSWORD_NAMES, *TOKEN_NAMES, *CREDENTIAL_NAMES)
_NAME_SUFFIXES = (
    *("password", "passwd", "passphrase", "passwort", "pass", "pwd", "key", "secret", "token", "credential"),
    *("signature", "authorization"),
)
"""Last words of all the names."""
# name = value, name: value, "name": "value", <name>value, --name value
_NAME_ENDS = [
    (end, re.compile(rf"{end}[\"'`\]\\ \t]{{0,6}}(?:[:=>]|(?<=[ \t])(?=[^\s:=>]))", re.ASCII)) for end in _NAME_SUFFIXES
]
_PUNCTUATION = dict.fromkeys(map(ord, " \t_-.\"'`[]\\"))
_ANNOTATED = re.compile(r"[ \t]*[\w.\[\]| ]{1,40}(?==)")
_VARIABLE = re.compile(r"(?<!PRIMARY)(?<!PUBLIC)(?<!CACHE)(?<!SORT)(?<!FOREIGN)_KEY[ \t]*$")
"""End of the name of an environment variable that holds a key."""
_FLAG = re.compile(r"--[\w-]{1,40}[ \t]+$")
_VALUE = re.compile(
    r">?[ \t]{0,4}(?:[bBrRuU]{0,2}(?P<quote>[\"'`])(?P<quoted>(?:\\.|(?!(?P=quote))[^\\\n\0]){1,512})"
    # End a value at an escape: the rest is detected in the decoded text.
    r"|(?P<plain>(?:[^\s\"'`<>&;\\\0]|\\(?![nrtbfux\"'/\\])){1,512}))"
)
_CREDENTIAL = re.compile(r">?[ \t]{0,4}[\"'`]?(?:[A-Za-z][\w-]{2,24}[ \t]+)?([^\s\"'`<>&;,\\\0]{1,512})")
_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*[(\[]?", re.ASCII)
_DOTTED = re.compile(r"[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)+", re.ASCII)
_PLACEHOLDER_VALUES = frozenset(
    {
        *("none", "null", "true", "false", "undefined", "unset", "empty", "any"),
        *("string", "str", "int", "bool", "bytes", "required", "optional", "redacted", "hidden"),
    }
)
_PLACEHOLDER_WORDS = ("password", "passwd", "token", "secret", "apikey", "api_key", "credential", "your", "example")


def _named_secret(text: str, match: re.Match[str]) -> Iterable[Finding]:
    """Confirm that the name is that of a secret, and that the value is neither code nor a plain word."""
    end = match.end()
    separator = text[end - 1]
    head = text[max(0, match.start() - 40) : end - (separator in ":=>")]
    name = head.lower().translate(_PUNCTUATION)
    if not (name.endswith(_SECRET_NAMES) or _VARIABLE.search(head)) or (
        separator not in ":=>" and _FLAG.search(head) is None
    ):
        return ()
    if name.endswith(CREDENTIAL_NAMES):
        return _credential(text, end)
    findings = _secret_value(text, end, separator, head, name)
    if not findings and separator == ":" and (annotation := _ANNOTATED.match(text, end)) is not None:
        findings = _secret_value(text, annotation.end() + 1, "=", head, name)
    return findings


def _credential(text: str, end: int) -> Iterable[Finding]:
    """Return the credential after a header name and an optional scheme, if it looks like a key."""
    value = _CREDENTIAL.match(text, end)
    return ((*value.span(1), "[API_KEY]"),) if value is not None and _is_key(value[1], quoted=False) else ()


def _secret_value(text: str, end: int, separator: str, head: str, name: str) -> Iterable[Finding]:
    """Return the value after a name and its separator, if it looks like a password or a key."""
    value = _VALUE.match(text, end)
    if value is None:
        return ()
    quoted = value["quote"] is not None
    low, high = value.span("quoted" if quoted else "plain")
    if not quoted:
        high = low + len(text[low:high].rstrip(",.)]}!?:"))
    if separator == ">" and not text.startswith("</", high):
        return ()
    if not name.endswith(PASSWORD_NAMES):
        return ((low, high, "[API_KEY]"),) if _is_key(text[low:high], quoted) else ()
    # Accept plain words as passwords in queries and settings files: name=word.
    is_setting = separator == "=" and low == end and not _in_call(head)
    return ((low, high, "[PASSWORD]"),) if _is_password(text[low:high], quoted, is_setting) else ()


def _in_call(head: str) -> bool:
    """Return True if the name before an equals sign is probably a keyword argument."""
    before = head.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789")
    return before.endswith(("(", ", ", "\n    ", "\t", "$"))


def _is_placeholder(value: str) -> bool:
    """Return True if the value is a variable, a mask, an earlier finding or a word such as "none"."""
    return (
        not value
        or value[0] in "$<{%[("
        or value.lower() in _PLACEHOLDER_VALUES
        or not value.strip("*xX.•-_…?")
        or _MASK in value
    )


def _is_password(value: str, quoted: bool, is_setting: bool) -> bool:
    """Return True if the value may be a password: not a path, code or a placeholder."""
    if len(value) < 4 or _is_placeholder(value) or value[0] in "/~" or value[1:3] in (":\\", ":/"):
        return False  # ``pwd`` may name a folder
    if quoted:
        lower = value.lower()
        return value.count(" ") < 6 and not (" " in value and any(word in lower for word in _PLACEHOLDER_WORDS))
    if (code := _IDENTIFIER.match(value)) is not None:
        if value[code.end() - 1 : code.end()] in ("(", "[") or _DOTTED.fullmatch(value):
            return False
        if code.end() == len(value) and any(word in value.lower() for word in _PLACEHOLDER_WORDS):
            return False
    return is_setting or not value.isalpha()


def _is_key(value: str, quoted: bool) -> bool:
    """Return True if the value may be a key: long, without blanks, and neither code nor a word."""
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


# An AWS secret key has no prefix: it is 40 random base64 characters. Nearly every key has a digit before a letter.
_KEY_DIGIT = re.compile(r"[0-9][A-Za-z/+]")
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_AWS_SECRET = re.compile(r"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
_AWS_MIN_CLASS_CHANGES = 16
"""Minimum changes of character class; random text has about 24, names and paths have far fewer.

The classes are capitals, small letters, digits and signs.
"""


def _aws_secret(text: str, match: re.Match[str]) -> Iterable[Finding]:
    """Confirm 40 base64 characters that change their class often, as random ones do."""
    start = match.start()
    while start > 0 and text[start - 1] in _BASE64:
        start -= 1
        if match.start() - start > 40:
            return ()
    key = _AWS_SECRET.match(text, start)
    if key is None:
        return ()
    kinds = [
        "u" if character.isupper() else "l" if character.islower() else "d" if character.isdigit() else "s"
        for character in key.group()
    ]
    changes = sum(kind != next_kind for kind, next_kind in pairwise(kinds))
    if changes < _AWS_MIN_CLASS_CHANGES or "u" not in kinds or "l" not in kinds:
        return ()
    return ((*key.span(), "[API_KEY]"),)


# Start at the @ sign: a search from the left would read each long word once per letter.
_DOMAIN = re.compile(r"[@%](?:40)?[\w-]{1,63}(?:\.[\w-]{1,63}){0,10}\.(?:xn--[\w-]{1,60}|[^\W\d_]{2,63})")
_LOCAL_PART_SIGNS = frozenset("_.+%'&*/=?^{|}~!#$-")


def _address(text: str, match: re.Match[str]) -> Iterable[Finding]:
    """Confirm a domain by the local part before its @ sign."""
    at = start = match.start()
    if text[at] == "%" and not text.startswith("40", at + 1):
        return ()
    if text.startswith("(", match.end()):
        return ()  # a matrix product and a call: a @b.c(x)
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] in _LOCAL_PART_SIGNS) and at - start < 320:
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
    """Confirm an IBAN by the length of its country and its checksum."""
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


# Candidates for all kinds of numbers: the exact patterns are slow, so they search only these.
_NUMBERS = re.compile(r"[0-9](?:[ ()._\-/\t\r\n]{0,4}[0-9]){3,}")
_GAP = r"(?:[ ._\-/\t]{0,3}|[ \t]?\r?\n[ \t]{0,2})"
# Match in a look-ahead: a number that fails its checksum must not hide one that begins inside it. Skip decimals of a
# fraction.
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
    """Return the card, IP, social security and phone numbers in a candidate."""
    start, end = match.span()
    if end - start < 7:
        return ()
    low = max(0, start - _CONTEXT_CHARS)
    piece = text[low : end + 1]
    findings: list[Finding] = []
    if end - start >= 13:
        piece = _detect(piece, _CARD, _card, findings)
    if piece.count(".") >= 3:
        piece = _detect(piece, _IPV4, _ipv4, findings)
    if end - start >= 8:
        piece = _detect(piece, _SSN, _always("[SSN]"), findings)
        _detect(piece, _PHONE, _phone, findings)
    # Skip findings that lie in the context only: they belong to the previous match.
    return [(low + first, low + last, token) for first, last, token in sorted(findings) if low + last > start]


_CONTEXT_CHARS = 10
"""Characters read before a number: a sign, a bracket, or a word such as 'version'."""


def _card(text: str, match: re.Match[str]) -> Iterable[Finding]:
    """Confirm a card number by its checksum; a security code after it is not part of it."""
    number, extra = match.group(1), match.group(2) or ""
    start = match.start()
    if extra and _luhn(number + extra):
        return ((start, start + len(number + extra), "[CARD]"),)
    if extra[:1].isdecimal() or not _luhn(number):
        return ()
    return ((start, start + len(number), "[CARD]"),)  # without a security code behind it


def _luhn(number: str) -> bool:
    """Return True if the digits of ``number`` pass the Luhn checksum."""
    digits = [int(digit) for digit in reversed(number) if digit.isdecimal()]
    doubled = (2 * digit for digit in digits[1::2])
    return (sum(digits[::2]) + sum(digit - 9 if digit > 9 else digit for digit in doubled)) % 10 == 0


def _ipv4(text: str, match: re.Match[str]) -> Iterable[Finding]:
    """Confirm four numbers up to 255 that are not a version."""
    if any(int(part) > 255 for part in match.group().split(".")) or _VERSION.search(text, 0, match.start()):
        return ()
    return ((*match.span(), "[IP]"),)


def _phone(text: str, match: re.Match[str]) -> Iterable[Finding]:
    """Confirm a phone number; one with a trunk zero needs separators and must not be a date."""
    number = match.group()
    if number.lstrip("(").startswith("0") and (number.isdecimal() or _DATE.match(number)):
        return ()
    return ((*match.span(), "[PHONE]"),)


_IPV6 = re.compile(r":[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]*")
_HEX = frozenset("0123456789abcdefABCDEF")


def _ipv6(text: str, match: re.Match[str]) -> Iterable[Finding]:
    """Confirm an IPv6 address with at least four hexadecimal digits."""
    start = match.start()
    while start > 0 and match.start() - start < 5 and text[start - 1] in _HEX:
        start -= 1
    end = match.end()
    while end > start and text[end - 1] == ".":
        end -= 1
    address = text[start:end]
    # Skip short candidates: ``a::b`` is a name in some languages, ``[1::2]`` is a slice in Python.
    if sum(character in _HEX for character in address) < 4 or not any(map(str.isdigit, address)):
        return ()
    if _follows_word(text, start, ":.") or text[end : end + 1].isalnum():
        return ()
    try:
        ip_address(address)
    except ValueError:
        return ()
    return ((start, end, "[IP]"),)
