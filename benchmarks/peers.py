"""What llmtrace adds to a call and to a streamed chunk, beside a span written by hand and beside other tracers.

Run it with ``python benchmarks/peers.py``; it needs ``uv`` and a package index, and takes some minutes. Each tracer
gets a virtual environment of its own (in ``~/.cache/llmtrace-benchmarks``) with the newest openai and anthropic SDKs it
can be installed with, and one process there. That process switches the tracer off and on between batches of calls, by
putting the SDK's own functions back, and so compares the bare SDK, a span written by hand and the tracer under the same
conditions; the driver has the processes of all environments do one short round after the other, so that whatever else
the machine does falls on all of them. ``--write docs/benchmarks.md`` writes the page, ``--only NAME`` measures some,
``--keep`` takes the environments as they are.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from by_hand import ABOUT, ANSWER, ASK, HEADERS, cpu, describe_chat, describe_message, http_of

ROUNDS, BATCHES, CALLS, STREAMS = 20, 6, 20, 4
SHORT, LONG = 20, 420
"""Chunks of the two streams whose difference is the cost of a chunk."""

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "llmtrace-benchmarks"
CLEAN = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "LOGFIRE_SEND_TO_LOGFIRE": "false",
    "TRACELOOP_TRACE_CONTENT": "false",
    "LANGFUSE_MEDIA_UPLOAD_ENABLED": "false",
}
"""Content off and no network, where an environment variable says so."""


@dataclass(frozen=True)
class Peer:
    name: str
    packages: tuple[str, ...]
    about: str
    """How it was configured."""
    start: Callable[[Any], None]
    """Switches it on; spans go to the given tracer provider."""
    anthropic: bool = True
    """Whether it traces that SDK too."""
    exports: bool = False
    """Whether it brings a batch processor of its own."""


def _llmtrace(provider: Any) -> None:
    import llmtrace

    llmtrace.instrument(tracer_provider=provider)


def _instrumentors(*modules: str, **settings: Any) -> Callable[[Any], None]:
    def start(provider: Any) -> None:
        from importlib import import_module

        for name in modules:
            module, _, cls = name.partition(":")
            getattr(import_module(module), cls)().instrument(tracer_provider=provider, **settings)

    return start


def _openinference(provider: Any) -> None:
    from openinference.instrumentation import TraceConfig

    quiet = TraceConfig(hide_inputs=True, hide_outputs=True)
    _instrumentors(
        "openinference.instrumentation.openai:OpenAIInstrumentor",
        "openinference.instrumentation.anthropic:AnthropicInstrumentor",
        config=quiet,
    )(provider)


def _openlit(provider: Any) -> None:
    import openlit
    from opentelemetry import trace

    trace.set_tracer_provider(provider)
    openlit.init(capture_message_content=False, disable_metrics=True, disable_events=True)


def _logfire(provider: Any) -> None:
    import logfire

    logfire.configure(
        send_to_logfire=False, console=False, metrics=False, inspect_arguments=False,
        additional_span_processors=[counting(), exporting()],
    )  # fmt: skip
    logfire.instrument_openai()
    logfire.instrument_anthropic()


def _langfuse(provider: Any) -> None:
    import langfuse

    langfuse.Langfuse(
        public_key="pk-lf-none", secret_key="sk-lf-none", base_url="http://127.0.0.1:9", tracer_provider=provider,
        span_exporter=reading(), mask=lambda *, data, **_: None,
    )  # fmt: skip
    import langfuse.openai  # patches the SDK


def _ddtrace(provider: Any) -> None:
    from ddtrace.llmobs import LLMObs
    from ddtrace.trace import TraceFilter, tracer

    class Drop(TraceFilter):
        def process_trace(self, trace: Any) -> None:
            seen.ended += len(trace)
            seen.attributes = max(len(dict(span.get_tags())) + len(dict(span.get_metrics())) for span in trace)

    tracer.configure(trace_processors=[Drop()])
    LLMObs.enable(
        ml_app="benchmark", agentless_enabled=True, api_key="none", site="localhost", span_processor=lambda span: None
    )


def _nothing(provider: Any) -> None:
    pass


PEERS = (
    Peer("llmtrace", (f"-e{ROOT}",), "`instrument(tracer_provider=...)`, defaults.", _llmtrace),
    Peer(
        "OTel genai-openai, genai-anthropic",
        ("opentelemetry-instrumentation-genai-openai", "opentelemetry-instrumentation-genai-anthropic"),
        "`instrument(tracer_provider=...)`, defaults (content off).",
        _instrumentors(
            "opentelemetry.instrumentation.genai.openai:OpenAIInstrumentor",
            "opentelemetry.instrumentation.genai.anthropic:AnthropicInstrumentor",
        ),
    ),
    Peer(
        "OTel openai-v2",
        ("opentelemetry-instrumentation-openai-v2", "opentelemetry-util-genai<1.2b0", "httpx"),
        "`instrument(tracer_provider=...)`, defaults (content off). Has no anthropic part. As published it fails to "
        "import with the newest openai and util-genai; here with httpx and an older util-genai.",
        _instrumentors("opentelemetry.instrumentation.openai_v2:OpenAIInstrumentor"),
        anthropic=False,
    ),
    Peer(
        "OpenLLMetry",
        ("opentelemetry-instrumentation-openai", "opentelemetry-instrumentation-anthropic"),
        "`instrument(tracer_provider=...)`, `TRACELOOP_TRACE_CONTENT=false`.",
        _instrumentors(
            "opentelemetry.instrumentation.openai:OpenAIInstrumentor",
            "opentelemetry.instrumentation.anthropic:AnthropicInstrumentor",
        ),
    ),
    Peer(
        "OpenInference",
        ("openinference-instrumentation-openai", "openinference-instrumentation-anthropic"),
        "`instrument(tracer_provider=..., config=TraceConfig(hide_inputs=True, hide_outputs=True))`.",
        _openinference,
    ),
    Peer(
        "OpenLIT",
        ("openlit",),
        "`init(capture_message_content=False, disable_metrics=True, disable_events=True)`, global tracer provider.",
        _openlit,
    ),
    Peer(
        "Logfire",
        ("logfire",),
        "`configure(send_to_logfire=False, console=False, metrics=False)`, `instrument_openai()`, "
        "`instrument_anthropic()`; its own scrubbing and provider. Content cannot be switched off.",
        _logfire,
    ),
    Peer(
        "Langfuse",
        ("langfuse",),
        "`langfuse.openai`, with the exporter behind its own batch processor, `mask` to drop content (it has no "
        "switch). Has no anthropic part.",
        _langfuse,
        anthropic=False,
        exports=True,
    ),
    Peer(
        "ddtrace",
        ("ddtrace",),
        "`LLMObs.enable(agentless_enabled=True)`, its telemetry and remote configuration off, a `span_processor` and a "
        "trace filter that read and drop every span. Makes spans of its own kind; content cannot be switched off.",
        _ddtrace,
    ),
)


# ---- inside one environment


class Seen:
    """What has reached the end of the tracer under test."""

    ended = 0
    attributes = 0


seen = Seen()


def counting() -> Any:
    from opentelemetry.sdk.trace import SpanProcessor

    class Counting(SpanProcessor):
        """Does nothing but count."""

        def on_end(self, span: Any) -> None:
            seen.ended += 1
            if probing:
                seen.attributes = max(seen.attributes, len(span.attributes or ()))

    return Counting()


def reading() -> Any:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Reading(SpanExporter):
        """Looks at every attribute, as each exporter must."""

        def export(self, spans: Any) -> SpanExportResult:
            for span in spans:
                dict(span.attributes or {})
            return SpanExportResult.SUCCESS

    return Reading()


processors: list[Any] = []


def exporting() -> Any:
    """Spans wait until they are flushed: what exporters make of them is measured apart."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    processor = BatchSpanProcessor(reading(), schedule_delay_millis=1e7, max_export_batch_size=2048)
    processors.append(processor)
    return processor


probing = False
MESSAGE_ASK: Any = {
    "model": "claude-haiku-4-5",
    "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    "max_tokens": 64,
}
MESSAGE: Any = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5-20251001",
    "content": [{"type": "text", "text": "Rayleigh scattering."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 176, "output_tokens": 64, "cache_read_input_tokens": 1024},
}
MESSAGE_HEADERS = {
    "request-id": "req_1",
    "anthropic-ratelimit-requests-remaining": "9",
    "anthropic-ratelimit-tokens-remaining": "99",
    **{name: value for name, value in HEADERS.items() if name.startswith("x-other")},
}


def events(chunks: list[Any]) -> bytes:
    """The body of a stream of server-sent events; only anthropic names them."""
    return "".join(
        (f"event: {chunk['type']}\n" if "type" in chunk else "") + f"data: {json.dumps(chunk)}\n\n" for chunk in chunks
    ).encode()


def chat_chunks(count: int) -> bytes:
    def chunk(delta: Any, reason: str | None = None) -> Any:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {**ABOUT, "object": "chat.completion.chunk", "choices": [choice]}

    middle = [chunk({"content": f"word {number} "}) for number in range(count - 3)]
    last = {**ABOUT, "object": "chat.completion.chunk", "choices": [], "usage": ANSWER["usage"]}
    return events([chunk({"role": "assistant", "content": ""}), *middle, chunk({}, "stop"), last]) + b"data: [DONE]\n\n"


def message_events(count: int) -> bytes:
    start = {**MESSAGE, "content": [], "stop_reason": None}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    middle = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f"word {number} "}}
        for number in range(count - 5)
    ]
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    return events(
        [
            {"type": "message_start", "message": start},
            block,
            *middle,
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": end, "usage": {"output_tokens": 64}},
            {"type": "message_stop"},
        ]
    )


class Vendor:
    """A transport that answers from memory, and the clients that speak to it."""

    def __init__(self, sdk: Any, sync: str, url: str, answer: Any, headers: dict[str, str]) -> None:
        http = http_of(sdk.DefaultHttpxClient)

        class Wire(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc,name-defined]
            """A body that, like one from the network, is there when it is read and not before."""

            def __init__(self, body: bytes) -> None:
                self.body = body

            def __iter__(self) -> Iterator[bytes]:
                yield self.body

        self.wire: Callable[[bytes], Any] = Wire
        self.response: Callable[..., Any] = http.Response
        self.headers = headers
        self.answer = json.dumps(answer).encode()
        self.stream = b""
        self.sent = b""
        options: Any = {"api_key": "none", "base_url": url}
        transport = http.MockTransport(self.respond)
        self.client = getattr(sdk, sync)(**options, http_client=sdk.DefaultHttpxClient(transport=transport))
        self.aclient = getattr(sdk, "Async" + sync)(
            **options, http_client=sdk.DefaultAsyncHttpxClient(transport=transport)
        )

    def respond(self, request: Any) -> Any:
        self.sent = request.content
        if b'"stream":true' in self.sent or b'"stream": true' in self.sent:
            return self.response(
                200, headers={**self.headers, "content-type": "text/event-stream"}, stream=self.wire(self.stream)
            )
        return self.response(200, headers={**self.headers, "content-type": "application/json"}, content=self.answer)


class Work:
    """The measured calls."""

    def __init__(self, tracer: Any) -> None:
        import anthropic
        import openai

        self.chat = Vendor(openai, "OpenAI", "https://api.openai.com/v1", ANSWER, HEADERS)
        self.message = Vendor(anthropic, "Anthropic", "https://api.anthropic.com", MESSAGE, MESSAGE_HEADERS)
        self.tracer = tracer
        self.runner = asyncio.Runner()

    def openai(self, count: int) -> None:
        create = self.chat.client.chat.completions.create
        for _ in range(count):
            create(**ASK)

    def openai_async(self, count: int) -> None:
        async def run() -> None:
            create = self.chat.aclient.chat.completions.create
            for _ in range(count):
                await create(**ASK)

        self.runner.run(run())

    def anthropic(self, count: int) -> None:
        create = self.message.client.messages.create
        for _ in range(count):
            create(**MESSAGE_ASK)

    def span(self, model: str) -> Any:
        from opentelemetry.trace import SpanKind

        return self.tracer.start_as_current_span(f"chat {model}", kind=SpanKind.CLIENT)

    def openai_by_hand(self, count: int) -> None:
        create = self.chat.client.chat.completions.create
        for _ in range(count):
            with self.span(ASK["model"]) as span:
                describe_chat(span, create(**ASK))

    def openai_async_by_hand(self, count: int) -> None:
        async def run() -> None:
            create = self.chat.aclient.chat.completions.create
            for _ in range(count):
                with self.span(ASK["model"]) as span:
                    describe_chat(span, await create(**ASK))

        self.runner.run(run())

    def anthropic_by_hand(self, count: int) -> None:
        create = self.message.client.messages.create
        for _ in range(count):
            with self.span(MESSAGE_ASK["model"]) as span:
                describe_message(span, MESSAGE_ASK, create(**MESSAGE_ASK))

    def openai_stream(self, count: int) -> None:
        for _ in range(count):
            for _chunk in self.chat.client.chat.completions.create(
                **ASK, stream=True, stream_options={"include_usage": True}
            ):
                pass

    def anthropic_stream(self, count: int) -> None:
        for _ in range(count):
            for _chunk in self.message.client.messages.create(**MESSAGE_ASK, stream=True):
                pass

    def chunk(self, vendor: Vendor, made: tuple[bytes, bytes], read: Callable[[int], None]) -> float:
        taken = []
        for body in made:
            vendor.stream = body
            taken.append(cpu(read, 1))
        return (taken[1] - taken[0]) / (LONG - SHORT)

    def once(self) -> None:
        """Each kind of call once, so that what is made when first used has been made."""
        self.chat.stream, self.message.stream = CHUNKS[0][0], CHUNKS[1][0]
        for do in (self.openai, self.openai_async, self.anthropic, self.openai_stream, self.anthropic_stream):
            do(1)


CHUNKS = (chat_chunks(SHORT), chat_chunks(LONG)), (message_events(SHORT), message_events(LONG))
MISSING = object()


class Switch:
    """Puts the functions a tracer has patched back, and patches them again."""

    def __init__(self) -> None:
        self.before = [(owner, dict(vars(owner))) for owner in self.owners()]
        self.patched: list[tuple[Any, str, Any, Any]] = []

    def owners(self) -> list[Any]:
        """The modules of the SDKs and of their HTTP libraries, and the classes in them."""
        roots = ("openai", "anthropic", "httpx", "httpx2")
        found: dict[int, Any] = {}
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in roots:
                found[id(module)] = module
                for value in list(vars(module).values()):
                    if isinstance(value, type) and value.__module__.partition(".")[0] in roots:
                        found[id(value)] = value
        return list(found.values())

    def find(self) -> None:
        """Note what has changed since this was made."""
        for owner, before in self.before:
            for name, new in list(vars(owner).items()):
                old = before.get(name, MISSING)
                added = old is MISSING and not isinstance(owner, type)  # a module's lazy import
                if old is not new and not added and callable(new) and not name.startswith(("__pydantic", "_abc")):
                    self.patched.append((owner, name, old, new))

    def turn(self, on: bool) -> None:
        for owner, name, old, new in self.patched:
            if on or old is not MISSING:
                setattr(owner, name, new if on else old)
            elif name in vars(owner):
                delattr(owner, name)


def timed(do: Callable[[int], None], calls: int, warm: int) -> tuple[float, float]:
    """Nanoseconds of CPU time a call: until it has returned, and with its export."""

    def flush() -> None:
        for processor in processors:
            processor.force_flush()

    do(warm)
    flush()
    gc.collect()
    start = time.process_time_ns()
    do(calls)
    returned = time.process_time_ns()
    flush()
    return (returned - start) / calls, (time.process_time_ns() - start) / calls


def one_round(work: Work, switch: Switch) -> dict[str, float]:
    """Nanoseconds of CPU time, by what was done and how it was traced."""
    taken: dict[str, list[float]] = {}
    for batch in range(BATCHES):
        ways = ("none", "by hand", "traced")
        for turn in range(len(ways)):  # who goes first changes
            way = ways[(batch + turn) % len(ways)]
            switch.turn(way == "traced")
            for name in ("openai", "openai_async", "anthropic"):
                do = getattr(work, name + "_by_hand" if way == "by hand" else name)
                returned, exported = timed(do, CALLS, 3)
                taken.setdefault(f"{name} {way}", []).append(returned)
                taken.setdefault(f"{name} exported {way}", []).append(exported)
    found = {name: median(batches) for name, batches in taken.items()}
    slopes: dict[str, list[float]] = {}
    for number in range(STREAMS):
        for way in ("none", "traced")[:: -1 if number % 2 else 1]:
            switch.turn(way == "traced")
            slopes.setdefault(f"openai_chunk {way}", []).append(work.chunk(work.chat, CHUNKS[0], work.openai_stream))
            slopes.setdefault(f"anthropic_chunk {way}", []).append(
                work.chunk(work.message, CHUNKS[1], work.anthropic_stream)
            )
    switch.turn(True)
    return found | {name: median(batches) for name, batches in slopes.items()}


def attempt(try_it: Callable[[], Any]) -> str:
    try:
        return str(try_it() or "fine")
    except Exception as error:
        return f"raises {type(error).__name__}"


def probe(work: Work, switch: Switch) -> dict[str, Any]:
    """What the tracer does to the calls, apart from what it costs."""
    import openai

    global probing  # noqa: PLW0603 - the processor must stay cheap while it is measured
    probing = True
    switch.turn(False)
    seen.ended = 0
    work.openai(1)
    time.sleep(0.2)
    if seen.ended:
        raise SystemExit("it cannot be switched off")
    switch.turn(True)
    seen.attributes = seen.ended = 0
    work.openai(1)
    time.sleep(0.2)
    found: dict[str, Any] = {"attributes": seen.attributes}
    vendor, create = work.chat, work.chat.client.chat.completions.create
    vendor.stream = chat_chunks(LONG)

    def stream() -> Any:
        opened = create(**ASK, stream=True)
        next(iter(opened))
        return opened

    found["class"] = attempt(lambda: "kept" if type(stream()) is openai.Stream else type(stream()).__name__)
    gc.collect()
    time.sleep(0.2)
    seen.ended = 0

    def dropped() -> str:
        stream()
        gc.collect()
        time.sleep(0.3)
        return "ends" if seen.ended else "leaks"

    def closed() -> str:
        seen.ended = 0
        stream().close()
        time.sleep(0.3)
        return "ends" if seen.ended else "leaks"

    def generator() -> str:
        create(**{**ASK, "messages": (message for message in ASK["messages"])})
        sent = len(json.loads(vendor.sent)["messages"])
        return "fine" if sent == len(ASK["messages"]) else f"sends {sent} of {len(ASK['messages'])}"

    def null() -> None:
        create(**ASK)

    def null_chunk() -> None:
        for _ in create(**ASK, stream=True):
            pass

    found |= {"dropped": attempt(dropped), "closed": attempt(closed), "generator": attempt(generator)}
    vendor.answer = json.dumps({**ANSWER, "choices": [None]}).encode()
    vendor.stream = events([{**ABOUT, "object": "chat.completion.chunk", "choices": [None]}]) + b"data: [DONE]\n\n"
    return found | {"null": attempt(null), "null_chunk": attempt(null_chunk)}


def serve(name: str) -> None:
    """Measure one round, or probe, whenever the driver says so."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a tracer prints is no answer
    from importlib import metadata

    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()
    provider.add_span_processor(counting())
    peer = next(peer for peer in PEERS if peer.name == name)
    if peer.exports:
        processors.append(provider)
    else:
        provider.add_span_processor(exporting())
    Work(None).once()  # what the SDKs load and build when first used is no patch
    switch = Switch()
    peer.start(provider)
    switch.find()
    work = Work(provider.get_tracer("by hand"))
    work.once()
    gc.collect()
    gc.freeze()
    print(json.dumps({found.name: found.version for found in metadata.distributions()}), file=answers)
    for line in sys.stdin:
        print(json.dumps(probe(work, switch) if line.strip() == "probe" else one_round(work, switch)), file=answers)
    os._exit(0)


# ---- the driver


class Worker:
    def __init__(self, peer: Peer, python: Path) -> None:
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
        self.log = CACHE / f"{folder(peer)}.log"
        self.process = subprocess.Popen(
            [python, __file__, "--worker", peer.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log.open("w"), text=True, env=kept | CLEAN,
        )  # fmt: skip

    def hear(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            last = [said for said in self.log.read_text().splitlines() if said.strip()]
            raise RuntimeError(last[-1] if last else "the process ended without a word")
        return json.loads(line)

    def ask(self, what: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.hear()

    def stop(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(30)


def folder(peer: Peer) -> str:
    return peer.name.replace(",", "").replace(" ", "-").lower()


def install(peer: Peer, keep: bool) -> Path:
    """The Python of the peer's environment, which is made or brought up to date."""
    home = CACHE / folder(peer)
    python = home / "bin" / "python"
    if keep and python.exists():
        return python
    if not python.exists():
        subprocess.run(["uv", "venv", "-q", "--python", platform.python_version(), home], check=True)
    wanted = [*peer.packages, "openai", "anthropic", "opentelemetry-sdk"]
    subprocess.run(["uv", "pip", "install", "-q", "--upgrade", "--python", python, *wanted], check=True)
    return python


@dataclass
class Result:
    peer: Peer
    worker: Worker
    versions: dict[str, str]
    rounds: list[dict[str, float]]
    probed: dict[str, Any]

    def middle(self, name: str, way: str) -> float:
        return median(found[f"{name} {way}"] for found in self.rounds) / 1e3

    def added(self, name: str, way: str = "traced") -> float:
        """Microseconds; what one round compares, it measured in the same seconds."""
        return median(found[f"{name} {way}"] - found[f"{name} none"] for found in self.rounds) / 1e3


def run(peers: list[Peer], rounds: int, keep: bool) -> tuple[list[Result], dict[str, str]]:
    """The results, and for what did not run the reason."""
    results: list[Result] = []
    failed: dict[str, str] = {}
    for peer in peers:
        print(f"preparing {peer.name}", file=sys.stderr)
        try:
            worker = Worker(peer, install(peer, keep))
            results.append(Result(peer, worker, worker.hear(), [], {}))
        except (RuntimeError, subprocess.CalledProcessError) as error:
            failed[peer.name] = str(error)
    for number in range(rounds):
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr)
        for result in results:
            result.rounds.append(result.worker.ask("round"))
    print(file=sys.stderr)
    for result in list(results):
        try:
            result.probed = result.worker.ask("probe")
        except RuntimeError as error:
            failed[result.peer.name] = str(error)
            results.remove(result)
        result.worker.stop()
    return results, failed


def table(results: list[Result]) -> Iterator[str]:
    yield (
        "| tracer | openai call | openai async call | anthropic call | openai chunk | anthropic chunk | attributes "
        "| stream dropped | stream closed early | class of the stream | `choices: [null]` | the same in a stream "
        "| generator of messages |"
    )
    yield "|" + "---|" * 13
    for result in results:
        probed = result.probed
        cells = [result.peer.name]
        for name in ("openai", "openai_async", "anthropic"):
            if name == "anthropic" and not result.peer.anthropic:
                cells.append("-")
                continue
            returned, exported = result.added(name), result.added(f"{name} exported")
            ratio = exported / result.added(f"{name} exported", "by hand")
            cells.append(f"{returned:.0f} / {exported:.0f} us ({ratio:.2f} x)")
        for name in ("openai_chunk", "anthropic_chunk"):
            cells.append(f"{result.added(name):.1f} us" if result.peer.anthropic or name != "anthropic_chunk" else "-")
        cells.append(str(probed["attributes"]))
        cells += [str(probed[name]) for name in ("dropped", "closed", "class", "null", "null_chunk", "generator")]
        yield "| " + " | ".join(cells) + " |"


def page(results: list[Result], failed: dict[str, str], rounds: int) -> Iterator[str]:
    yield from HEAD.format(
        date=datetime.now(UTC).date(), rounds=rounds, batches=BATCHES, calls=CALLS, short=SHORT, long=LONG,
        streams=STREAMS, python=platform.python_version(), cores=os.cpu_count(), machine=platform.machine(),
        load=f"{os.getloadavg()[0]:.1f}",
    ).splitlines()  # fmt: skip
    yield from table(results)
    yield from ("", "What each was, and how it was configured:", "")
    for result in results:
        packages = [name.partition("<")[0] for name in result.peer.packages if not name.startswith("-e")]
        names = [*packages, "openai", "anthropic", "opentelemetry-sdk"]
        versions = ", ".join(f"{name} {result.versions[name]}" for name in names)
        yield f"- **{result.peer.name}**: {result.peer.about} {versions}."
    for name, reason in failed.items():
        yield f"- **{name}** did not run: `{reason}`"
    yield from (
        "",
        "The bare SDK and the span by hand (until the call returns / with export), microseconds, per environment:",
        "",
    )
    yield "| environment | openai | by hand adds | openai async | by hand adds | anthropic | by hand adds |"
    yield "|" + "---|" * 7
    for result in results:
        cells = [result.peer.name]
        for name in ("openai", "openai_async", "anthropic"):
            added = result.added(name, "by hand"), result.added(f"{name} exported", "by hand")
            cells += [f"{result.middle(name, 'none'):.0f}", f"{added[0]:.0f} / {added[1]:.0f}"]
        yield "| " + " | ".join(cells) + " |"


HEAD = """\
# Benchmarks

`python benchmarks/peers.py --write docs/benchmarks.md` wrote this page on {date} (Python {python}, {cores} cores of
{machine}, load average {load} at the end). It measures the same calls through the real SDKs, which talk to a transport
that responds from memory, in one run for all tracers. Each has an environment of its own with the newest SDKs it
installs with, and one process there, which switches the tracer off and on between batches of calls by putting the SDK's
own functions back. The processes take turns, a short round each ({rounds} rounds of {batches} x {calls} calls of each
kind and way, and {streams} streams of {short} and of {long} chunks). Times are CPU time of the process, medians of the
batches and of the rounds; what is compared was measured in the same seconds of the same process. Message content is off
where a tracer lets one switch it off; an exporter behind a batch processor looks at every attribute and sends nothing.

- **call**: the microseconds that the tracer adds to a call until it has returned, and with the work of the exporter's
  thread; in brackets the latter over what a span written by hand adds that has the attributes llmtrace writes, in the
  same environment.
  The anthropic SDK opens a span of its own on every call, a do-nothing one where no provider is set; llmtrace takes its
  place and saves that.
- **chunk**: microseconds added to each chunk of a stream; differences of half a microsecond are noise.
- **attributes**: on the span of an openai call; fewer cost less.
- **stream dropped**, **closed early**: whether the span ends when a stream is left after its first chunk, without and
  with `close()`.
- **class of the stream**: whether `create(stream=True)` still returns the SDK's own `Stream`.
- The last three: a server that returns `"choices": [null]`, plain or in a stream, and messages passed as a generator.
  All three work without a tracer.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="measure this one (may be repeated)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write", type=Path, help="write the page there")
    parser.add_argument("--keep", action="store_true", help="use the environments there are, without an update")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        serve(given.worker)
    CACHE.mkdir(parents=True, exist_ok=True)
    peers = [peer for peer in PEERS if not given.only or peer.name in given.only]
    results, failed = run(peers, given.rounds, given.keep)
    text = "\n".join(page(results, failed, given.rounds)) + "\n"
    if given.write:
        given.write.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
