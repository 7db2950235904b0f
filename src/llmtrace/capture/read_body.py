"""Observation of botocore's response bodies, which the caller reads like a file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from .._compat.wrapt import ObjectProxy
from .._errors import log_internal_error
from .._read import get
from ..model import Response
from .call import CallState
from .http_body import JsonBodyReader, observe_body
from .stream import notify

__all__ = ["observe_reads"]


def observe_reads(call: CallState, body: Any) -> None:
    """End ``call`` when the caller has read ``body``, a ``StreamingBody`` of botocore or aiobotocore."""
    raw = getattr(body, "_raw_stream", None)
    if raw is None:  # older releases of aiobotocore wrap the response
        raw = body.__wrapped__
    if hasattr(raw, "aiter_raw"):
        observe_body(call, raw)
        return
    headers = get(get(call.http_response, "ResponseMetadata"), "HTTPHeaders") or {}
    length = str(headers.get("content-length", ""))
    observer = _ReadObserver(call, int(length) if length.isdecimal() and length.isascii() else None)
    if hasattr(raw, "content"):
        raw.content = _AsyncObservedFile(raw.content, observer)
    else:
        body._raw_stream = _ObservedFile(raw, observer)


class _ReadObserver:
    """Observer of the bytes that the caller reads. It ends the call once."""

    def __init__(self, call: CallState, length: int | None) -> None:
        self._call = call
        self._reader = JsonBodyReader(call, bytes)
        self._missing = length
        """Number of bytes to come, ``None`` if the server does not announce it."""

    def on_read(self, data: Any, *, last: bool) -> None:
        """Record bytes that were read. They are the last if no more may follow."""
        try:
            self._reader.feed(bytes(data))
            if self._missing is not None:
                self._missing -= len(data)
                if last and self._missing > 0:
                    self._call.end(Response(failed=True, error="truncated"))
            if last or self._missing == 0:
                self._missing = None
                self._reader.on_exhausted()
        except Exception:
            log_internal_error("read a body")

    def on_error(self, error: BaseException) -> None:
        """End the call with the exception raised while the body was read."""
        notify(self._reader.on_error, error)

    def on_close(self) -> None:
        """End the call because the response was closed."""
        notify(self._reader.on_close)


class _ObservedFile(ObjectProxy):
    """Transparent proxy of an HTTP response that is read like a file."""

    def __init__(self, wrapped: Any, observer: _ReadObserver) -> None:
        super().__init__(wrapped)
        self._self_observer = observer

    def _self_read(self, read: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            data = read(*args, **kwargs)
        except BaseException as error:
            self._self_observer.on_error(error)
            raise
        amount = args[0] if args else kwargs.get("amt")
        self._self_observer.on_read(data, last=amount is None or amount < 0 or (not data and amount != 0))
        return data

    def read(self, *args: Any, **kwargs: Any) -> Any:
        return self._self_read(self.__wrapped__.read, *args, **kwargs)

    def read1(self, *args: Any, **kwargs: Any) -> Any:
        return self._self_read(self.__wrapped__.read1, *args, **kwargs)

    def readinto(self, buffer: Any) -> Any:
        count = self.__wrapped__.readinto(buffer)
        self._self_observer.on_read(memoryview(buffer)[:count], last=not count)
        return count

    def readline(self, *args: Any) -> Any:
        line = self.__wrapped__.readline(*args)
        self._self_observer.on_read(line, last=not line)
        return line

    def readlines(self, *args: Any) -> Any:
        lines = self.__wrapped__.readlines(*args)
        self._self_observer.on_read(b"".join(lines), last=True)
        return lines

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return self._self_iterate(self.__wrapped__.stream(*args, **kwargs))

    def __iter__(self) -> Iterator[Any]:
        return self._self_iterate(iter(self.__wrapped__))

    def _self_iterate(self, chunks: Iterator[Any]) -> Iterator[Any]:
        for chunk in chunks:
            self._self_observer.on_read(chunk, last=False)
            yield chunk
        self._self_observer.on_read(b"", last=True)

    def close(self) -> None:
        self._self_observer.on_close()
        self.__wrapped__.close()


class _AsyncObservedFile(ObjectProxy):
    """Transparent proxy of aiohttp's stream of bytes."""

    def __init__(self, wrapped: Any, observer: _ReadObserver) -> None:
        super().__init__(wrapped)
        self._self_observer = observer

    async def _self_read(self, read: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        try:
            data = await read(*args)
        except BaseException as error:
            self._self_observer.on_error(error)
            raise
        self._self_observer.on_read(data, last=self.__wrapped__.at_eof())
        return data

    async def read(self, n: int = -1) -> Any:
        return await self._self_read(self.__wrapped__.read, n)

    async def readany(self) -> Any:
        return await self._self_read(self.__wrapped__.readany)

    async def readline(self) -> Any:
        return await self._self_read(self.__wrapped__.readline)

    async def readexactly(self, n: int) -> Any:
        return await self._self_read(self.__wrapped__.readexactly, n)
