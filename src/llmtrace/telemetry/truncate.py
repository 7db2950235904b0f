"""Messages as JSON under a cap in bytes, cut inside their texts so that the JSON stays whole.

The longest texts are cut first, all to the same length: a long history keeps every short message as it is. What was
said passes the redactor before it is cut. Only of a text far beyond the cap no more is read than can remain, and the
end of that piece, where half a secret may stand, is dropped whatever the redactor left there.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite
from typing import Any

from .._text import encodable
from ..model import Blob
from .redact import Redactor

__all__ = ["Truncated", "dumps", "map_text", "truncate"]

_FIXED = frozenset({"type", "role", "finish_reason", "modality", "mime_type", "id", "score"})
"""What is the convention's or the vendor's word, never the user's."""
_MARGIN = 4096
"""Longer than any secret whose beginning a redactor does not know."""
_MARK = "…"
_LONGEST = 12_000
"""Bits of a number that Python still writes and reads in decimal."""
_HEX = ("0x", "-0x")
_STEP = 1 << 20

Change = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Truncated:
    value: list[Any]
    text: str
    """The same as JSON."""
    cut: bool
    size: int
    """Bytes of text there were before anything was cut."""


class _Placeholder(dict[str, Any]):
    """Stands for binary data; nothing in it is text to redact or to cut."""


def truncate(
    items: list[Any], cap: int, redact: Redactor | None = None, *, inline: bool = False, are_messages: bool = True
) -> Truncated:
    """``items`` redacted, within ``cap`` bytes of JSON; ``known`` says that they are messages, parts or the like."""
    lengths = _measured(items, are_messages, len)
    cut = False
    window = None
    if sum(lengths) > cap:
        window = _cut_length(lengths, cap) + _MARGIN
        cut = any(length > window for length in lengths)
    size = _size(items, are_messages) if cut else 0
    found = map_text(items, _cleaner(redact, window), _blobs(inline, cap), known=are_messages)
    text = dumps(found)
    if len(text.encode()) > cap:
        size = size or _size(items, are_messages)
        found = _shrink(found, cap, are_messages)
        text, cut = dumps(found), True
    return Truncated(found, text, cut, size)


def map_text(value: Any, text: Change, blob: Callable[[Blob], Any] | None = None, *, known: bool = True) -> Any:
    """A copy of ``value`` with every text of the user's changed, keys and long numbers too."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, _Placeholder):
        return value
    if isinstance(value, dict):
        found = {}
        for key, item in value.items():
            if known and key in _FIXED:
                found[key] = item
            else:
                # Below the known fields everything is the user's; parts are messages' own.
                inner = known and key == "parts"
                found[key if known else text(key)] = map_text(item, text, blob, known=inner)
        return found
    if isinstance(value, list):
        return [map_text(item, text, blob, known=known) for item in value]
    if isinstance(value, Blob):
        return value if blob is None else blob(value)
    if isinstance(value, float) and not isfinite(value):
        return str(value)  # which JSON has no number for
    if blob is not None and type(value) is int and not -1_000_000 < value < 1_000_000:
        # Read by the redactor alone: what is measured, and cut, is text.
        digits = _digits(value)
        changed = text(digits)
        return value if changed == digits and not digits.startswith(_HEX) else changed
    return value


def _digits(value: int) -> str:
    # Python refuses to write very long numbers in decimal, since that takes too long.
    return str(value) if value.bit_length() < _LONGEST else f"{value:#x}"


def _cleaner(redact: Redactor | None, window: int | None) -> Change:
    def clean(text: str) -> str:
        long = window is not None and len(text) > window
        piece = text[:window] if long else text
        if redact is not None:
            piece = redact(_encodable(piece))
        piece = _encodable(piece)
        return piece[:-_MARGIN] + _MARK if long else piece

    return clean


def _encodable(text: str) -> str:
    """Without lone surrogates, which are no text to an exporter."""
    return encodable(text)


def _measured(value: Any, known: bool, measure: Callable[[str], int]) -> list[int]:
    """What ``measure`` says of each text."""
    found: list[int] = []

    def measured(text: str) -> str:
        found.append(measure(text))
        return text

    map_text(value, measured, known=known)
    return found


def _size(value: Any, known: bool) -> int:
    return sum(_measured(value, known, lambda text: len(text.encode("utf-8", "replace"))))


def _cut_length(lengths: list[int], room: int) -> int:
    """The length to cut to, for all that is longer, so that everything takes ``room``."""
    left = len(lengths)
    for length in sorted(lengths):
        if length * left > room:
            return max(0, room // left)
        room -= length
        left -= 1
    return max(lengths, default=0)


dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
"""One for all: ``json.dumps`` makes an encoder at each call that asks for anything unusual."""


def _cost(text: str) -> int:
    return len(dumps(text).encode("utf-8", "replace")) - 2


def _shrink(items: list[Any], cap: int, known: bool) -> list[Any]:
    costs, frame = _weigh(items, known)
    if frame > cap // 2:
        items = [_collapsed(item, known) for item in items]
        costs, frame = _weigh(items, known)
    if frame > cap and not known:
        items = [dumps(_without_data(item)) for item in items]
        costs, frame = _weigh(items, known)
    if frame > cap - cap // 4:
        # What is kept is to say something too.
        items = _drop_middle(items, cap - cap // 4, known)
        costs, frame = _weigh(items, known)
    level = _cut_length(costs, max(0, cap - frame))
    squeezed: list[Any] = map_text(items, lambda text: _cut(text, level), known=known)
    return squeezed


def _weigh(items: Any, known: bool) -> tuple[list[int], int]:
    """What each text costs, and the frame around them."""
    costs = _measured(items, known, _cost)
    return costs, len(dumps(items).encode("utf-8", "replace")) - sum(costs)


def _cut(text: str, level: int) -> str:
    cost = _cost(text)
    if cost <= level:
        return text
    level -= len(_MARK.encode())
    if level <= 0:
        return ""
    piece = text[:level]
    while (cost := _cost(piece)) > level:
        piece = piece[: len(piece) * level // cost]
    return piece + _MARK


def _collapsed(item: Any, known: bool) -> Any:
    """Structures of the user's as text, which can be cut; a schema, which cannot, is left out."""
    if not known:
        if isinstance(item, dict):  # stays an object, as arguments have to be
            return {
                key: dumps(_without_data(value)) if isinstance(value, (dict, list)) else value
                for key, value in item.items()
            }
        return dumps(_without_data(item)) if isinstance(item, list) else item
    if not isinstance(item, dict) or isinstance(item, _Placeholder):
        return item
    if "parts" in item:
        return {**item, "parts": [_collapsed(part, known) for part in item["parts"]]}
    found: dict[str, Any] = {}
    for key, value in item.items():
        if not isinstance(value, (dict, list)):
            found[key] = value
        elif key in ("server_tool_call", "server_tool_call_response"):
            kind = value.get("type") if isinstance(value, dict) else None
            found[key] = {"type": kind or "unknown", "details": dumps(_without_data(value))}
        elif key != "parameters":
            found[key] = dumps(_without_data(value))
    return found


def _without_data(value: Any) -> Any:
    if isinstance(value, _Placeholder):
        return _Placeholder({**value, "content": ""})
    if isinstance(value, dict):
        return {key: _without_data(item) for key, item in value.items()}
    return [_without_data(item) for item in value] if isinstance(value, list) else value


def _drop_middle(items: list[Any], cap: int, known: bool) -> list[Any]:
    """The first and the last of too many, even were they empty of text."""
    kept: list[Any] = []
    room = cap - 2
    order = [0, *range(len(items) - 1, 0, -1)]
    for index in order:
        item = items[index]
        frame = _weigh(item, known)[1] + 1
        if frame > room and not kept and isinstance(item, dict) and "parts" in item:
            item = {**item, "parts": _drop_middle(item["parts"], room - 80, known)}
            frame = _weigh(item, known)[1] + 1
        if frame > room:
            break
        room -= frame
        kept.append(item)
    return kept[:1] + kept[:0:-1]


def _blobs(inline: bool, cap: int) -> Callable[[Blob], Any]:
    room = cap // 2

    def written(blob: Blob) -> _Placeholder:
        nonlocal room
        found = _Placeholder(type="blob", modality=blob.modality, mime_type=blob.mime_type, content="")
        digest = sha256()
        count = 0
        try:
            for piece in _decoded(blob.data):
                digest.update(piece)
                count += len(piece)
        except ValueError:  # not base64: then its size and hash would say nothing
            return found
        found["bytes"], found["sha256"] = count, digest.hexdigest()
        if inline and 4 * count // 3 + 4 <= room:
            data = blob.data if isinstance(blob.data, str) else b64encode(blob.data).decode()
            room -= len(data)
            found["content"] = data
        return found

    return written


def _decoded(data: str | bytes) -> Any:
    """The bytes, piece by piece, so that a large image is never held a second time."""
    if isinstance(data, bytes):
        yield data
        return
    for start in range(0, len(data), _STEP):
        yield b64decode(data[start : start + _STEP].replace("-", "+").replace("_", "/"), validate=True)
