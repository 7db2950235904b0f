"""What was said in one call, kept only where content is wanted."""

from __future__ import annotations

import json
from typing import Any

from .._errors import report
from ..model import Asked, Message, Response
from ..model.content_format import ContentFormat, Joiner
from ..model.wire_format import Accumulator

__all__ = ["Heard"]


class Heard:
    """The content of one call. A fault here costs the content and nothing else."""

    __slots__ = ("_format", "_joiner", "_said", "asked")

    def __init__(self, wire: ContentFormat, body: Any) -> None:
        self._format = wire
        self._joiner: Joiner | None = None
        self._said: list[Message] = []
        self.asked: Asked | None = None
        try:
            # Now, since the caller may change its lists while the call is under way.
            self.asked = wire.request(body)
        except Exception:
            report("read what was asked")

    def take(self, answer: Any) -> None:
        """The whole answer."""
        try:
            self._said = self._format.response(answer)
        except Exception:
            report("read what was said")

    def joined(self, counts: Accumulator) -> Accumulator:
        """``counts``, hearing each chunk too."""
        if self._format.joiner is None:
            return counts
        self._joiner = self._format.joiner()
        return _Hearing(counts, self._joiner)

    def said(self) -> list[Message]:
        if self._joiner is not None and not self._said:
            try:
                self._said = self._joiner.messages()
            except Exception:
                report("read what was said")
        return self._said

    def complete(self, sent: Any) -> None:
        """Read a caller's iterator, which was not ours to drain, from the request ``sent`` that it went into."""
        if self.asked is not None and self.asked.complete:
            return
        content = getattr(sent, "_content", None)  # the property raises where the body was streamed
        if not isinstance(content, bytes):
            return
        try:
            self.asked = self._format.request(json.loads(content))
        except ValueError:  # a form, say
            return
        except Exception:
            report("read what was asked")


class _Hearing:
    """Both readers of one stream as one."""

    __slots__ = ("_add", "_counts", "_hear")

    def __init__(self, counts: Accumulator, joiner: Joiner) -> None:
        self._counts = counts
        self._add = counts.add
        self._hear = joiner.add

    def add(self, chunk: Any) -> bool:
        try:
            if self._hear(chunk) and getattr(self._counts, "spoken", False):
                return True
        except Exception:
            report("hear a chunk")
        return self._add(chunk)

    @property
    def ended(self) -> bool:
        return self._counts.ended

    def result(self) -> Response:
        return self._counts.result()
