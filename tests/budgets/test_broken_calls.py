"""Calls that break in the middle count in a blocking budget; those that the provider refused, or never got, do not."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import anthropic
import botocore.exceptions
import openai
import pytest
from google import genai

import llmtrace
from llmtrace.budgets import budget as budgets
from llmtrace.budgets import enforcement
from llmtrace.budgets.stores import MemoryStore
from llmtrace.capture.failure import may_have_been_sent
from serving import QuietHandler, free_port, serving

pytestmark = pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")

LIMIT, MOST, WORDS = 100_000, 1_000, 20
ASK: Any = [{"role": "user", "content": "x"}]

CHAT = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o",
        "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}  # fmt: skip
MESSAGE = {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "content": [],
           "model": "claude-sonnet-4-5", "stop_reason": None, "stop_sequence": None,
           "usage": {"input_tokens": 100, "output_tokens": 1}}}  # fmt: skip
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word "}}
GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": "word "}]}, "index": 0}]}


class FailingVendor(ThreadingHTTPServer):
    """A vendor that fails in the way that a test sets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ResponseHandler)
        self.fault = ""
        self.served = 0
        self.go, self.got = threading.Event(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        pass


class ResponseHandler(QuietHandler):
    server: FailingVendor

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.served += 1
        self.server.got.set()
        self.close_connection = True
        match self.server.fault:
            case "refused":
                data = json.dumps({"error": {"type": "overloaded", "code": 529, "message": "no"}}).encode()
                self.send_response(529)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            case "stalled":
                self.server.go.wait(10)
            case "reset":
                pass
            case "cut":
                self._cut()
        self.connection.shutdown(socket.SHUT_RDWR)

    def _cut(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in self._events():
            name = f"event: {event['type']}\n" if "type" in event else ""
            data = f"{name}data: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n" % len(data) + data + b"\r\n")

    def _events(self) -> list[Any]:
        if "messages" in self.path:
            return [MESSAGE, BLOCK, *[DELTA] * WORDS]
        return [CHAT if "completions" in self.path else GEMINI] * WORDS


@pytest.fixture(scope="module")
def server() -> Iterator[FailingVendor]:
    with serving(FailingVendor()) as server:
        yield server
        server.go.set()


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryStore]:
    store = MemoryStore()
    monkeypatch.setattr(enforcement, "_memory", store)
    budgets.forget()
    llmtrace.budget("b", tokens=LIMIT, per="total", action="block")
    yield store
    llmtrace.uninstrument()
    budgets.forget()


def openai_plain(url: str) -> None:
    with openai.OpenAI(api_key="k", base_url=url + "/v1", max_retries=0, timeout=0.5) as client:
        client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=MOST)


def openai_stream(url: str) -> None:
    with openai.OpenAI(api_key="k", base_url=url + "/v1", max_retries=0, timeout=0.5) as client:
        for _ in client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=MOST, stream=True):
            pass


def openai_raw(url: str) -> None:
    with (
        openai.OpenAI(api_key="k", base_url=url + "/v1", max_retries=0, timeout=0.5) as client,
        client.chat.completions.with_streaming_response.create(
            model="gpt-4o", messages=ASK, max_tokens=MOST, stream=True
        ) as answer,
    ):
        for _ in answer.iter_lines():
            pass


def openai_async(url: str) -> None:
    async def main() -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=url + "/v1", max_retries=0, timeout=0.5) as client:
            stream = await client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=MOST, stream=True)
            async for _ in stream:
                pass

    asyncio.run(main())


def claude_plain(url: str) -> None:
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0, timeout=0.5) as client:
        client.messages.create(model="claude-sonnet-4-5", messages=ASK, max_tokens=MOST)


def claude_stream(url: str) -> None:
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0, timeout=0.5) as client:
        for _ in client.messages.create(model="claude-sonnet-4-5", messages=ASK, max_tokens=MOST, stream=True):
            pass


def gemini(url: str) -> Any:
    options: Any = {"base_url": url, "timeout": 500}
    if "retry_options" in genai.types.HttpOptions.model_fields:
        options["retry_options"] = {"attempts": 1}
    return genai.Client(api_key="k", http_options=options)


def gemini_plain(url: str) -> None:
    client = gemini(url)
    client.models.generate_content(model="gemini-2.5-flash", contents="x", config={"max_output_tokens": MOST})


def gemini_stream(url: str) -> None:
    client = gemini(url)
    config = {"max_output_tokens": MOST}
    for _ in client.models.generate_content_stream(model="gemini-2.5-flash", contents="x", config=config):
        pass


def gemini_async(url: str) -> None:
    async def main() -> None:
        client = gemini(url)
        config = {"max_output_tokens": MOST}
        try:
            async for _ in await client.aio.models.generate_content_stream(
                model="gemini-2.5-flash", contents="x", config=config
            ):
                pass
        finally:
            if hasattr(client.aio, "aclose"):
                await client.aio.aclose()

    asyncio.run(main())


CALLS = [
    openai_plain, openai_stream, openai_raw, openai_async, claude_plain, claude_stream, gemini_plain, gemini_stream,
    gemini_async,
]  # fmt: skip


def try_call(make: Callable[[str], None], url: str) -> None:
    with pytest.raises(Exception) as caught:
        make(url)
    assert not isinstance(caught.value, llmtrace.BudgetExceeded)
    assert llmtrace.flush(10)


def balance(store: MemoryStore) -> tuple[int, int]:
    (window,) = store._windows.values()
    return window.spent, window.reserved


@pytest.mark.parametrize("make", CALLS)
def test_refused_and_unreachable_calls_release_their_reservation(
    make: Callable[[str], None], server: FailingVendor, memory: MemoryStore
) -> None:
    """An error status, and a connection that failed, release the reservation."""
    llmtrace.instrument(store="off", strict=True)
    server.fault = "refused"
    try_call(make, server.url)
    try_call(make, f"http://127.0.0.1:{free_port()}")
    assert balance(memory) == (0, 0)


@pytest.mark.parametrize("fault", ["reset", "stalled"])
@pytest.mark.parametrize("make", CALLS)
def test_calls_without_a_response_keep_their_reservation(
    make: Callable[[str], None], fault: str, server: FailingVendor, memory: MemoryStore
) -> None:
    """A request that was sent may have been worked on, whatever became of its answer."""
    llmtrace.instrument(store="off", strict=True)
    server.fault = fault
    try_call(make, server.url)
    assert balance(memory) == (MOST, 0)


@pytest.mark.parametrize("make", [make for make in CALLS if "plain" not in make.__name__])
def test_cut_streams_keep_their_reservation(
    make: Callable[[str], None], server: FailingVendor, memory: MemoryStore
) -> None:
    """Without an estimate the output is not known: of what was reported the larger, of what was reserved all."""
    llmtrace.instrument(store="off", strict=True)
    server.fault = "cut"
    try:
        make(server.url)  # some releases end a cut stream without an error
    except Exception as error:
        assert not isinstance(error, llmtrace.BudgetExceeded)
    assert llmtrace.flush(10)
    assert balance(memory) == (MOST, 0)


def test_cut_stream_with_an_estimate_spends_the_estimate(server: FailingVendor, memory: MemoryStore) -> None:
    """The received words are counted in place of the reservation."""
    llmtrace.instrument(store="off", strict=True, estimate_usage="separate")
    server.fault = "cut"
    with llmtrace.collect():
        try_call(openai_stream, server.url)
    spent, reserved = balance(memory)
    assert WORDS <= spent < 2 * WORDS
    assert reserved == 0


@pytest.mark.parametrize("leave", ["close", "drop", "cancel"])
def test_streams_closed_early_keep_their_reservation(leave: str, server: FailingVendor, memory: MemoryStore) -> None:
    """A stream that is closed early, dropped or cancelled is not read to its last chunk, which reports the usage."""
    llmtrace.instrument(store="off", strict=True)
    server.fault = "stalled" if leave == "cancel" else "cut"

    async def main() -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=server.url + "/v1", max_retries=0) as client:
            server.got.clear()
            task = asyncio.create_task(
                client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=MOST, stream=True)
            )
            await asyncio.to_thread(server.got.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    if leave == "cancel":
        asyncio.run(main())
    else:
        with openai.OpenAI(api_key="k", base_url=server.url + "/v1", max_retries=0) as client:
            stream = client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=MOST, stream=True)
            next(stream)
            if leave == "close":
                stream.close()
            del stream
            gc.collect()
    assert llmtrace.flush(10)
    assert balance(memory) == (MOST, 0)


def test_timeout_before_a_refused_retry_keeps_the_reservation(server: FailingVendor, memory: MemoryStore) -> None:
    """The last attempt of a call may be refused: an earlier one that timed out may be billed."""
    llmtrace.instrument(store="off", strict=True)
    server.fault, server.served = "reset", 0
    client = openai.OpenAI(api_key="k", base_url=server.url + "/v1", max_retries=1, timeout=0.5)

    class Refusing(openai.DefaultHttpxClient):  # type: ignore[misc]
        def send(self, *args: Any, **kwargs: Any) -> Any:
            server.fault = "refused" if server.served else "reset"
            return super().send(*args, **kwargs)

    client = client.with_options(http_client=Refusing())
    with client, pytest.raises(openai.APIStatusError):
        client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=MOST)
    assert server.served == 2
    assert balance(memory) == (MOST, 0)


def test_request_that_the_sdk_cannot_build_costs_nothing(memory: MemoryStore) -> None:
    """A failure before the HTTP client runs means that nothing was sent."""
    llmtrace.instrument(store="off", strict=True)
    client = openai.OpenAI(api_key="k", base_url="http://127.0.0.1:9/v1", max_retries=0)
    with client, pytest.raises(TypeError):
        client.chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=MOST, extra_body={"x": object()})
    assert balance(memory) == (0, 0)


def test_error_handled_by_the_application_is_ignored() -> None:
    """A call in an ``except`` block has that error in its chain: the first transport error counts."""
    broken = TimeoutError()
    broken.__context__ = ConnectionRefusedError()
    assert may_have_been_sent(broken)
    assert not may_have_been_sent(ConnectionRefusedError())
    assert not may_have_been_sent(ValueError())


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("ReadTimeoutError", True),
        ("ConnectionClosedError", True),
        ("ResponseStreamingError", True),
        ("ConnectTimeoutError", False),
        ("EndpointConnectionError", False),
        ("NoCredentialsError", False),
    ],
)
def test_botocore_error_shows_whether_the_request_was_sent(name: str, sent: bool) -> None:
    """A connection that was lost may be billed; a request without a connection or credentials is not."""
    error = getattr(botocore.exceptions, name)(endpoint_url="http://a", error="lost", request=None)
    assert may_have_been_sent(error) is sent
