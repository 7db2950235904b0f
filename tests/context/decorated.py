"""Decorated functions of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from llmtrace import current, tag


@tag(feature="plain", user="u")
def plain(x: int) -> tuple[str | None, int]:
    """Return where it runs."""
    return current().feature, x


@tag(feature="coroutine")
async def coroutine() -> str | None:
    await asyncio.sleep(0)
    return current().feature


@tag(feature="generator")
def generator() -> Iterator[Any]:
    got = yield current().feature
    try:
        yield got, current().feature
    except KeyError:
        yield "thrown", current().feature


@tag(feature="async generator")
async def async_generator() -> AsyncIterator[Any]:
    got = yield current().feature
    await asyncio.sleep(0)
    try:
        yield got, current().feature
    except KeyError:
        yield "thrown", current().feature


def run_in_every_kind(block: Callable[[], Any], error: Exception | None = None) -> list[Any]:
    """Run one body under ``block`` in functions of each kind; each returns 1, or raises ``error``."""

    def body() -> int:
        if error is not None:
            raise error
        return 1

    @block()
    def plain() -> int:
        return body()

    @block()
    async def coroutine() -> int:
        return body()

    @block()
    def generator() -> Iterator[int]:
        yield body()

    @block()
    async def async_generator() -> AsyncIterator[int]:
        yield body()

    def in_with_block() -> int:
        with block():
            return body()

    async def asynchronous() -> int:
        async with block():
            return body()

    async def items() -> int:
        (item,) = [item async for item in async_generator()]
        return item

    ways: list[Callable[[], Any]] = [
        plain, lambda: asyncio.run(coroutine()), lambda: next(iter(list(generator()))), lambda: asyncio.run(items()),
        in_with_block, lambda: asyncio.run(asynchronous()),
    ]  # fmt: skip
    found: list[Any] = []
    for way in ways:
        try:
            found.append(way())
        except Exception as raised:
            found.append(raised)
    return found
