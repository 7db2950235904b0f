"""A loopback server with scripted answers to the messages that request a response, and clients for it."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

import openai
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

import llmtrace

CLOSE, CUT = object(), object()
"""In place of an event: the server closes the connection properly, or drops it."""
COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])


class SocketServer:
    """Server of one test."""

    def __init__(self) -> None:
        self.url = ""
        self.greeting: list[Any] = []
        self.answers: list[Sequence[Any]] = []
        self.received: list[Any] = []
        self.creates = "response.create"
        """Type, or only field, of the messages that request a response."""
        self.setup: Any = None
        """Answer to the message that sets a session up."""

    def will(self, *answers: Sequence[Any]) -> None:
        """Answer each request for a response with the next of ``answers``, and others not at all."""
        self.answers = list(answers)

    def handle(self, connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            self._send(connection, self.greeting)
            for message in connection:
                event = json.loads(message)
                self.received.append(event)
                if "setup" in event:
                    self._send(connection, [self.setup])
                elif self.creates in (event.get("type"), *event) and self.answers:
                    self._send(connection, self.answers.pop(0))

    def _send(self, connection: ServerConnection, events: Sequence[Any]) -> None:
        for event in events:
            if event is CLOSE:
                connection.close()
            elif event is CUT:
                connection.socket.shutdown(socket.SHUT_RDWR)
            else:
                connection.send(json.dumps(event))


@contextmanager
def socket_server() -> Iterator[SocketServer]:
    """Run a server on a thread of its own."""
    scripted = SocketServer()
    with serve(scripted.handle, "127.0.0.1", 0) as server:
        scripted.url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield scripted
    thread.join()


class Side:
    """Connection of one colour to the server. Its methods await what the asynchronous connection returns."""

    def __init__(self, colour: str, url: str, api: str = "responses", **options: Any) -> None:
        client = (openai.OpenAI if colour == "sync" else openai.AsyncOpenAI)(
            api_key="k", base_url="http://127.0.0.1:9/v1", websocket_base_url=f"{url}/v1"
        )
        self.manager = getattr(client, api).connect(**options)
        self.connection: Any = None

    async def __aenter__(self) -> Side:
        self.connection = await _resolve(self.manager.enter())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.connection is not None:
            await self.close()

    async def create(self, **arguments: Any) -> None:
        await _resolve(self.connection.response.create(**arguments))

    async def receive(self) -> Any:
        return await _resolve(self.connection.recv())

    async def close(self) -> None:
        await _resolve(self.connection.close())

    async def read(self) -> list[Any]:
        """Return the events until the server closes the connection."""
        if hasattr(self.connection, "__aiter__"):
            return [event async for event in self.connection]
        return list(self.connection)

    async def until(self, *kinds: str) -> list[str]:
        """Return the types of the events up to one of ``kinds``."""
        seen = [(await self.receive()).type]
        while seen[-1] not in kinds:
            seen.append((await self.receive()).type)
        return seen


async def _resolve(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def finished(spans: Any) -> list[dict[str, Any]]:
    """Return the attributes of the finished spans in the order of their end, after dropped ones have ended."""
    for _ in range(3):
        gc.collect()
        await asyncio.sleep(0)
    assert llmtrace.flush()
    return [dict(span.attributes or {}) for span in spans.get_finished_spans()]
