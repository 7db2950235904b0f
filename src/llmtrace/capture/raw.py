"""Bodies that the caller reads: nothing is read before the caller does, and nothing twice."""

from __future__ import annotations

import json
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import wrapt

from .._guard import report
from ..facts import Response
from . import worker
from .call import OpenCall
from .stream import Recorder

__all__ = ["Body", "EventReader", "JsonReader", "decoder_of", "watch"]

_LARGEST = 32 * 1024 * 1024


class EventReader:
    """Cuts server-sent events out of the bytes of a body and hands each to the recorder."""

    def __init__(self, recorder: Recorder, decode: Callable[[bytes], bytes]) -> None:
        self.recorder = recorder
        self._decode = decode
        self._rest = b""
        self._done = False

    def feed(self, data: bytes) -> None:
        lines = (self._rest + self._decode(data)).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip())

    def _event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._done = True
        elif data:
            self.recorder.mark(json.loads(data))
            if b'"error"' in data:
                # The SDK raises for an error event, and older ones leave the response open behind it.
                self.recorder.end_if_failed()

    def exhausted(self) -> None:
        self.recorder.exhausted()

    def failed(self, error: BaseException) -> None:
        self.recorder.failed(error)

    def closed(self) -> None:
        # The SDK's own stream closes the response as soon as it has read the end mark.
        if self._done:
            self.recorder.exhausted()
        else:
            self.recorder.closed()


class JsonReader:
    """Keeps the bytes of one JSON body as the caller reads them, to read the usage when they are all there."""

    def __init__(self, call: OpenCall, decode: Callable[[bytes], bytes]) -> None:
        self._call = call
        self._decode = decode
        self._data: bytearray | None = bytearray()
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
        except ValueError:
            pass
        except Exception:
            report("read a response")
        self._call.end(answer)

    def failed(self, error: BaseException) -> None:
        self._call.fail(error)

    def closed(self) -> None:
        self._call.end(Response())

    def __del__(self) -> None:
        worker.submit(partial(self._call.end, Response()))


class Body(wrapt.ObjectProxy[Any]):
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
        self._self_inner = inner
        self._self_holder = holder or inner

    def _self_read_by_stream(self) -> bool:
        """Whether the SDK's own stream object is at work, and its recorder sees it all."""
        if _running(self._self_inner() if self._self_inner is not None else None):
            return True
        self._self_recorder = self._self_inner = None
        return False

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.__wrapped__) if self._self_read_by_stream() else self._self_watch()

    def _self_watch(self) -> Iterator[bytes]:
        reader = self._self_reader
        try:
            for data in self.__wrapped__:
                _feed(reader, data)
                yield data
        except GeneratorExit:
            raise
        except BaseException as error:
            reader.failed(error)
            raise
        reader.exhausted()

    def __aiter__(self) -> AsyncIterator[bytes]:
        iterator: AsyncIterator[bytes] = (
            self.__wrapped__.__aiter__() if self._self_read_by_stream() else self._self_watch_async()
        )
        return iterator

    async def _self_watch_async(self) -> AsyncIterator[bytes]:
        reader = self._self_reader
        try:
            async for data in self.__wrapped__:
                _feed(reader, data)
                yield data
        except GeneratorExit:
            raise
        except BaseException as error:
            reader.failed(error)
            raise
        reader.exhausted()

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
        self._self_closing()
        self.__wrapped__.close()

    async def aclose(self) -> None:
        self._self_closing()
        await self.__wrapped__.aclose()


def _running(generator: Any) -> bool:
    """Whether a generator, of either colour, is being advanced or closed right now."""
    return bool(getattr(generator, "gi_running", False) or getattr(generator, "ag_running", False))


def _feed(reader: Any, data: bytes) -> None:
    try:
        reader.feed(data)
    except Exception:
        report("read a body")


def watch(call: OpenCall, http: Any) -> None:
    """Have ``call`` end with what the caller reads of the body of ``http``, an httpx response."""
    if http.is_closed and hasattr(http, "_content"):
        reader: Any = JsonReader(call, bytes)
        reader.feed(http.content)
        reader.exhausted()
        return
    decode = decoder_of(http)
    if call.request.stream and call.format.events is not None:
        reader = EventReader(Recorder(call, call.events()), decode)
    else:
        reader = JsonReader(call, decode)
    http.stream = Body(http.stream, reader)


def decoder_of(http: Any) -> Callable[[bytes], bytes]:
    """A second decoder of the kind the response uses for its content encoding, made when first needed."""
    own = http._get_content_decoder()
    kind, parts = type(own), [type(part) for part in reversed(getattr(own, "children", ()))]
    decoder: Any = None

    def joined(data: bytes) -> bytes:
        nonlocal decoder
        if decoder is None:
            decoder = kind([part() for part in parts]) if parts else kind()
        found = decoder.decode(data)
        # httpx answers bytes, httpx2 an iterator of them.
        return found if isinstance(found, bytes) else b"".join(found)

    return joined
