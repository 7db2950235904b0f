"""Chunks of Gemini streams, which the SDK passes on as JSON text. Of chunks that are alike, few are parsed."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from ..._errors import log_internal_error
from ...capture.call import CallState
from ...capture.content import WithContent
from ...model import Response
from ...model.wire_format import Accumulator


def parse_body(result: Any) -> Any:
    """Return the parsed body. Newer releases pass JSON text with the headers, the first ones the parsed body."""
    if isinstance(result, dict):
        return result
    body = getattr(result, "body", None)
    try:
        return json.loads(body) if body else None
    except RecursionError:  # nested too deeply
        return None


def accumulator(call: CallState) -> Accumulator:
    """Return an accumulator for the chunks of ``call`` as the SDK passes them on."""
    return ShapeCache(call.make_accumulator(), call)


class ShapeCache:
    """Accumulator of chunks of JSON text, which parses only the last of those that differ in texts and counts."""

    __slots__ = ("_call", "_content", "_inner", "_last", "_matched", "_shape", "_shape_count")

    def __init__(self, inner: Accumulator, call: CallState | None = None) -> None:
        self._inner = inner
        self._call = call
        self._content: Any = inner.content if isinstance(inner, WithContent) else None
        self._last: Any = None
        self._shape: re.Pattern[str] | None = None
        self._matched: bool | str = True
        """Result of ``add`` for a chunk of this shape."""
        self._shape_count = 0

    def add(self, chunk: Any) -> bool | str:
        """Add a chunk as the SDK passes it on. Return what ``Accumulator.add`` returns."""
        body = getattr(chunk, "body", None)
        if self._shape is not None and type(body) is str and (match := self._shape.fullmatch(body)) is not None:
            self._last = chunk
            if self._content is not None:
                try:
                    self._content.repeat(_decode(match[1]))
                except Exception:
                    log_internal_error("read the content of a chunk")
            return self._matched
        self._read_last()
        if self._call is not None:
            # Every chunk carries the headers of the response.
            self._call.http_response, self._call = chunk, None
        has_content = self._inner.add(parse_body(chunk))
        self._shape = None
        if has_content and type(body) is str and self._shape_count < _MAX_SHAPES:
            self._shape_count += 1
            self._shape = shape_of(body)
            if self._content is not None and not self._is_repeated(body):
                self._shape = None
            # The counts so far are exact: no text is needed to estimate them.
            self._matched = "" if "usageMetadata" in body or "usage_metadata" in body else True
        return has_content

    def _is_repeated(self, body: str) -> bool:
        """Return true if the one text in a shape is all content of its chunks."""
        if self._shape is None or self._shape.groups != 1:
            return False
        match = self._shape.fullmatch(body)
        return match is not None and self._content.latest_text == _decode(match[1])

    def _read_last(self) -> None:
        if self._last is not None:
            last, self._last = self._last, None
            counts = self._inner if self._content is None else self._inner.counts  # type: ignore[attr-defined]
            counts.add(parse_body(last))

    @property
    def ended(self) -> bool:
        """True if the end of the stream was read."""
        self._read_last()
        return self._inner.ended

    def result(self) -> Response:
        """Return the response accumulated so far."""
        self._read_last()
        return self._inner.result()


def _decode(text: str) -> str:
    """Return the text of a JSON string."""
    return str(json.loads(text)) if "\\" in text else text[1:-1]


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

    Each text is a group. Of texts, ids and counts, the last value is valid. A count of zero is part of the shape: it
    does not replace an earlier count. Other numbers separate shapes: ended candidates and search queries add up over
    chunks.
    """
    pattern, end = "", 0
    for match in _VARIABLE.finditer(body):
        text, name, count = match.groups()
        fixed = f'{body[end : match.start()]}"{text or name or count}'
        if len(pattern) + len(fixed) > _MAX_SHAPE_CHARS:
            return None
        pattern += re.escape(fixed) + (_COUNT if count else _NAME if name else f"({_TEXT})")
        end = match.end()
    if len(pattern) + len(body) - end > _MAX_SHAPE_CHARS:
        return None
    return _compiled(pattern + re.escape(body[end:]))
