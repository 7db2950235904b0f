"""What tracing costs: CPU time of one call, of one streamed chunk, and the time of the import.

Run it with ``python benchmarks/overhead.py``. The real openai SDK (a recent one) talks to a transport that answers from
memory.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import Any

import openai
from by_hand import ABOUT, ANSWER, ASK, HEADERS, cpu, describe_chat, http_of
from openai.types.chat import ChatCompletionChunk
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind

import llmtrace
from llmtrace.capture.call import OpenCall
from llmtrace.capture.stream import Chunks, Recorder
from llmtrace.capture.tracing import Tracing
from llmtrace.emit.spans import SpanEmitter
from llmtrace.facts import Request
from llmtrace.wire.openai_chat import CHAT

ROUNDS, CALLS, WARM = 60, 100, 10
CHUNKS, CHUNK_ROUNDS = 200_000, 7
IMPORTS = 15
SDK_CLIENT: Any = openai.DefaultHttpxClient
HTTP: Any = http_of(SDK_CLIENT)


class Last(SpanProcessor):
    """Keeps the attributes of the last span."""

    attributes: dict[str, Any]

    def on_end(self, span: ReadableSpan) -> None:
        Last.attributes = dict(span.attributes or {})


# Only the check that both span alike looks at the spans; the measured provider's processor does nothing.
quiet, checking = TracerProvider(), TracerProvider()
quiet.add_span_processor(SpanProcessor())
checking.add_span_processor(Last())


class Calls:
    """The same call without tracing and with a span written by hand, blocking and asynchronous.

    By hand there are two ways: ``whole`` reads from the headers what llmtrace reads there, as the SDK's raw response
    lets one do; ``short`` takes the values for granted.
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

    def short(self, count: int) -> None:
        for _ in range(count):
            with self._span() as span:
                describe_chat(span, self.chat.create(**ASK))

    def whole(self, count: int) -> None:
        for _ in range(count):
            with self._span() as span:
                raw = self.chat.with_raw_response.create(**ASK)
                describe_chat(span, raw.parse(), raw.headers)

    def plain_async(self, count: int) -> None:
        async def run() -> None:
            for _ in range(count):
                await self.achat.create(**ASK)

        self.runner.run(run())

    def short_async(self, count: int) -> None:
        async def run() -> None:
            for _ in range(count):
                with self._span() as span:
                    describe_chat(span, await self.achat.create(**ASK))

        self.runner.run(run())

    def whole_async(self, count: int) -> None:
        async def run() -> None:
            for _ in range(count):
                with self._span() as span:
                    raw = await self.achat.with_raw_response.create(**ASK)
                    describe_chat(span, raw.parse(), raw.headers)

        self.runner.run(run())


def same_attributes() -> int:
    """Both ways must write the same; how many attributes that is."""
    calls = Calls(checking)
    calls.whole(1)
    expected = Last.attributes
    with llmtrace.instrument(tracer_provider=checking, strict=True):
        calls.plain(1)
        llmtrace.flush(60)  # the first call of a process waits for the prices
    if expected != Last.attributes:
        raise SystemExit(f"the spans differ: {sorted(set(expected) ^ set(Last.attributes))}")
    return len(expected)


def measure_calls(*ways: Callable[[int], None]) -> Iterator[float]:
    """Median nanoseconds of a call in each of the ways, and in the first with llmtrace."""
    rounds = []
    last = len(ways)
    for number in range(ROUNDS + 1):
        found = [0.0] * (last + 1)
        for turn in range(last + 1):  # who goes first changes
            which = (number + turn) % (last + 1)
            if which == last:
                with llmtrace.instrument(tracer_provider=quiet):
                    found[which] = cpu(ways[0], CALLS, WARM)
            else:
                found[which] = cpu(ways[which], CALLS, WARM)
        rounds.append(found)
    return (median(column) for column in zip(*rounds[1:], strict=True))


def through(chunks: Iterable[Any]) -> Iterator[Any]:
    yield from chunks


def exhaust(iterator: Iterable[Any]) -> None:
    for _ in iterator:
        pass


def measure_chunks() -> tuple[float, float]:
    def chunk(delta: dict[str, str], reason: str | None = None) -> ChatCompletionChunk:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return ChatCompletionChunk.model_validate({**ABOUT, "object": "chat.completion.chunk", "choices": [choice]})

    middle = [chunk({"content": f"word {number}"}) for number in range(1000)]
    chunks = [chunk({"role": "assistant"}), *middle * (CHUNKS // 1000), chunk({}, "stop")]

    def watched(_: int) -> None:
        tracing = Tracing(SpanEmitter(quiet.get_tracer))
        request = Request("chat", ASK["model"], stream=True)
        call = OpenCall(tracing, "openai", CHAT, request, provider="openai", server=None)
        exhaust(Chunks(through(chunks), Recorder(call, CHAT.events())))  # type: ignore[misc]

    none, ours = [], []
    for _ in range(CHUNK_ROUNDS):
        none.append(cpu(lambda _: exhaust(through(chunks)), len(chunks)))
        ours.append(cpu(watched, len(chunks)))
    return median(none), median(ours)


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
    calls = Calls(quiet)
    print(f"Python {sys.version.split()[0]}, openai {openai.__version__}, {attributes} attributes a span, CPU time\n")
    print(f"{'added, in microseconds':24}{'none':>10}{'short':>10}{'by hand':>10}{'llmtrace':>10}{'ratio':>9}")
    for name, ways in (
        ("call", (calls.plain, calls.short, calls.whole)),
        ("asynchronous call", (calls.plain_async, calls.short_async, calls.whole_async)),
    ):
        none, short, whole, ours = (value / 1e3 for value in measure_calls(*ways))
        added = [each - none for each in (short, whole, ours)]
        print(f"{name:24}{none:10.1f}" + "".join(f"{each:10.1f}" for each in added) + f"{added[2] / added[1]:8.2f}x")
    none, ours = measure_chunks()
    print(f"{'streamed chunk':24}{none / 1e3:10.3f}{'-':>10}{'-':>10}{(ours - none) / 1e3:10.3f}{'-':>9}")
    print("\nratio: what llmtrace adds to what a span with the same attributes adds, written by hand;")
    print("short: by hand, without reading the headers of the answer\n")
    for program, taken in measure_imports().items():
        print(f"{program:40}{taken:8.1f} ms beyond the interpreter (elapsed)")


if __name__ == "__main__":
    main()
