"""Bodies that the caller reads: nothing is read before the caller does, and nothing twice."""

from __future__ import annotations

import json
import struct
import weakref
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import wrapt

from .._errors import log_internal_error
from ..model import Response
from . import worker
from .call import OpenCall
from .stream import StreamObserver, notify

__all__ = ["AwsEventStreamParser", "JsonBodyReader", "ObservedBody", "SseParser", "make_parser", "observe_body"]

_MAX_BODY_BYTES = 32 * 1024 * 1024
_MAX_PLAIN_BYTES = 1024 * 1024
_MEDIA_TYPES = ("audio/", "image/", "video/", "application/octet-stream")
"""Nothing to read, and much of it."""
_FRAME_PRELUDE = struct.Struct(">III")
"""What an AWS frame begins with: its length, that of its headers, and a checksum of both."""
_FRAME_CHECKSUM_BYTES = 4


class SseParser:
    """Cuts server-sent events out of the bytes of a body and hands each to the recorder."""

    def __init__(self, recorder: StreamObserver, decode: Callable[[bytes], bytes], *, plain: bool = False) -> None:
        self.recorder = recorder
        self._decode = decode
        self._plain = bytearray() if plain else None
        """The body so far where the server announced JSON in place of events: it reports a failure that way."""
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._done = False

    def feed(self, data: bytes) -> None:
        data = self._decode(data)
        if self._plain is not None:
            self._keep(data)
        self._rest += data
        if b"\n" in data or b"\r" in data:
            self._cut()

    @property
    def plain(self) -> bool:
        return self._plain is not None

    def feed_plain(self, data: bytes) -> None:
        """Keep bytes of a body whose events, if it has any, reach the recorder without this reader."""
        self._keep(self._decode(data))

    def _keep(self, data: bytes) -> None:
        if self._plain is not None and len(self._plain) < _MAX_PLAIN_BYTES:
            self._plain += data

    def end_plain(self) -> None:
        """Read a body without events as the one JSON value that it is."""
        if self._plain and not self.recorder.chunks:
            try:
                self.recorder.add(json.loads(self._plain))
            except (ValueError, RecursionError):
                return

    def _cut(self) -> None:
        lines = self._rest.splitlines(keepends=True)
        # A line may go on in the next bytes, and a last "\r" may be half of a "\r\n".
        self._rest = bytearray() if lines[-1].endswith(b"\n") else lines.pop()
        for line in lines:
            self._line(bytes(line).rstrip(b"\r\n"))

    def _line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].strip())
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            self._event(data)

    def _event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            return
        self.recorder.on_chunk(event)
        if b'"error"' in data:
            # The SDK raises for an error event, and older ones leave the response open behind it.
            self.recorder.end_if_failed()

    def _last(self) -> None:
        # The wire may end without the blank line that ends an event.
        self._line(bytes(self._rest).rstrip(b"\r"))
        self._line(b"")
        self.end_plain()

    def on_exhausted(self) -> None:
        self._last()
        self.recorder.on_exhausted()

    def on_error(self, error: BaseException) -> None:
        self.recorder.on_error(error)

    def on_close(self) -> None:
        # The SDK's own stream closes the response as soon as it has read the end mark.
        self._last()
        if self._done:
            self.recorder.on_exhausted()
        else:
            self.recorder.on_close()


class AwsEventStreamParser(SseParser):
    """The same for the binary frames of AWS, each of which wraps one event in base64."""

    def feed(self, data: bytes) -> None:
        rest = self._rest
        rest += self._decode(data)
        while len(rest) >= _FRAME_PRELUDE.size:
            size, headers, _ = _FRAME_PRELUDE.unpack_from(rest)
            if len(rest) < size or size < _FRAME_PRELUDE.size + headers + _FRAME_CHECKSUM_BYTES:
                return
            payload = bytes(rest[_FRAME_PRELUDE.size + headers : size - _FRAME_CHECKSUM_BYTES])
            del rest[:size]
            self._frame(payload)

    def _frame(self, payload: bytes) -> None:
        try:
            self._event(b64decode(json.loads(payload)["bytes"]))
        except (ValueError, KeyError, TypeError):
            # An exception frame, which the SDK raises for.
            return

    def _last(self) -> None:
        return


class JsonBodyReader:
    """Keeps the bytes of one JSON body as the caller reads them, to read the usage when they are all there."""

    def __init__(self, call: OpenCall, decode: Callable[[bytes], bytes], *, keep: bool = True) -> None:
        self._call = call
        self._decode = decode
        self._data: bytearray | None = bytearray() if keep else None
        worker.start()

    def feed(self, data: bytes) -> None:
        if self._data is not None:
            self._data += self._decode(data)
            if len(self._data) > _MAX_BODY_BYTES:
                self._data = None

    def on_exhausted(self) -> None:
        answer = Response()
        try:
            if self._data:
                answer = self._call.read_response(json.loads(self._data))
        except (ValueError, RecursionError):
            pass
        except Exception:
            log_internal_error("read a response")
        self._call.end(answer)

    def on_error(self, error: BaseException) -> None:
        self._call.fail(error)

    def on_close(self) -> None:
        self._call.end(Response())

    def __del__(self) -> None:
        if hasattr(self, "_call"):  # absent where a fault has interrupted ``__init__``
            notify(lambda: worker.submit(partial(self._call.end, Response())))


class ObservedBody(wrapt.ObjectProxy):  # type: ignore[type-arg] # wrapt 1 has no parameters
    """Stands in for the byte stream inside an HTTP response: same class, same bytes, watched.

    ``inner`` is the iterator of the SDK's stream object, where that is what the recorder watches. Somebody else who
    reads the response itself (the stream helper of older anthropic releases does) is watched by the byte instead.
    ``holder`` is the caller's stream object, where that may live on when ``inner`` is gone.
    """

    def __init__(
        self,
        wrapped: Any,
        reader: SseParser | JsonBodyReader,
        recorder: StreamObserver | None = None,
        inner: weakref.ref[Any] | None = None,
        holder: weakref.ref[Any] | None = None,
    ) -> None:
        super().__init__(wrapped)
        self._self_reader = reader
        self._self_recorder = recorder
        self._self_plain = reader if isinstance(reader, SseParser) and reader.plain else None
        self._self_inner = inner
        self._self_holder = holder or inner
        self._self_observer = getattr(wrapped, "stream_observer", None)

    @property
    def stream_observer(self) -> Any:
        """What the anthropic SDK asks for at every event; a proxy is slow to say that there is none."""
        return self._self_observer

    def _self_read_by_stream(self) -> bool:
        """Whether the SDK's own stream object is at work, and its recorder sees it all."""
        try:
            if _is_running(self._self_inner() if self._self_inner is not None else None):
                return True
        except Exception:
            log_internal_error("find who reads a body")
            return True
        self._self_recorder = self._self_inner = None
        return False

    def __iter__(self) -> Iterator[bytes]:
        if not self._self_read_by_stream():
            return self._self_watch()
        plain = self._self_plain
        return iter(self.__wrapped__) if plain is None else self._self_keep_plain(plain)

    def _self_keep_plain(self, reader: SseParser) -> Iterator[bytes]:
        for data in self.__wrapped__:
            _guarded(reader.feed_plain, data)
            yield data
        _guarded(reader.end_plain)

    def _self_watch(self) -> Iterator[bytes]:
        reader = self._self_reader
        try:
            for data in self.__wrapped__:
                _guarded(reader.feed, data)
                yield data
        except GeneratorExit:
            raise
        except BaseException as error:
            notify(reader.on_error, error)
            raise
        notify(reader.on_exhausted)

    def __aiter__(self) -> AsyncIterator[bytes]:
        if not self._self_read_by_stream():
            return self._self_watch_async()
        if self._self_plain is not None:
            return self._self_keep_plain_async(self._self_plain)
        iterator: AsyncIterator[bytes] = self.__wrapped__.__aiter__()
        return iterator

    async def _self_keep_plain_async(self, reader: SseParser) -> AsyncIterator[bytes]:
        async for data in self.__wrapped__:
            _guarded(reader.feed_plain, data)
            yield data
        _guarded(reader.end_plain)

    async def _self_watch_async(self) -> AsyncIterator[bytes]:
        reader = self._self_reader
        try:
            async for data in self.__wrapped__:
                _guarded(reader.feed, data)
                yield data
        except GeneratorExit:
            raise
        except BaseException as error:
            notify(reader.on_error, error)
            raise
        notify(reader.on_exhausted)

    def _self_closing(self) -> None:
        if self._self_recorder is None:
            self._self_reader.on_close()
            return
        inner = self._self_inner() if self._self_inner is not None else None
        held = self._self_holder is not None and self._self_holder() is not None
        # The SDK's generator closes the response itself when it ends, fails, is cancelled or is collected: then
        # what it raises, or the recorder's own end, tells how, and this close is not the caller's.
        if held and not _is_running(inner):
            self._self_recorder.on_close()

    def close(self) -> None:
        notify(self._self_closing)
        self.__wrapped__.close()

    async def aclose(self) -> None:
        notify(self._self_closing)
        await self.__wrapped__.aclose()


def _is_running(generator: Any) -> bool:
    """Whether a generator, of either colour, is being advanced or closed right now."""
    return bool(getattr(generator, "gi_running", False) or getattr(generator, "ag_running", False))


def _guarded(read: Callable[..., None], *data: bytes) -> None:
    try:
        read(*data)
    except Exception:
        log_internal_error("read a body")


def observe_body(call: OpenCall, http: Any) -> None:
    """Have ``call`` end with what the caller reads of the body of ``http``, an httpx response."""
    read = http.is_closed and hasattr(http, "_content")
    decode = bytes if read else _decoder(http)
    kind = http.headers.get("content-type", "")
    reader: SseParser | JsonBodyReader
    # Speech comes as events where the body asks for that, which no argument of the SDK tells.
    if call.wire_format.accumulator is not None and (call.request.stream or kind.startswith("text/event-stream")):
        reader = _parser_for(http, StreamObserver(call, call.make_accumulator()), decode)
    else:
        reader = JsonBodyReader(call, decode, keep=not kind.startswith(_MEDIA_TYPES))
    if read:
        reader.feed(http.content)
        reader.on_exhausted()
    else:
        http.stream = ObservedBody(http.stream, reader)


def make_parser(http: Any, recorder: StreamObserver) -> SseParser:
    """The reader of a body of events that ``http`` brings."""
    return _parser_for(http, recorder, _decoder(http))


def _parser_for(http: Any, recorder: StreamObserver, decode: Callable[[bytes], bytes]) -> SseParser:
    kind = http.headers.get("content-type", "")
    if kind.startswith("application/vnd.amazon.eventstream"):
        return AwsEventStreamParser(recorder, decode)
    return SseParser(recorder, decode, plain=kind.startswith("application/json"))


def _decoder(http: Any) -> Callable[[bytes], bytes]:
    """A second decoder of the kinds the response uses for its content encodings, made when first needed."""
    if not http.headers.get("content-encoding"):
        return bytes
    own = http._get_content_decoder()
    kinds = [type(part) for part in getattr(own, "children", None) or (own,)]
    parts: list[Any] = []

    def joined(data: bytes) -> bytes:
        if not parts:
            parts.extend(kind() for kind in kinds)
        for part in parts:
            found = part.decode(data)
            # httpx answers bytes, httpx2 an iterator of them.
            data = found if isinstance(found, bytes) else b"".join(found)
        return data

    return joined
