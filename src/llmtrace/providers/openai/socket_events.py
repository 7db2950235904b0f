"""Events of the APIs that OpenAI serves over WebSockets: which belong together, and what they request."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..._read import as_mapping, get, get_text
from .realtime import accepts_request, merge_settings, response_id

_CREATE = "response.create"
_ENVELOPE = frozenset({"type", "event_id", "stream_id"})
_TRANSCRIPTION = "conversation.item.input_audio_transcription."


@dataclass(frozen=True, slots=True)
class SocketFormat:
    """Properties of one of the APIs that are served over WebSockets."""

    path: str
    """Path of its route."""
    body: Callable[[Any, Any], dict[str, Any]]
    """Function from the settings of the session and a ``response.create`` event to the body of the request. In place
    of the event it may get a response that the server started."""
    lane: Callable[[Any], Any]
    """Function from an event to what all events of one response have in common."""
    accepts: Callable[[Any, Any], bool]
    """True if an event starts the response to a request, or rejects the request. Both arguments are events."""


def _stream_id(event: Any) -> str | None:
    return get_text(event, "stream_id")


def _without_envelope(_: Any, event: Any) -> dict[str, Any]:
    return {name: value for name, value in as_mapping(event).items() if name not in _ENVELOPE}


RESPONSES = SocketFormat(
    "/responses", _without_envelope, _stream_id, lambda event, request: _stream_id(event) == _stream_id(request)
)
REALTIME = SocketFormat("/realtime", merge_settings, response_id, accepts_request)


def read_create(message: Any) -> Any:
    """Return the event in a message of a client if it requests a response."""
    if isinstance(message, (str, bytes)):
        # Search first: most messages of a session are audio.
        if not (_CREATE in message if isinstance(message, str) else _CREATE.encode() in message):
            return None
        message = json.loads(message)
    return message if get(message, "type") == _CREATE else None


def read_transcription(settings: Any, event: Any) -> tuple[Any, Any] | None:
    """Return the request and the response of a transcription of the caller's audio that an event ends."""
    kind = get_text(event, "type") or ""
    if kind not in (f"{_TRANSCRIPTION}completed", f"{_TRANSCRIPTION}failed"):
        return None
    transcription = get(get(get(settings, "audio"), "input"), "transcription")
    if transcription is None:
        transcription = get(settings, "input_audio_transcription")  # beta
    response = {
        "text": get(event, "transcript"),
        "usage": get(event, "usage"),
        "error": as_mapping(get(event, "error")),
    }
    return {"model": get_text(transcription, "model")}, response
