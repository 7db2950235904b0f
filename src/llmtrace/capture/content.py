"""What was said in one call, kept only where content is wanted."""

from __future__ import annotations

import json
from typing import Any

from .._errors import log_internal_error
from ..model import Message, RequestContent, Response
from ..model.content_format import ContentAccumulator, ContentFormat
from ..model.wire_format import Accumulator

__all__ = ["ContentRecorder"]


class ContentRecorder:
    """The content of one call. A fault here costs the content and nothing else."""

    __slots__ = ("_accumulator", "_format", "_messages", "request")

    def __init__(self, wire: ContentFormat, body: Any) -> None:
        self._format = wire
        self._accumulator: ContentAccumulator | None = None
        self._messages: list[Message] = []
        self.request: RequestContent | None = None
        try:
            # Now, since the caller may change its lists while the call is under way.
            self.request = wire.request(body)
        except Exception:
            log_internal_error("read what was asked")

    def record_response(self, answer: Any) -> None:
        """The whole answer."""
        try:
            self._messages = self._format.response(answer)
        except Exception:
            log_internal_error("read what was said")

    def wrap(self, counts: Accumulator) -> Accumulator:
        """``counts``, hearing each chunk too."""
        if self._format.accumulator is None:
            return counts
        self._accumulator = self._format.accumulator()
        return _WithContent(counts, self._accumulator)

    def output_messages(self) -> list[Message]:
        if self._accumulator is not None and not self._messages:
            try:
                self._messages = self._accumulator.messages()
            except Exception:
                log_internal_error("read what was said")
        return self._messages

    def complete_from_request(self, sent: Any) -> None:
        """Read a caller's iterator, which was not ours to drain, from the request ``sent`` that it went into."""
        if self.request is not None and self.request.complete:
            return
        content = getattr(sent, "_content", None)  # the property raises where the body was streamed
        if not isinstance(content, bytes):
            return
        try:
            self.request = self._format.request(json.loads(content))
        except ValueError:  # a form, say
            return
        except Exception:
            log_internal_error("read what was asked")


class _WithContent:
    """Both readers of one stream as one."""

    __slots__ = ("_add", "_add_content", "_counts")

    def __init__(self, counts: Accumulator, joiner: ContentAccumulator) -> None:
        self._counts = counts
        self._add = counts.add
        self._add_content = joiner.add

    def add(self, chunk: Any) -> bool:
        try:
            if self._add_content(chunk) and getattr(self._counts, "skips_text", False):
                return True
        except Exception:
            log_internal_error("hear a chunk")
        return self._add(chunk)

    @property
    def ended(self) -> bool:
        return self._counts.ended

    def result(self) -> Response:
        return self._counts.result()
