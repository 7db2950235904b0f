"""Chunks of Gemini streams, which the SDK passes on as JSON text. Of chunks that are alike, few are parsed."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from ...capture.call import OpenCall
from ...model import Response
from ...model.wire_format import Accumulator

__all__ = ["JsonAccumulator", "ShapeCache", "accumulator", "parse_body", "shape_of"]


def parse_body(result: Any) -> Any:
    """Return the parsed body. Newer releases pass JSON text with the headers, the first ones the parsed body."""
    if isinstance(result, dict):
        return result
    body = getattr(result, "body", None)
    try:
        return json.loads(body) if body else None
    except RecursionError:  # nested too deeply
        return None


def accumulator(call: OpenCall) -> Accumulator:
    """Return an accumulator for the chunks of ``call`` as the SDK passes them on."""
    return (JsonAccumulator if call.content is not None else ShapeCache)(call.make_accumulator(), call)


class JsonAccumulator:
    """Accumulator of chunks that are JSON text."""

    __slots__ = ("_call", "_inner")

    def __init__(self, inner: Accumulator, call: OpenCall | None = None) -> None:
        self._inner = inner
        self._call = call

    def add(self, chunk: Any) -> bool:
        """Add a chunk as the SDK passes it on. Return what ``Accumulator.add`` returns."""
        if self._call is not None:
            # Every chunk carries the headers of the response.
            self._call.http_response, self._call = chunk, None
        return self._inner.add(parse_body(chunk))

    @property
    def ended(self) -> bool:
        """True if the end of the stream was read."""
        return self._inner.ended

    def result(self) -> Response:
        """Return the response accumulated so far."""
        return self._inner.result()


class ShapeCache(JsonAccumulator):
    """Accumulator for calls without content. Of chunks that differ in texts and counts only, it parses the last."""

    __slots__ = ("_last", "_shape", "_shape_count")

    def __init__(self, inner: Accumulator, call: OpenCall | None = None) -> None:
        super().__init__(inner, call)
        self._last: Any = None
        self._shape: re.Pattern[str] | None = None
        self._shape_count = 0

    def add(self, chunk: Any) -> bool:
        """Add a chunk as the SDK passes it on. Return what ``Accumulator.add`` returns."""
        body = getattr(chunk, "body", None)
        if self._shape is not None and type(body) is str and self._shape.fullmatch(body):
            self._last = chunk
            return True
        self._read_last()
        has_content = super().add(chunk)
        self._shape = None
        if has_content and type(body) is str and self._shape_count < _MAX_SHAPES:
            self._shape_count += 1
            self._shape = shape_of(body)
        return has_content

    def _read_last(self) -> None:
        if self._last is not None:
            last, self._last = self._last, None
            super().add(last)

    @property
    def ended(self) -> bool:
        """True if the end of the stream was read."""
        self._read_last()
        return super().ended

    def result(self) -> Response:
        """Return the response accumulated so far."""
        self._read_last()
        return super().result()


_MAX_SHAPES = 8
"""Shapes learned per stream. Learning one takes as long as parsing a few chunks."""
_MAX_SHAPE_CHARS = 2048
"""Maximum length of a shape. An image or a signature never recurs, and would be slow to learn."""
_JSON_STRING = r'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))'
_TEXT, _NAME, _COUNT = rf'"{_JSON_STRING}*+"', rf'"{_JSON_STRING}++"', r"[1-9][0-9]{0,13}+"
_VARIABLE = re.compile(rf'"(?:(text": *){_TEXT}|(responseId": *){_NAME}|(\w*Count": *){_COUNT})')
_compiled = lru_cache(maxsize=64)(re.compile)


def shape_of(body: str) -> re.Pattern[str] | None:
    """Return a pattern for chunks with the same fields and values, except for texts, the id and counts.

    Of texts, ids and counts, the last value is valid. A count of zero is part of the shape: it does not replace an
    earlier count. Other numbers separate shapes: ended candidates and search queries add up over chunks.
    """
    pattern, end = "", 0
    for match in _VARIABLE.finditer(body):
        text, name, count = match.groups()
        fixed = f'{body[end : match.start()]}"{text or name or count}'
        if len(pattern) + len(fixed) > _MAX_SHAPE_CHARS:
            return None
        pattern += re.escape(fixed) + (_COUNT if count else _NAME if name else _TEXT)
        end = match.end()
    if len(pattern) + len(body) - end > _MAX_SHAPE_CHARS:
        return None
    return _compiled(pattern + re.escape(body[end:]))
