"""Cost of tracing: CPU time of one call, of one streamed chunk, and the time of the import.

Run it with ``python benchmarks/overhead.py``. The real openai SDK (a recent one) talks to a transport that answers from
memory, inside a ``tag`` block; spans go through the SDK's batch processor to an exporter that reads every attribute.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from statistics import median
from types import SimpleNamespace
from typing import Any

import anthropic
import openai
from anthropic.types import RawContentBlockDeltaEvent
from by_hand import ANSWER, ASK, HEADERS, TAGS, cpu, describe_chat, describe_tags, http_of
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseTextDeltaEvent
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind
from peers import MESSAGE, MESSAGE_ASK, MESSAGE_HEADERS, Vendor, chat_chunks, events, exporting, message_events, timed
from pydantic import TypeAdapter

import llmtrace
from llmtrace.capture.call import CallState
from llmtrace.capture.services import CallServices
from llmtrace.capture.stream import ObservedIterator, StreamObserver
from llmtrace.model import Request
from llmtrace.model.wire_format import WireFormat
from llmtrace.providers.anthropic.messages import MESSAGES
from llmtrace.providers.google.chunks import accumulator
from llmtrace.providers.google.generate import GENERATE
from llmtrace.providers.openai.chat import CHAT
from llmtrace.providers.openai.responses import RESPONSES
from llmtrace.telemetry.spans import SpanEmitter

ROUNDS, CALLS, WARM = 60, 100, 10
SHORT, LONG, CHUNK_ROUNDS = 20, 1020, 40
IMPORTS = 15
SDK_CLIENT: Any = openai.DefaultHttpxClient
HTTP: Any = http_of(SDK_CLIENT)


class Last(SpanProcessor):
    """Keeps the attributes of the last span."""

    attributes: dict[str, Any]

    def on_end(self, span: ReadableSpan) -> None:
        Last.attributes = dict(span.attributes or {})


# Spans wait until they are flushed: what the exporter costs is measured apart from what the caller waits for.
measured, checking = TracerProvider(), TracerProvider()
measured.add_span_processor(exporting())
checking.add_span_processor(Last())


class Calls:
    """The same call without tracing, with a span written by hand, and for llmtrace, blocking and asynchronous.

    By hand one reads from the headers what llmtrace reads there, as the SDK's raw response lets one do.
    """

    def __init__(self, provider: TracerProvider) -> None:
        transport = HTTP.MockTransport(lambda _: HTTP.Response(200, headers=HEADERS, json=ANSWER))
        options: Any = {"api_key": "none", "base_url": "https://api.openai.com/v1"}
        aclient: Any = openai.DefaultAsyncHttpxClient
        self.chat = openai.OpenAI(**options, http_client=SDK_CLIENT(transport=transport)).chat.completions
        self.achat = openai.AsyncOpenAI(**options, http_client=aclient(transport=transport)).chat.completions
        self.tracer = provider.get_tracer("by hand")
        self.runner = asyncio.Runner()

    def _span(self) -> Any:
        return self.tracer.start_as_current_span(f"chat {ASK['model']}", kind=SpanKind.CLIENT)

    def plain(self, count: int) -> None:
        for _ in range(count):
            self.chat.create(**ASK)

    def by_hand(self, count: int) -> None:
        for _ in range(count):
            with self._span() as span:
                raw = self.chat.with_raw_response.create(**ASK)
                describe_chat(span, raw.parse(), raw.headers)
                describe_tags(span)

    def tagged(self, count: int) -> None:
        for _ in range(count):
            with llmtrace.tag(**TAGS):
                self.chat.create(**ASK)

    def plain_async(self, count: int) -> None:
        async def run() -> None:
            for _ in range(count):
                await self.achat.create(**ASK)

        self.runner.run(run())

    def by_hand_async(self, count: int) -> None:
        async def run() -> None:
            for _ in range(count):
                with self._span() as span:
                    raw = await self.achat.with_raw_response.create(**ASK)
                    describe_chat(span, raw.parse(), raw.headers)
                    describe_tags(span)

        self.runner.run(run())

    def tagged_async(self, count: int) -> None:
        async def run() -> None:
            for _ in range(count):
                with llmtrace.tag(**TAGS):
                    await self.achat.create(**ASK)

        self.runner.run(run())


def same_attributes() -> int:
    """Check that both spans have the same attributes, and return their number."""
    calls = Calls(checking)
    calls.by_hand(1)
    expected = Last.attributes
    with llmtrace.instrument(tracer_provider=checking, strict=True):
        calls.tagged(1)
        llmtrace.flush(60)  # the first call of a process waits for the prices
    if expected != Last.attributes:
        raise SystemExit(f"the spans differ: {sorted(set(expected) ^ set(Last.attributes))}")
    return len(expected)


def measure_calls(plain: Callable[[int], None], by_hand: Callable[[int], None], ours: Callable[[int], None]) -> Any:
    """The medians of the three."""
    rounds: list[list[tuple[float, float]]] = []
    for number in range(ROUNDS + 1):
        found: list[tuple[float, float]] = [(0.0, 0.0)] * 3
        for turn in range(3):  # who goes first changes
            which = (number + turn) % 3
            if which == 2:
                with llmtrace.instrument(tracer_provider=measured):
                    found[which] = timed(ours, CALLS, WARM)
            else:
                found[which] = timed((plain, by_hand)[which], CALLS, WARM)
        rounds.append(found)
    return [tuple(median(column) for column in zip(*way, strict=True)) for way in zip(*rounds[1:], strict=True)]


def through(chunks: Iterable[Any]) -> Iterator[Any]:
    yield from chunks


class Streams:
    """Streams of two lengths, whose difference is what the chunks take; each kind read to its end."""

    def __init__(self) -> None:
        self.chat = Vendor(openai, "OpenAI", "https://api.openai.com/v1", ANSWER, HEADERS)
        self.message = Vendor(anthropic, "Anthropic", "https://api.anthropic.com", MESSAGE, MESSAGE_HEADERS)
        self.kinds: dict[str, tuple[Vendor, Callable[[], Any], tuple[bytes, bytes]]] = {
            "chat completions": (self.chat, self._completions, bodies(chat_chunks)),
            "responses": (self.chat, self._responses, bodies(responses_events)),
            "messages": (self.message, self._messages, bodies(message_events)),
        }

    def _completions(self) -> Any:
        return self.chat.client.chat.completions.create(**ASK, stream=True)

    def _responses(self) -> Any:
        return self.chat.client.responses.create(model=ASK["model"], input="Why is the sky blue?", stream=True)

    def _messages(self) -> Any:
        return self.message.client.messages.create(**MESSAGE_ASK, stream=True)

    def chunk(self, kind: str) -> float:
        """Nanoseconds of one chunk."""
        vendor, ask, made = self.kinds[kind]
        taken = []
        for body in made:
            vendor.stream = body
            taken.append(cpu(lambda _: exhaust(ask()), 1))
        return (taken[1] - taken[0]) / (LONG - SHORT)


def exhaust(iterator: Iterable[Any]) -> None:
    for _ in iterator:
        pass


def bodies(made: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    return made(SHORT), made(LONG)


def responses_events(count: int) -> bytes:
    response = {"id": "r", "object": "response", "created_at": 1, "model": ASK["model"], "output": [], "tools": []}
    about = {"item_id": "i", "output_index": 0, "content_index": 0, "logprobs": []}
    middle = [
        {**about, "type": "response.output_text.delta", "sequence_number": number, "delta": f"word {number} "}
        for number in range(1, count - 1)
    ]
    first = {"type": "response.created", "sequence_number": 0, "response": response}
    last = {"type": "response.completed", "sequence_number": count, "response": {**response, "status": "completed"}}
    return events([first, *middle, last])


def measure_streams(streams: Streams, kind: str) -> list[float]:
    """Nanoseconds of a chunk within the SDK: untraced, traced, traced with content on."""
    rounds = []
    for number in range(CHUNK_ROUNDS + 1):
        found = [0.0] * 3
        for turn in range(3):  # who goes first changes
            which = (number + turn) % 3
            if which == 0:
                found[which] = streams.chunk(kind)
            else:
                content = "no_content" if which == 1 else "span_only"
                with llmtrace.instrument(tracer_provider=checking, capture_content=content):
                    found[which] = streams.chunk(kind)
        rounds.append(found)
    return [median(column) for column in zip(*rounds[1:], strict=True)]


def gemini_answer(number: int) -> Any:
    """Return a response as the SDK passes it to llmtrace."""
    candidate = {"content": {"parts": [{"text": f"word {number}"}], "role": "model"}, "index": 0}
    usage = {"promptTokenCount": 8, "candidatesTokenCount": number + 1, "totalTokenCount": number + 9}
    chunk = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash", "responseId": "r"}
    return SimpleNamespace(body=json.dumps(chunk))


def chunks_of(body: bytes, model: Any) -> list[Any]:
    """The objects that the SDK makes of a body."""
    reported = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")]
    return [TypeAdapter(model).validate_json(line) for line in reported[2:-3]]  # those with words


def alone() -> dict[str, tuple[WireFormat, Callable[[CallState], Any], list[Any]]]:
    return {
        "chat completions": (CHAT, CallState.make_accumulator, chunks_of(chat_chunks(LONG), ChatCompletionChunk)),
        "responses": (RESPONSES, CallState.make_accumulator, chunks_of(responses_events(LONG), ResponseTextDeltaEvent)),
        "messages": (MESSAGES, CallState.make_accumulator, chunks_of(message_events(LONG), RawContentBlockDeltaEvent)),
        "Gemini": (GENERATE, accumulator, [gemini_answer(number) for number in range(LONG)]),
    }


def measure_chunks(wire: WireFormat, events: Callable[[CallState], Any], chunks: list[Any]) -> list[float]:
    """Nanoseconds of a chunk, with no SDK around: through a generator that does nothing, traced, with content on."""
    chunks = chunks * 10

    def traced(content: bool) -> Callable[[int], None]:
        def run(_: int) -> None:
            tracing = CallServices(SpanEmitter(checking.get_tracer), wants_content=lambda _: content)
            request = Request("chat", ASK["model"], stream=True)
            call = CallState(tracing, "openai", wire, request, provider="openai", server=None, body=ASK)
            exhaust(ObservedIterator(through(chunks), StreamObserver(call, events(call))))  # type: ignore[misc]

        return run

    ways = (lambda _: exhaust(through(chunks)), traced(False), traced(True))
    rounds = [[cpu(way, len(chunks)) for way in ways] for _ in range(CHUNK_ROUNDS // 2)]
    return [median(column) for column in zip(*rounds, strict=True)]


def measure_imports() -> dict[str, float]:
    """Milliseconds of a fresh interpreter that runs each statement, over one that runs nothing."""
    programs = ("pass", "import llmtrace", "from llmtrace import instrument", "import opentelemetry.sdk.trace.export")
    taken: dict[str, list[float]] = {program: [] for program in programs}
    for _ in range(IMPORTS):
        for program, times in taken.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            times.append((time.perf_counter() - start) * 1e3)
    base = median(taken.pop("pass"))
    return {program: median(times) - base for program, times in taken.items()}


def main() -> None:
    attributes = same_attributes()
    gc.freeze()
    calls = Calls(measured)
    print(f"Python {sys.version.split()[0]}, openai {openai.__version__}, {attributes} attributes a span, CPU time\n")
    print(f"{'microseconds a call adds':26}{'none':>8}{'by hand':>10}{'llmtrace':>10}{'ratio':>8}")
    for name, ways in (
        ("call", (calls.plain, calls.by_hand, calls.tagged)),
        ("asynchronous call", (calls.plain_async, calls.by_hand_async, calls.tagged_async)),
    ):
        none, by_hand, ours = measure_calls(*ways)
        for part, what in enumerate((name, "  and its export")):
            base, hand, own = (way[part] / 1e3 for way in (none, by_hand, ours))
            print(f"{what:26}{base:8.0f}{hand - base:10.1f}{own - base:10.1f}{(own - base) / (hand - base):7.2f}x")
    print("\nratio: what llmtrace adds, over what a span with the same attributes adds that is written by hand\n")
    print(f"{'microseconds a chunk adds':26}{'none':>10}{'llmtrace':>10}{'content':>10}")
    for kind, stream in alone().items():
        none, off, on = (value / 1e3 for value in measure_chunks(*stream))
        print(f"{kind:26}{none:10.2f}{off - none:10.2f}{on - none:10.2f}")
    streams = Streams()
    for kind in streams.kinds:
        none, off, on = (value / 1e3 for value in measure_streams(streams, kind))
        print(f"{kind + ' in the SDK':26}{none:10.2f}{off - none:10.2f}{on - none:10.2f}")
    print("\nnone: a generator that does nothing, or the SDK alone; content: with what is said recorded\n")
    for program, elapsed in measure_imports().items():
        print(f"{program:40}{elapsed:8.1f} ms beyond the interpreter (elapsed)")


if __name__ == "__main__":
    main()
