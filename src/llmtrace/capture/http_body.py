"""Observation of HTTP bodies while the caller reads them: nothing is read early, and nothing twice."""

from __future__ import annotations

import json
import re
import struct
import weakref
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from .._compat.http_clients import is_read, make_decoders, request_of
from .._compat.wrapt import ObjectProxy
from .._errors import attempt, log_internal_error
from ..model import Response
from . import worker
from .call import CallState
from .stream import StreamObserver, notify

_MAX_BODY_BYTES = 32 * 1024 * 1024
_MAX_PLAIN_BYTES = 1024 * 1024
_MEDIA_TYPES = ("audio/", "image/", "video/", "application/octet-stream")
"""Content types of large bodies without token counts, which are not kept."""
_JSON_LINES = ("application/stream+json", "application/x-ndjson")
_FRAME_PRELUDE = struct.Struct(">III")
"""Start of an AWS event-stream frame: frame length, header length, and a checksum of both."""
_FRAME_CHECKSUM_BYTES = 4
_Step = Callable[..., None]


class SseParser:
    """Parser of server-sent events. It passes each event of a body to the observer."""

    def __init__(self, observer: StreamObserver, decode: Callable[[bytes], bytes], *, plain: bool = False) -> None:
        self.observer = observer
        self._decode = decode
        self.plain: bytearray | None = bytearray() if plain else None
        """Bytes of a body announced as JSON instead of events: servers report errors that way."""
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._done = False

    def feed(self, data: bytes) -> None:
        """Parse the next bytes of the body."""
        data = self._decode(data)
        self._keep(data)
        self._rest += data
        if b"\n" in data or b"\r" in data:
            self._parse_lines()

    def feed_plain(self, data: bytes) -> None:
        """Keep bytes of a JSON body. Its events, if any, reach the observer by another path."""
        self._keep(self._decode(data))

    def _keep(self, data: bytes) -> None:
        if self.plain is not None and len(self.plain) < _MAX_PLAIN_BYTES:
            self.plain += data

    def end_plain(self) -> None:
        """Read a body without events as one JSON value."""
        if self.plain and not self.observer.chunks:
            with suppress(ValueError, RecursionError):
                self.observer.add(json.loads(self.plain))

    def _parse_lines(self) -> None:
        lines = self._rest.splitlines(keepends=True)
        # Keep the last line: it may continue in the next bytes, and a final "\r" may be half of a "\r\n".
        self._rest = bytearray() if lines[-1].endswith(b"\n") else lines.pop()
        for line in lines:
            self._parse_line(bytes(line).rstrip(b"\r\n"))

    def _parse_line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].strip())
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            self._parse_event(data)

    def _parse_event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            return
        self.observer.on_chunk(event)
        if b'"error"' in data:
            # End the call now: the SDK raises for an error event, and older releases never close the response.
            self.observer.end_if_failed()

    def _parse_rest(self) -> None:
        # The body may end without the blank line that ends an event.
        self._parse_line(bytes(self._rest).rstrip(b"\r"))
        self._parse_line(b"")
        self.end_plain()

    def on_exhausted(self) -> None:
        """Parse the rest of the body, which was read to its end."""
        self._parse_rest()
        self.observer.on_exhausted()

    def on_error(self, error: BaseException) -> None:
        """End the stream with the exception raised while the body was read."""
        self.observer.on_error(error)

    def on_close(self) -> None:
        """End the stream because the response was closed."""
        # After the end mark the SDK closes the response itself: the stream was read completely.
        self._parse_rest()
        if self._done:
            self.observer.on_exhausted()
        else:
            self.observer.on_close()


_EVENT_TYPE = re.compile(rb"\x0b:event-type\x07(..)", re.DOTALL)
"""Header of a frame with the type of its event: name, kind of value, and length of the value that follows."""


class AwsEventStreamParser(SseParser):
    """Parser of AWS event streams, whose binary frames each hold one event, as JSON or as base64 in JSON."""

    def feed(self, data: bytes) -> None:
        """Parse the next bytes of the body."""
        rest = self._rest
        rest += self._decode(data)
        while len(rest) >= _FRAME_PRELUDE.size:
            size, headers, _ = _FRAME_PRELUDE.unpack_from(rest)
            if len(rest) < size or size < _FRAME_PRELUDE.size + headers + _FRAME_CHECKSUM_BYTES:
                return
            start = _FRAME_PRELUDE.size + headers
            head = bytes(rest[_FRAME_PRELUDE.size : start])
            payload = bytes(rest[start : size - _FRAME_CHECKSUM_BYTES])
            del rest[:size]
            self._parse_frame(head, payload)

    def _parse_frame(self, head: bytes, payload: bytes) -> None:
        # Skip exception frames: the SDK raises for them.
        with suppress(ValueError, TypeError, RecursionError):
            event = json.loads(payload)
            if "bytes" in event:
                self._parse_event(b64decode(event["bytes"]))
            elif (kind := _EVENT_TYPE.search(head)) is not None:
                length = int.from_bytes(kind[1])
                self.observer.on_chunk({head[kind.end() :][:length].decode(): event})

    def _parse_rest(self) -> None:
        return


class JsonLinesParser(SseParser):
    """Parser of a stream with one JSON value on each line."""

    def _parse_line(self, line: bytes) -> None:
        if line:
            self._parse_event(line)


class JsonBodyReader:
    """Reader of one JSON body. It keeps the bytes that the caller reads and parses them at the end."""

    def __init__(self, call: CallState, decode: Callable[[bytes], bytes], *, keep: bool = True) -> None:
        self._call = call
        self._decode = decode
        self._data: bytearray | None = bytearray() if keep else None
        worker.start()

    def feed(self, data: bytes) -> None:
        """Keep the next bytes of the body."""
        if self._data is not None:
            self._data += self._decode(data)
            if len(self._data) > _MAX_BODY_BYTES:
                self._data = None

    def on_exhausted(self, *, truncated: bool = False) -> None:
        """Parse the body and end the call. The body is ``truncated`` if the server announced more bytes."""
        response, data, self._data = Response(), self._data, None
        try:
            if truncated:
                response = Response(failed=True, error="truncated")
            elif data:
                response = self._call.read_response(json.loads(data))
        except (ValueError, RecursionError):
            pass
        except Exception:
            log_internal_error("read a response")
        self._call.end(response)

    def on_error(self, error: BaseException) -> None:
        """End the call with the exception raised while the body was read."""
        self._call.fail(error)

    def on_close(self) -> None:
        """End the call because the response was closed."""
        self._call.end(Response())

    def __del__(self) -> None:
        if hasattr(self, "_call"):  # absent if ``__init__`` failed
            notify(lambda: worker.submit(partial(self._call.end, Response())))


class ObservedBody(ObjectProxy):
    """Transparent proxy of the byte stream inside an HTTP response.

    A reader other than the SDK's own stream object is observed by the bytes it reads. The stream helper of older
    anthropic releases is one.

    Args:
        wrapped: The byte stream.
        reader: The parser of the bytes.
        observer: The observer of the SDK's stream object, if that object is observed.
        inner: The iterator of the SDK's stream object.
        holder: The caller's stream object, if it may outlive ``inner``.
    """

    def __init__(
        self,
        wrapped: Any,
        reader: SseParser | JsonBodyReader,
        observer: StreamObserver | None = None,
        inner: weakref.ref[Any] | None = None,
        holder: weakref.ref[Any] | None = None,
    ) -> None:
        super().__init__(wrapped)
        self._self_reader = reader
        self._self_observer = observer
        self._self_plain: tuple[_Step, _Step] | None = None
        if isinstance(reader, SseParser) and reader.plain is not None:
            self._self_plain = reader.feed_plain, reader.end_plain
        self._self_inner = inner
        self._self_holder = holder or inner
        self._self_sdk_observer = getattr(wrapped, "stream_observer", None)

    @property
    def stream_observer(self) -> Any:
        """Attribute that the anthropic SDK reads at every event. A failed look-up through the proxy is slow."""
        return self._self_sdk_observer

    def _self_read_by_stream(self) -> bool:
        """Return True if the SDK's own stream object reads the body, so that its observer sees every chunk."""
        try:
            if _is_running(self._self_inner() if self._self_inner is not None else None):
                return True
        except Exception:
            log_internal_error("find the reader of a body")
            return True
        self._self_observer = self._self_inner = None
        return False

    def __iter__(self) -> Iterator[bytes]:
        if not self._self_read_by_stream():
            reader = self._self_reader
            return self._self_observe(reader.feed, reader.on_exhausted, reader.on_error)
        return iter(self.__wrapped__) if self._self_plain is None else self._self_observe(*self._self_plain)

    def _self_observe(self, feed: _Step, end: _Step, fail: _Step | None = None) -> Iterator[bytes]:
        try:
            for data in self.__wrapped__:
                attempt("read a body", feed, data)
                yield data
        except BaseException as error:
            if fail is not None and not isinstance(error, GeneratorExit):
                notify(fail, error)
            raise
        notify(end)

    def __aiter__(self) -> AsyncIterator[bytes]:
        if not self._self_read_by_stream():
            reader = self._self_reader
            return self._self_observe_async(reader.feed, reader.on_exhausted, reader.on_error)
        return aiter(self.__wrapped__) if self._self_plain is None else self._self_observe_async(*self._self_plain)

    async def _self_observe_async(self, feed: _Step, end: _Step, fail: _Step | None = None) -> AsyncIterator[bytes]:
        try:
            async for data in self.__wrapped__:
                attempt("read a body", feed, data)
                yield data
        except BaseException as error:
            if fail is not None and not isinstance(error, GeneratorExit):
                notify(fail, error)
            raise
        notify(end)

    def _self_on_close(self) -> None:
        if self._self_observer is None:
            self._self_reader.on_close()
            return
        inner = self._self_inner() if self._self_inner is not None else None
        held = self._self_holder is not None and self._self_holder() is not None
        # Ignore a close by the SDK's own generator, which closes the response whenever it stops.
        # The observer then learns the outcome from the exception or from its own end.
        if not held:
            # The generator closes the response while it is collected. A connection that stays open may keep this body.
            self._self_observer.on_collected()
        elif not _is_running(inner):
            self._self_observer.on_close()

    def close(self) -> None:
        """Record the close and close the byte stream."""
        notify(self._self_on_close)
        self.__wrapped__.close()

    async def aclose(self) -> None:
        """Record the close and close the asynchronous byte stream."""
        notify(self._self_on_close)
        await self.__wrapped__.aclose()


def _is_running(generator: Any) -> bool:
    """Return True if a generator, synchronous or asynchronous, is being advanced or closed now."""
    return bool(getattr(generator, "gi_running", False) or getattr(generator, "ag_running", False))


def observe_body(call: CallState, http: Any) -> None:
    """End ``call`` when the caller has read the body of ``http``, an httpx response."""
    has_body = is_read(http)
    decode = bytes if has_body else _decoder(http)
    content_type = http.headers.get("content-type", "")
    reader: SseParser | JsonBodyReader
    # Check the content type too: speech is streamed on a field of the body, not on an argument of the SDK.
    if call.start.wire_format.accumulator is not None and (
        call.start.request.stream or content_type.startswith("text/event-stream")
    ):
        reader = make_parser(http, StreamObserver(call, call.make_accumulator()), decode)
    else:
        reader = JsonBodyReader(call, decode, keep=not content_type.startswith(_MEDIA_TYPES))
    if has_body:
        reader.feed(http.content)
        reader.on_exhausted()
    else:
        http.stream = ObservedBody(http.stream, reader)
        release_response(call, http)


def release_response(call: CallState, http: Any) -> None:
    """Let the call keep no more of the response ``http`` than it reads at its end.

    aiohttp keeps the context of a call, and so the call, as long as its connections: a dropped stream would not end.
    """
    call.http_response = _ResponseHead(http)


class _ResponseHead:
    """Response without its body, which takes less memory per open stream than a namespace."""

    __slots__ = ("_request", "headers")

    def __init__(self, http: Any) -> None:
        self.headers = http.headers
        self._request = request_of(http)


def make_parser(http: Any, observer: StreamObserver, decode: Callable[[bytes], bytes] | None = None) -> SseParser:
    """Return the parser of the event stream in the body of ``http``."""
    decode = decode or _decoder(http)
    content_type = http.headers.get("content-type", "")
    if content_type.startswith("application/vnd.amazon.eventstream"):
        return AwsEventStreamParser(observer, decode)
    if content_type.startswith(_JSON_LINES):
        return JsonLinesParser(observer, decode)
    return SseParser(observer, decode, plain=content_type.startswith("application/json"))


def _decoder(http: Any) -> Callable[[bytes], bytes]:
    """Return a second decoder for the content encodings of the response."""
    if not http.headers.get("content-encoding"):
        return bytes
    decoders = make_decoders(http)

    def decode(data: bytes) -> bytes:
        if decoders is None:
            return b""
        for decoder in decoders:
            decoded = decoder.decode(data)
            # httpx returns bytes, httpx2 an iterator of bytes.
            data = decoded if isinstance(decoded, bytes) else b"".join(decoded)
        return data

    return decode
