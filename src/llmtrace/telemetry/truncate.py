"""Encoding of messages as JSON within a maximum number of bytes; texts are cut, so the JSON stays valid.

The longest texts are cut first, all to the same length, so a long history keeps every short message unchanged. Texts
are redacted before they are cut. Of a text far longer than the maximum, the redactor gets only the beginning. The last
characters of that piece are always dropped, since it may end in the middle of a secret.
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

_FIXED_FIELDS = frozenset({"type", "role", "finish_reason", "modality", "mime_type", "id", "score"})
"""Fields of messages and parts whose values come from the convention or the vendor, never from the user."""
_MARGIN_CHARS = 4096
"""Characters dropped at the end of a piece; longer than any secret that a redactor cannot detect by its beginning."""
_ELLIPSIS = "…"
_MAX_DECIMAL_BITS = 12_000
"""Bits up to which Python converts an integer to decimal text and back."""
_HEX_PREFIXES = ("0x", "-0x")
_BASE64_STEP_CHARS = 1 << 20

Change = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Truncated:
    """Result of ``truncate``."""

    value: list[Any]
    text: str
    """JSON of ``value``."""
    cut: bool
    """True if any text was cut or dropped."""
    size: int
    """Bytes of all texts before the cut; 0 if nothing was cut."""


class _Placeholder(dict[str, Any]):
    """Description of binary data, in which nothing is redacted or cut."""


def truncate(
    items: list[Any], max_bytes: int, redact: Redactor | None = None, *, inline: bool = False, are_messages: bool = True
) -> Truncated:
    """Return ``items`` redacted and within ``max_bytes`` bytes of JSON.

    Args:
        items: Messages, parts, tool definitions, documents or plain values.
        max_bytes: Maximum bytes of the JSON.
        redact: Redacts each text, ``None`` for no redaction.
        inline: Include binary data that fits, as base64.
        are_messages: The items have the fields of the convention; otherwise all keys and values are the user's.
    """
    if redact is None and (plain := _encode_unchanged(items, max_bytes)) is not None:
        return Truncated(items, plain, cut=False, size=0)
    lengths = _measure_texts(items, are_messages, len)
    cut = False
    window = None
    if sum(lengths) > max_bytes:
        window = _cut_length(lengths, max_bytes) + _MARGIN_CHARS
        cut = any(length > window for length in lengths)
    size = _text_bytes(items, are_messages) if cut else 0
    value = map_text(items, _text_cleaner(redact, window), _blob_writer(inline, max_bytes), are_messages=are_messages)
    text = dumps(value)
    if len(text.encode()) > max_bytes:
        size = size or _text_bytes(items, are_messages)
        value = _shrink(value, max_bytes, are_messages)
        text, cut = dumps(value), True
    return Truncated(value, text, cut, size)


_encode_plain = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _encode_unchanged(items: list[Any], max_bytes: int) -> str | None:
    """Return the JSON of ``items``, or ``None`` if it does not fit or a value has to be replaced."""
    try:
        text = _encode_plain(items)
        fits = len(text) <= max_bytes and len(text.encode()) <= max_bytes
    except (TypeError, ValueError, RecursionError):  # binary data, a number that JSON does not have, a lone surrogate
        return None
    return text if fits and "\\u0000" not in text else None


def map_text(value: Any, text: Change, blob: Callable[[Blob], Any] | None = None, *, are_messages: bool = True) -> Any:
    """Return a copy of ``value`` with every text of the user changed, keys and long numbers included.

    Args:
        value: JSON types, with ``Blob`` for binary data.
        text: Returns the replacement of a text.
        blob: Returns the replacement of binary data; without it, blobs and long numbers stay unchanged.
        are_messages: The value has the fields of the convention, whose keys and fixed values stay unchanged.
    """
    if isinstance(value, str):
        return text(value)
    if isinstance(value, _Placeholder):
        return value
    if isinstance(value, dict):
        mapped = {}
        for key, item in value.items():
            if are_messages and key in _FIXED_FIELDS:
                mapped[key] = item
            else:
                # Treat everything inside other fields as the user's; only parts follow the convention.
                inner = are_messages and key == "parts"
                mapped[key if are_messages else text(key)] = map_text(item, text, blob, are_messages=inner)
        return mapped
    if isinstance(value, list):
        return [map_text(item, text, blob, are_messages=are_messages) for item in value]
    if isinstance(value, Blob):
        return value if blob is None else blob(value)
    if isinstance(value, float) and not isfinite(value):
        return str(value)  # JSON has no such number
    if blob is not None and type(value) is int and not -1_000_000 < value < 1_000_000:
        # Pass long numbers to the redactor only: they are neither measured nor cut.
        digits = _digits(value)
        changed = text(digits)
        return value if changed == digits and not digits.startswith(_HEX_PREFIXES) else changed
    return value


def _digits(value: int) -> str:
    # Use hexadecimal for very long numbers: Python rejects their slow conversion to decimal.
    return str(value) if value.bit_length() < _MAX_DECIMAL_BITS else f"{value:#x}"


def _text_cleaner(redact: Redactor | None, window: int | None) -> Change:
    def clean(text: str) -> str:
        long = window is not None and len(text) > window
        piece = text[:window] if long else text
        if redact is not None:
            piece = redact(encodable(piece))
        piece = encodable(piece)
        return piece[:-_MARGIN_CHARS] + _ELLIPSIS if long else piece

    return clean


def _measure_texts(value: Any, are_messages: bool, measure: Callable[[str], int]) -> list[int]:
    """Return the result of ``measure`` for each text in ``value``."""
    measures: list[int] = []

    def measured(text: str) -> str:
        measures.append(measure(text))
        return text

    map_text(value, measured, are_messages=are_messages)
    return measures


def _text_bytes(value: Any, are_messages: bool) -> int:
    return sum(_measure_texts(value, are_messages, lambda text: len(text.encode("utf-8", "replace"))))


def _cut_length(lengths: list[int], room: int) -> int:
    """Return the length to which longer texts must be cut so that the sum of all lengths is at most ``room``."""
    remaining = len(lengths)
    for length in sorted(lengths):
        if length * remaining > room:
            return max(0, room // remaining)
        room -= length
        remaining -= 1
    return max(lengths, default=0)


dumps: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
"""Shared JSON encoder: ``json.dumps`` would create one in each call with non-default options."""


def _json_bytes(text: str) -> int:
    return len(dumps(text).encode("utf-8", "replace")) - 2


def _shrink(items: list[Any], max_bytes: int, are_messages: bool) -> list[Any]:
    costs, overhead = _weigh(items, are_messages)
    if overhead > max_bytes // 2:
        items = [_flatten(item, are_messages) for item in items]
        costs, overhead = _weigh(items, are_messages)
    if overhead > max_bytes and not are_messages:
        items = [dumps(_without_data(item)) for item in items]
        costs, overhead = _weigh(items, are_messages)
    if overhead > max_bytes - max_bytes // 4:
        # Drop items if the JSON without texts takes three quarters: the remaining texts must stay readable.
        items = _drop_middle(items, max_bytes - max_bytes // 4, are_messages)
        costs, overhead = _weigh(items, are_messages)
    max_cost = _cut_length(costs, max(0, max_bytes - overhead))
    shrunk: list[Any] = map_text(items, lambda text: _cut(text, max_cost), are_messages=are_messages)
    return shrunk


def _weigh(items: Any, are_messages: bool) -> tuple[list[int], int]:
    """Return the JSON bytes of each text, and those of everything else."""
    costs = _measure_texts(items, are_messages, _json_bytes)
    return costs, len(dumps(items).encode("utf-8", "replace")) - sum(costs)


def _cut(text: str, max_cost: int) -> str:
    cost = _json_bytes(text)
    if cost <= max_cost:
        return text
    max_cost -= len(_ELLIPSIS.encode())
    if max_cost <= 0:
        return ""
    piece = text[:max_cost]
    while (cost := _json_bytes(piece)) > max_cost:
        piece = piece[: len(piece) * max_cost // cost]
    return piece + _ELLIPSIS


def _flatten(item: Any, are_messages: bool) -> Any:
    """Return ``item`` with nested structures as text, which can be cut; JSON schemas of tools are omitted."""
    if not are_messages:
        if isinstance(item, dict):  # keep an object: arguments must be one
            return {
                key: dumps(_without_data(value)) if isinstance(value, (dict, list)) else value
                for key, value in item.items()
            }
        return dumps(_without_data(item)) if isinstance(item, list) else item
    if not isinstance(item, dict) or isinstance(item, _Placeholder):
        return item
    if "parts" in item:
        return {**item, "parts": [_flatten(part, are_messages) for part in item["parts"]]}
    flat: dict[str, Any] = {}
    for key, value in item.items():
        if not isinstance(value, (dict, list)):
            flat[key] = value
        elif key in ("server_tool_call", "server_tool_call_response"):
            kind = value.get("type") if isinstance(value, dict) else None
            flat[key] = {"type": kind or "unknown", "details": dumps(_without_data(value))}
        elif key != "parameters":
            flat[key] = dumps(_without_data(value))
    return flat


def _without_data(value: Any) -> Any:
    if isinstance(value, _Placeholder):
        return _Placeholder({**value, "content": ""})
    if isinstance(value, dict):
        return {key: _without_data(item) for key, item in value.items()}
    return [_without_data(item) for item in value] if isinstance(value, list) else value


def _drop_middle(items: list[Any], max_bytes: int, are_messages: bool) -> list[Any]:
    """Return the first and the last items, as many as fit even with empty texts."""
    kept: list[Any] = []
    room = max_bytes - 2
    order = [0, *range(len(items) - 1, 0, -1)]
    for index in order:
        item = items[index]
        overhead = _weigh(item, are_messages)[1] + 1
        if overhead > room and not kept and isinstance(item, dict) and "parts" in item:
            item = {**item, "parts": _drop_middle(item["parts"], room - 80, are_messages)}
            overhead = _weigh(item, are_messages)[1] + 1
        if overhead > room:
            break
        room -= overhead
        kept.append(item)
    return kept[:1] + kept[:0:-1]


def _blob_writer(inline: bool, max_bytes: int) -> Callable[[Blob], Any]:
    room = max_bytes // 2

    def describe(blob: Blob) -> _Placeholder:
        nonlocal room
        placeholder = _Placeholder(type="blob", modality=blob.modality, mime_type=blob.mime_type, content="")
        digest = sha256()
        count = 0
        try:
            for piece in _decode_blob(blob.data):
                digest.update(piece)
                count += len(piece)
        except ValueError:  # not base64: its size and hash would be wrong
            return placeholder
        placeholder["bytes"], placeholder["sha256"] = count, digest.hexdigest()
        if inline and 4 * count // 3 + 4 <= room:
            data = blob.data if isinstance(blob.data, str) else b64encode(blob.data).decode()
            room -= len(data)
            placeholder["content"] = data
        return placeholder

    return describe


def _decode_blob(data: str | bytes) -> Any:
    """Yield the decoded bytes in pieces, so that a large image is not copied in memory."""
    if isinstance(data, bytes):
        yield data
        return
    for start in range(0, len(data), _BASE64_STEP_CHARS):
        yield b64decode(data[start : start + _BASE64_STEP_CHARS].replace("-", "+").replace("_", "/"), validate=True)
