"""Messages of one call, kept only when the content policy allows it."""

from __future__ import annotations

import json
from typing import Any

from .._compat.http_clients import body_of
from .._errors import attempt, log_internal_error
from ..model import CallContent, Message, RequestContent, Response
from ..model.content_format import ContentAccumulator, ContentFormat
from ..model.wire_format import Accumulator


class ContentRecorder:
    """Recorder of the messages of one call. Errors here lose the content, never the span."""

    __slots__ = ("_accumulator", "_format", "_messages", "request")

    def __init__(self, content_format: ContentFormat, body: Any) -> None:
        self._format = content_format
        self._accumulator: ContentAccumulator | None = None
        self._messages: list[Message] = []
        self.request: RequestContent | None = None
        try:
            # Read the body now: the caller may change its lists while the call is running.
            self.request = content_format.request(body)
        except Exception:
            log_internal_error("read the content of a request")

    def record_response(self, body: Any) -> None:
        """Record the messages of a complete response."""
        try:
            self._messages = self._format.response(body)
        except Exception:
            log_internal_error("read the content of a response")

    def wrap(self, counts: Accumulator) -> Accumulator:
        """Return an accumulator that also passes each chunk to the content accumulator."""
        if self._format.accumulator is None:
            return counts
        self._accumulator = self._format.accumulator()
        return WithContent(counts, self._accumulator)

    def content(self) -> CallContent:
        """Return the request and the messages that the model produced so far."""
        if self._accumulator is not None and not self._messages:
            self._messages = attempt("read the content of a response", self._accumulator.messages) or []
        return CallContent(self.request, self._messages)

    def complete_from_request(self, http_request: Any) -> None:
        """Read content that came from a caller's iterator out of the HTTP request that was sent.

        llmtrace must not drain an iterator of the caller, so its items are only readable after the SDK used them.
        """
        if self.request is not None and self.request.complete:
            return
        content = body_of(http_request)
        if content is None:
            return
        try:
            self.request = self._format.request(json.loads(content))
        except ValueError:  # not JSON, for example a form
            return
        except Exception:
            log_internal_error("read the content of a request")


class WithContent:
    """One accumulator that feeds both the count and the content accumulator."""

    __slots__ = ("_add", "_add_content", "content", "counts")

    def __init__(self, counts: Accumulator, content: ContentAccumulator) -> None:
        self.counts: Accumulator = counts
        self.content: ContentAccumulator = content
        self._add = counts.add
        self._add_content = content.add

    def add(self, chunk: Any) -> bool | str:
        """Add a chunk to both accumulators."""
        try:
            text = self._add_content(chunk)
            if text and getattr(self.counts, "skips_text", False):
                return text
        except Exception:
            log_internal_error("read the content of a chunk")
        return self._add(chunk)

    @property
    def ended(self) -> bool:
        """True if the end event of the wire format was read."""
        return self.counts.ended

    def result(self) -> Response:
        """Return the response accumulated so far."""
        return self.counts.result()
