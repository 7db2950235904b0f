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

from .._errors import report
from ..model import Response
from . import worker
from .call import OpenCall
from .stream import Recorder, notify

__all__ = ["Body", "EventReader", "FrameReader", "JsonReader", "event_reader", "watch"]

_LARGEST = 32 * 1024 * 1024
_MAX_PLAIN_BYTES = 1024 * 1024
_MEDIA = ("audio/", "image/", "video/", "application/octet-stream")
"""Nothing to read, and much of it."""
_PRELUDE = struct.Struct(">III")
"""What an AWS frame begins with: its length, that of its headers, and a checksum of both."""
_CHECKSUM = 4


class EventReader:
    """Cuts server-sent events out of the bytes of a body and hands each to the recorder."""

    def __init__(self, recorder: Recorder, decode: Callable[[bytes], bytes], *, plain: bool = False) -> None:
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
        self.recorder.mark(event)
        if b'"error"' in data:
            # The SDK raises for an error event, and older ones leave the response open behind it.
            self.recorder.end_if_failed()

    def _last(self) -> None:
        # The wire may end without the blank line that ends an event.
        self._line(bytes(self._rest).rstrip(b"\r"))
        self._line(b"")
        self.end_plain()

    def exhausted(self) -> None:
        self._last()
        self.recorder.exhausted()

    def failed(self, error: BaseException) -> None:
        self.recorder.failed(error)

    def closed(self) -> None:
        # The SDK's own stream closes the response as soon as it has read the end mark.
        self._last()
        if self._done:
            self.recorder.exhausted()
        else:
            self.recorder.closed()


class FrameReader(EventReader):
    """The same for the binary frames of AWS, each of which wraps one event in base64."""

    def feed(self, data: bytes) -> None:
        rest = self._rest
        rest += self._decode(data)
        while len(rest) >= _PRELUDE.size:
            size, headers, _ = _PRELUDE.unpack_from(rest)
            if len(rest) < size or size < _PRELUDE.size + headers + _CHECKSUM:
                return
            payload = bytes(rest[_PRELUDE.size + headers : size - _CHECKSUM])
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


class JsonReader:
    """Keeps the bytes of one JSON body as the caller reads them, to read the usage when they are all there."""

    def __init__(self, call: OpenCall, decode: Callable[[bytes], bytes], *, keep: bool = True) -> None:
        self._call = call
        self._decode = decode
        self._data: bytearray | None = bytearray() if keep else None
        worker.start()

    def feed(self, data: bytes) -> None:
        if self._data is not None:
            self._data += self._decode(data)
            if len(self._data) > _LARGEST:
                self._data = None

    def exhausted(self) -> None:
        answer = Response()
        try:
            if self._data:
                answer = self._call.read(json.loads(self._data))
        except (ValueError, RecursionError):
            pass
        except Exception:
            report("read a response")
        self._call.end(answer)

    def failed(self, error: BaseException) -> None:
        self._call.fail(error)

    def closed(self) -> None:
        self._call.end(Response())

    def __del__(self) -> None:
        if hasattr(self, "_call"):  # absent where a fault has interrupted ``__init__``
            notify(lambda: worker.submit(partial(self._call.end, Response())))


class Body(wrapt.ObjectProxy):  # type: ignore[type-arg] # wrapt 1 has no parameters
    """Stands in for the byte stream inside an HTTP response: same class, same bytes, watched.

    ``inner`` is the iterator of the SDK's stream object, where that is what the recorder watches. Somebody else who
    reads the response itself (the stream helper of older anthropic releases does) is watched by the byte instead.
    ``holder`` is the caller's stream object, where that may live on when ``inner`` is gone.
    """

    def __init__(
        self,
        wrapped: Any,
        reader: EventReader | JsonReader,
        recorder: Recorder | None = None,
        inner: weakref.ref[Any] | None = None,
        holder: weakref.ref[Any] | None = None,
    ) -> None:
        super().__init__(wrapped)
        self._self_reader = reader
        self._self_recorder = recorder
        self._self_plain = reader if isinstance(reader, EventReader) and reader.plain else None
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
            if _running(self._self_inner() if self._self_inner is not None else None):
                return True
        except Exception:
            report("find who reads a body")
            return True
        self._self_recorder = self._self_inner = None
        return False

    def __iter__(self) -> Iterator[bytes]:
        if not self._self_read_by_stream():
            return self._self_watch()
        plain = self._self_plain
        return iter(self.__wrapped__) if plain is None else self._self_keep_plain(plain)

    def _self_keep_plain(self, reader: EventReader) -> Iterator[bytes]:
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
            notify(reader.failed, error)
            raise
        notify(reader.exhausted)

    def __aiter__(self) -> AsyncIterator[bytes]:
        if not self._self_read_by_stream():
            return self._self_watch_async()
        if self._self_plain is not None:
            return self._self_keep_plain_async(self._self_plain)
        iterator: AsyncIterator[bytes] = self.__wrapped__.__aiter__()
        return iterator

    async def _self_keep_plain_async(self, reader: EventReader) -> AsyncIterator[bytes]:
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
            notify(reader.failed, error)
            raise
        notify(reader.exhausted)

    def _self_closing(self) -> None:
        if self._self_recorder is None:
            self._self_reader.closed()
            return
        inner = self._self_inner() if self._self_inner is not None else None
        held = self._self_holder is not None and self._self_holder() is not None
        # The SDK's generator closes the response itself when it ends, fails, is cancelled or is collected: then
        # what it raises, or the recorder's own end, tells how, and this close is not the caller's.
        if held and not _running(inner):
            self._self_recorder.closed()

    def close(self) -> None:
        notify(self._self_closing)
        self.__wrapped__.close()

    async def aclose(self) -> None:
        notify(self._self_closing)
        await self.__wrapped__.aclose()


def _running(generator: Any) -> bool:
    """Whether a generator, of either colour, is being advanced or closed right now."""
    return bool(getattr(generator, "gi_running", False) or getattr(generator, "ag_running", False))


def _guarded(read: Callable[..., None], *data: bytes) -> None:
    try:
        read(*data)
    except Exception:
        report("read a body")


def watch(call: OpenCall, http: Any) -> None:
    """Have ``call`` end with what the caller reads of the body of ``http``, an httpx response."""
    read = http.is_closed and hasattr(http, "_content")
    decode = bytes if read else _decoder(http)
    kind = http.headers.get("content-type", "")
    reader: EventReader | JsonReader
    # Speech comes as events where the body asks for that, which no argument of the SDK tells.
    if call.format.events is not None and (call.request.stream or kind.startswith("text/event-stream")):
        reader = _events(http, Recorder(call, call.events()), decode)
    else:
        reader = JsonReader(call, decode, keep=not kind.startswith(_MEDIA))
    if read:
        reader.feed(http.content)
        reader.exhausted()
    else:
        http.stream = Body(http.stream, reader)


def event_reader(http: Any, recorder: Recorder) -> EventReader:
    """The reader of a body of events that ``http`` brings."""
    return _events(http, recorder, _decoder(http))


def _events(http: Any, recorder: Recorder, decode: Callable[[bytes], bytes]) -> EventReader:
    kind = http.headers.get("content-type", "")
    if kind.startswith("application/vnd.amazon.eventstream"):
        return FrameReader(recorder, decode)
    return EventReader(recorder, decode, plain=kind.startswith("application/json"))


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
