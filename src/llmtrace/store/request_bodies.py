"""What calls have sent, kept from their end until the store writes their spans, on its own thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

__all__ = ["Body", "RequestBodies"]

Body = bytes | Mapping[str, Any]
_MAX_BODIES = 1024
_MAX_BODY_BYTES = 1 << 20
"""Bytes of a request above which it is not looked at: images, most often."""
_MAX_TOTAL_BYTES = 64 << 20


class _Ended(Protocol):
    client: str
    span: Any
    http_response: Any
    body: Any

    @property
    def has_own_span(self) -> bool: ...


class RequestBodies:
    """The bodies of requests by the id of their span, so many and so large at most.

    A body is the bytes that went over the wire, or what an SDK made of the arguments, and never the caller's own
    objects. The thread of a call puts a reference here and does nothing more.
    """

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted
        # A deque needs no lock, which a fork could leave locked.
        self._waiting: deque[tuple[int, Body]] = deque(maxlen=_MAX_BODIES)
        self._size = 0
        self._known: dict[str, Body] = {}

    def remember(self, call: _Ended) -> None:
        """An observer of calls: it is told before the span ends."""
        if not call.has_own_span or not self._wanted():
            return
        body = getattr(getattr(call.http_response, "_request", None), "_content", None)  # the property may raise
        if type(body) is bytes:
            self._size += len(body)
            if len(body) > _MAX_BODY_BYTES or self._size > _MAX_TOTAL_BYTES:
                return
        elif call.client == "google_genai" and type(call.body) is dict:
            body = call.body  # made by the SDK, of copies
        else:
            return
        self._waiting.append((call.span.get_span_context().span_id, body))

    def take(self, spans: Iterable[str]) -> dict[str, Body]:
        """The bodies of these spans, by their hexadecimal ids. What belongs to spans still to come stays."""
        while self._waiting:
            try:
                number, body = self._waiting.popleft()
            except IndexError:  # it was the last, and another call has pushed it out
                break
            self._known[f"{number:016x}"] = body
        found = {span: self._known.pop(span) for span in spans if span in self._known}
        while len(self._known) > _MAX_BODIES:  # of spans that were sampled out
            del self._known[next(iter(self._known))]
        self._size = sum(len(body) for body in self._known.values() if isinstance(body, bytes))
        return found
