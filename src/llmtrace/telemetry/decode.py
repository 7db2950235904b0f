"""Decoding of escapes (JSON, URL, HTML, terminals), with a mapping back to positions in the original text."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from functools import cache
from html.entities import html5

_MARKS = "\\%&+\x1b"
_INVISIBLE = r"\xad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff"


def _compile_escapes(starts: str, alternatives: str = "") -> re.Pattern[str]:
    """Return a pattern of all escapes; it begins with a character set, which is fast to search."""
    return re.compile(
        rf"[\\%&\x1b\^\[{starts}](?:"
        # JSON, Python, C, JavaScript, Markdown: a surrogate pair is one character, an escaped sign is itself.
        r"(?<=\\)(?:[uU][dD][89abAB][0-9a-fA-F]{2}\\[uU][dD][c-fC-F][0-9a-fA-F]{2}|u\{[0-9a-fA-F]{1,6}\}"
        r"|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}(?:\\x[0-9a-fA-F]{2})*|[0-3][0-7]{2}|[abefnrtv0]|\r?\n|[!-/:-@\[-`{-~])"
        r"|(?<=%)(?:[0-9a-fA-F]{2}(?:%[0-9a-fA-F]{2})*|u[0-9a-fA-F]{4})"  # URL
        r"|(?<=&)(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});?"  # HTML
        # Terminals: colours and cursor movements, also as ``cat -v`` prints them, and colours without their ESC.
        r"|(?<=\x1b)(?:\[[0-?]{0,64}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,2048}(?:\x07|\x1b\\)|[@-Z\\-_])"
        rf"|(?<=\^)\[\[[0-?]{{0,64}}[@-~]|(?<=\[)[0-9;]{{1,12}}m{alternatives})"
    )


_ESCAPE = _compile_escapes("")
_ANY_ESCAPE = _compile_escapes(rf"\x9b{_INVISIBLE}", rf"|(?<=\x9b)[0-?]{{0,64}}[ -/]{{0,4}}[@-~]|(?<=[{_INVISIBLE}])")
_ESCAPED_LETTERS = {"a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}
_BREAK = "\0"


class Decoded:
    """Text with one level of escapes decoded."""

    def __init__(self, source: str, escapes: list[tuple[int, int, str]], *, blank: str = "") -> None:
        """Decode the escapes: their start, end and characters, or ``blank`` for one without, such as a colour."""
        pieces: list[str] = []
        self._spans: list[tuple[int, int, int, int]] = []
        """Start and end of each escape in the source, then in ``text``."""
        done = size = 0
        for start, end, decoded in escapes:
            plain = decoded or blank
            pieces += (source[done:start], plain)
            size += start - done
            self._spans.append((start, end, size, size + len(plain)))
            size += len(plain)
            done = end
        self.text: str = "".join([*pieces, source[done:]])
        self._starts = [span[2] for span in self._spans]
        self._sources = [span[0] for span in self._spans]
        has_empty = not blank and any(not plain for _, _, plain in escapes)
        self.separated: Decoded | None = Decoded(source, escapes, blank=_BREAK) if has_empty else None
        """Second decoding with a break in place of each colour: a colour may end a word or stand inside one."""

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return the start and end in the source that ``text[start:end]`` was decoded from."""
        return self._to_source(start, True), self._to_source(end - 1, False) + 1

    def _to_source(self, position: int, first: bool) -> int:
        index = bisect_right(self._starts, position) - 1
        if index < 0:
            return position
        source, source_end, _, end = self._spans[index]
        if position < end:
            return source if first else source_end - 1
        return source_end + position - end

    def outside(self, start: int, end: int) -> tuple[int, int]:
        """Return ``start`` and ``end``, positions in the source, moved out of escapes that they would split."""
        index = bisect_right(self._sources, start) - 1
        if index >= 0 and self._spans[index][0] < start < self._spans[index][1]:
            start = self._spans[index][1]
        index = bisect_right(self._sources, end) - 1
        if index >= 0 and self._spans[index][0] < end < self._spans[index][1]:
            end = self._spans[index][0]
        return start, end


def may_hold_escapes(text: str) -> bool:
    """Return False if ``text`` certainly holds no escape; cheap, since it needs only a few searches."""
    return not text.isascii() or any(mark in text for mark in _MARKS) or ("m" in text and "[" in text)


def decode(text: str) -> Decoded | None:
    """Return ``text`` with one level of escapes decoded, or ``None`` if it has none."""
    pattern = _ESCAPE if text.isascii() else _ANY_ESCAPE
    escapes = [escape for match in pattern.finditer(text) for escape in _decode_escape(match.group(), *match.span())]
    return Decoded(text, escapes) if escapes else None


def _decode_escape(escape: str, start: int, end: int) -> list[tuple[int, int, str]]:
    """Return the characters that ``escape`` encodes, each with its start and end in the source."""
    first = escape[0]
    if first == "%" and escape[1] != "u":
        return _decode_bytes(escape, start, "%")
    if escape.startswith("\\x"):
        return _decode_bytes(escape, start, "\\x")
    plain = ""
    if first == "\\":
        plain = _decode_backslash(escape[1:])
    elif first == "%":
        plain = chr(int(escape[2:], 16))
    elif first == "&":
        named = _decode_entity(escape[1:].rstrip(";"))
        if named is None:
            return []
        plain = named
    return [(start, end, plain)]


def _decode_backslash(escape: str) -> str:
    first = escape[0]
    if first in "uU":
        if "\\" in escape:  # two surrogates
            high, low = int(escape[1:5], 16), int(escape[7:11], 16)
            return chr(0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00)
        code = int(escape[1:].strip("{}"), 16)
        return chr(code) if code <= 0x10FFFF else "\ufffd"
    if first.isdigit() and len(escape) == 3:
        return chr(int(escape, 8))
    return _ESCAPED_LETTERS.get(first, "" if first in "\r\n" else first)


def _decode_entity(name: str) -> str | None:
    if not name.startswith("#"):
        return html5.get(name + ";") or html5.get(name)
    code = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
    return chr(code) if code <= 0x10FFFF else "\ufffd"


def _decode_bytes(escape: str, start: int, mark: str) -> list[tuple[int, int, str]]:
    """Return the characters of escaped bytes, decoded as UTF-8 if valid, else as Latin-1."""
    data = bytes.fromhex(escape.replace(mark, ""))
    try:
        text, utf8 = data.decode(), True
    except UnicodeDecodeError:
        text, utf8 = data.decode("latin-1"), False
    characters = []
    for character in text:
        end = start + (len(mark) + 2) * (len(character.encode()) if utf8 else 1)
        characters.append((start, end, character))
        start = end
    return characters


_FORM_BLANK = re.compile(r"\+(?<=[0-9A-Za-z:;,]\+)(?=\S)")


def form_data(text: str) -> str | None:
    """Return ``text`` with each plus sign of form data as a blank, or ``None`` if it has none; positions stay."""
    return _FORM_BLANK.sub(" ", text) if "+" in text and _FORM_BLANK.search(text) is not None else None


def fold(text: str) -> str:
    """Return ``text`` with full-width letters, non-ASCII digits, blanks and dashes as ASCII; positions stay."""
    if text.isascii():
        return text
    table = _folding_table()
    # Remove ASCII with translate, which is fast: few characters remain of most texts.
    for character in set(text.encode("utf-8", "replace").translate(None, _ASCII).decode()):
        if character in table:
            text = text.replace(character, table[character])
    return text


_ASCII = bytes(range(128))
_DIGITS = (0x660, 0x6F0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xE50, 0xED0, 0xF20, 0x1040)
_FOLDED = {
    " ": [0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000],
    "\n": [0x85, 0x2028, 0x2029],
    "-": [*range(0x2010, 0x2016), 0x2043, 0x2212, 0xFE58, 0xFE63],
    ".": [0x2024, 0x3002, 0xFE52, 0xFF61],
    "/": [0x2044, 0x2215],
    ":": [0x2236, 0xFE55],
    "@": [0xFE6B],
}


@cache
def _folding_table() -> dict[str, str]:
    table = {chr(code): character for character, codes in _FOLDED.items() for code in codes}
    table |= {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    table |= {chr(base + digit): str(digit) for base in _DIGITS for digit in range(10)}
    for code in range(0x1D400, 0x1D800):  # bold, italic and other letters of mathematics
        plain = unicodedata.normalize("NFKC", chr(code))
        if len(plain) == 1 and plain.isascii():
            table[chr(code)] = plain
    return table
