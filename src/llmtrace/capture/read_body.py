"""Observation of botocore's response bodies, which the caller reads like a file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from .._compat.http_clients import headers_of
from .._compat.wrapt import ObjectProxy
from .._errors import log_internal_error
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
    length = str((headers_of(call.http_response) or {}).get("content-length", ""))
    observer = _ReadObserver(call, int(length) if length.isdecimal() and length.isascii() else None)
    if hasattr(raw, "content"):
        raw.content = _AsyncObservedFile(raw.content, observer)
    else:
        body._raw_stream = _ObservedFile(raw, observer)


class _ReadObserver:
    """Observer of the bytes that the caller reads. It ends the call once."""

    def __init__(self, call: CallState, length: int | None) -> None:
        self._call = call
        self.reader = JsonBodyReader(call, bytes)
        self._missing = length
        """Number of bytes to come, ``None`` if the server does not announce it."""
        self._done = False

    def on_read(self, data: Any, *, last: bool) -> None:
        """Record bytes that were read. They are the last if no more may follow."""
        if self._done:
            return
        try:
            self.reader.feed(bytes(data))
            if self._missing is not None:
                self._missing -= len(data)
            self._done = last or self._missing == 0
            if self._done and self._missing is not None and self._missing > 0:
                self._call.end(Response(failed=True, error="truncated"))
            elif self._done:
                self.reader.on_exhausted()
        except Exception:
            log_internal_error("read a body")


class _ObservedFile(ObjectProxy):
    """Transparent proxy of an HTTP response that is read like a file."""

    def __init__(self, wrapped: Any, observer: _ReadObserver) -> None:
        super().__init__(wrapped)
        self._self_observer = observer

    def _self_read(self, read: Callable[..., Any], args: Any, kwargs: Any, *, last: bool | None = None) -> Any:
        """Return what ``read`` returns. It reads to the end if ``last`` is true, or if it returns nothing."""
        try:
            data = read(*args, **kwargs)
        except BaseException as error:
            notify(self._self_observer.reader.on_error, error)
            raise
        read_bytes = memoryview(args[0])[:data] if type(data) is int else b"".join(data) if type(data) is list else data
        self._self_observer.on_read(read_bytes, last=last or not data)
        return data

    def read(self, *args: Any, **kwargs: Any) -> Any:
        amount = args[0] if args else kwargs.get("amt")
        if amount == 0:
            return self.__wrapped__.read(*args, **kwargs)
        return self._self_read(self.__wrapped__.read, args, kwargs, last=amount is None or amount < 0)

    def read1(self, *args: Any, **kwargs: Any) -> Any:
        return self._self_read(self.__wrapped__.read1, args, kwargs)

    def readinto(self, *args: Any) -> Any:
        return self._self_read(self.__wrapped__.readinto, args, {})

    def readline(self, *args: Any) -> Any:
        return self._self_read(self.__wrapped__.readline, args, {})

    def readlines(self, *args: Any) -> Any:
        return self._self_read(self.__wrapped__.readlines, args, {}, last=not args)

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return self._self_iterate(self.__wrapped__.stream(*args, **kwargs))

    def __iter__(self) -> Iterator[Any]:
        return self._self_iterate(iter(self.__wrapped__))

    def _self_iterate(self, chunks: Iterator[Any]) -> Iterator[Any]:
        while chunk := self._self_read(next, (chunks, b""), {}):
            yield chunk

    def close(self) -> None:
        notify(self._self_observer.reader.on_close)
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
            notify(self._self_observer.reader.on_error, error)
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
