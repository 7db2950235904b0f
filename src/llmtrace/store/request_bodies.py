"""Request bodies of calls, kept from the end of a call until the store's thread writes its span."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..model.call_stages import FinishedCall
from .request_fingerprints import SentBody

_MAX_BODIES = 1024
_MAX_BODY_BYTES = 1 << 20
"""Maximum bytes of one request body. Larger ones, mostly images, are not kept."""
_MAX_TOTAL_BYTES = 64 << 20


class RequestBodies:
    """Bounded buffer of request bodies by span id.

    A body is the bytes of the HTTP request, or the dict that an SDK built from the arguments, never the caller's own
    objects. The thread of a call only adds a reference.
    """

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted
        # A deque needs no lock, which a fork could leave locked.
        self._waiting: deque[tuple[int, SentBody]] = deque(maxlen=_MAX_BODIES)
        self._size = 0
        self._bodies: dict[str, SentBody] = {}

    def remember(self, call: FinishedCall, body: bytes | Mapping[str, Any] | None) -> None:
        """Keep the request body of a call. Called before the span ends."""
        content = call.wire_format.content
        if content is None or not isinstance(body, (bytes, dict)) or not call.has_own_span or not self._wanted():
            return
        if isinstance(body, bytes):
            self._size += len(body)
            if len(body) > _MAX_BODY_BYTES or self._size > _MAX_TOTAL_BYTES:
                return
        self._waiting.append((call.span_context.span_id, SentBody(body, content.request)))

    def take(self, spans: Iterable[str]) -> dict[str, SentBody]:
        """Remove and return the bodies of these spans, by hexadecimal span id. Bodies of other spans stay."""
        while self._waiting:
            try:
                number, body = self._waiting.popleft()
            except IndexError:  # another thread took or displaced the last body
                break
            self._bodies[f"{number:016x}"] = body
        taken = {span: self._bodies.pop(span) for span in spans if span in self._bodies}
        while len(self._bodies) > _MAX_BODIES:  # bodies of spans that were not sampled
            del self._bodies[next(iter(self._bodies))]
        self._size = sum(len(sent.body) for sent in self._bodies.values() if isinstance(sent.body, bytes))
        return taken
