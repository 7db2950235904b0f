"""Observation of botocore's response bodies, which the caller reads like a file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from inspect import isawaitable
from typing import Any

from .._compat.http_clients import headers_of
from .._compat.wrapt import ObjectProxy
from .._errors import log_internal_error
from .call import CallState
from .http_body import JsonBodyReader, observe_body
from .stream import notify

_READS = frozenset({"read", "read1", "readany", "readexactly", "readinto", "readline", "readlines"})
"""Methods that read, of urllib3's responses and of aiohttp's streams."""


def observe_reads(call: CallState, body: Any) -> None:
    """End ``call`` when the caller has read ``body``, a ``StreamingBody`` of botocore or aiobotocore."""
    raw = body._raw_stream if hasattr(body, "_raw_stream") else body.__wrapped__  # an older release of aiobotocore
    if hasattr(raw, "aiter_raw"):
        observe_body(call, raw)
    elif hasattr(raw, "content"):
        raw.content = _ObservedFile(raw.content, call)
    else:
        body._raw_stream = _ObservedFile(raw, call)


class _ObservedFile(ObjectProxy):
    """Transparent proxy of a response that is read like a file. It ends the call once."""

    def __init__(self, wrapped: Any, call: CallState) -> None:
        super().__init__(wrapped)
        self._self_reader = JsonBodyReader(call, bytes)
        length = str((headers_of(call.http_response) or {}).get("content-length", ""))
        self._self_missing_bytes = int(length) if length.isdecimal() and length.isascii() else -1  # not announced

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.__wrapped__, name)
        return partial(self._self_read, attribute, name) if name in _READS else attribute

    def __iter__(self) -> Iterator[Any]:
        return self._self_iterate(iter(self.__wrapped__))

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        return self._self_iterate(self.__wrapped__.stream(*args, **kwargs))

    def _self_iterate(self, chunks: Iterator[Any]) -> Iterator[Any]:
        while chunk := self._self_read(next, "next", chunks, b""):
            yield chunk

    def close(self) -> None:
        notify(self._self_reader.on_close)
        self.__wrapped__.close()

    def _self_read(self, read: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        try:
            data = read(*args, **kwargs)
        except BaseException as error:
            notify(self._self_reader.on_error, error)
            raise
        if isawaitable(data):
            return self._self_await(data, name, args, kwargs)
        self._self_observe(data, name, args, kwargs)
        return data

    async def _self_await(self, reading: Awaitable[Any], name: str, args: Any, kwargs: Any) -> Any:
        try:
            data = await reading
        except BaseException as error:
            notify(self._self_reader.on_error, error)
            raise
        self._self_observe(data, name, args, kwargs)
        return data

    def _self_observe(self, data: Any, name: str, args: Any, kwargs: Any) -> None:
        try:
            amount = next(iter((*args, *kwargs.values())), None) if name in ("read", "readlines") else 1
            read = memoryview(args[0])[:data] if name == "readinto" else b"".join(data) if name == "readlines" else data
            self._self_reader.feed(bytes(read))
            self._self_missing_bytes -= len(read)
            last = amount is None or amount < 0 or (not data and amount != 0)
            if last or self._self_missing_bytes == 0:
                self._self_reader.on_exhausted(truncated=self._self_missing_bytes > 0)
        except Exception:
            log_internal_error("read a body")
