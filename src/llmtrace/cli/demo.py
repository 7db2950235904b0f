"""``llmtrace demo``: a day of invented traffic through the real vendor SDKs, and what the commands say of it."""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from rich.progress import Progress

from .._settings import ConfigError, load
from ..export.routes import names as names_of_exporters
from ..export.routes import open_route
from ..store.read import TraceRow, spans_after, spans_of, traces_by
from ..store.schema import connect, demo_path
from ..store.send import readable
from ..store.span_codec import StoredSpan, record
from ..store.write import Writer
from ..telemetry import names
from ._vendor_server import PLAN, serve
from .terminal import console, echo, echo_error

__all__ = ["command", "run"]

_TRACES = 150
_DAY = 86400 * 10**9
_SLOWER = 10
_SEND_SECONDS = 10.0
_TIMES = (
    names.FIRST_CHUNK,
    names.STREAM_FIRST_TOKEN,
    names.STREAM_GAP_MEAN,
    names.STREAM_GAP_P95,
    names.STREAM_GAP_MAX,
)
_FEATURES = ("search", "search", "search", "support", "support", "digest")


@click.command("demo")
@click.option("--traces", default=_TRACES, show_default=True, type=click.IntRange(1, 5000), help="How much traffic.")
def command(traces: int) -> int:
    """A day of invented traffic through the real SDKs, and what the commands say of it.

    A server on the loopback interface stands in for the vendors, and the calls go to a store of their own. Where the
    standard variables name an OTLP endpoint (OTEL_EXPORTER_OTLP_ENDPOINT ...), the spans are sent there too; without
    one, everything stays on this machine.
    """
    return run(traces)


@dataclass(frozen=True, slots=True)
class _Question:
    """One thing a user of the invented product asks for."""

    feature: str
    user: str
    session: str
    prompt: str
    version: str
    began: int
    """Nanoseconds since the epoch."""
    rng: random.Random

    @property
    def attributes(self) -> dict[str, Any]:
        return {
            names.FEATURE: self.feature,
            names.USER: self.user,
            names.SESSION: self.session,
            names.PROMPT_NAME: self.prompt,
            names.PROMPT_VERSION: self.version,
        }


def run(traces: int = _TRACES) -> int:
    missing = [name for name in ("openai", "anthropic") if find_spec(name) is None]
    if missing:
        echo(f"llmtrace demo needs the vendor SDKs: pip install {' '.join(missing)}", file=sys.stderr)
        return 2
    path = demo_path()
    for old in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        old.unlink(missing_ok=True)
    _fill(path, traces)
    _show(path)
    return 0 if _send(path) else 1


def _fill(path: Path, traces: int) -> None:
    import llmtrace

    exporter = _Spread(path)
    provider = TracerProvider(resource=Resource({"service.name": "demo-shop"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    rng = random.Random(7)
    now = time.time_ns()
    # Busier by day: the sum of two draws is most often in the middle.
    began = sorted(now - int(_DAY * (rng.random() + rng.random()) / 2) - 60 * 10**9 for _ in range(traces))
    questions = [_question(random.Random(number), number, at) for number, at in enumerate(began)]
    out = console(stderr=True)
    with serve() as url, Progress(console=out, transient=True, disable=not out.is_terminal) as progress:
        llmtrace.instrument(tracer_provider=provider, store="off", estimate_usage="off")
        try:
            for name in ("openai", "anthropic"):
                import_module(name)
            task = progress.add_task("asking", total=len(questions))
            with _Shop(url, provider, exporter) as shop, ThreadPoolExecutor(8) as threads:
                for _ in threads.map(shop.answer, questions):
                    progress.advance(task)
            llmtrace.flush()
        finally:
            llmtrace.uninstrument()
            provider.shutdown()


def _question(rng: random.Random, number: int, began: int) -> _Question:
    feature = rng.choice(_FEATURES)
    # Version 4 of one prompt was rolled out in the afternoon, and says more than version 3 did.
    version = "4" if feature == "search" and number % 3 == 0 else "3"
    return _Question(
        feature, f"user-{min(rng.randrange(12), rng.randrange(12)):02}", f"session-{number // 3:03}",
        f"{feature}-answer", version, began, rng,
    )  # fmt: skip


class _Shop:
    """The invented product: three features over two vendors."""

    def __init__(self, url: str, provider: TracerProvider, exporter: _Spread) -> None:
        import anthropic
        import openai

        # No proxy on the way to the loopback interface; Anthropic's client reads the variables itself: the mount.
        direct = openai.DefaultHttpxClient(trust_env=False, mounts={"all://127.0.0.1": None})
        other = anthropic.DefaultHttpxClient(trust_env=False, mounts={"all://127.0.0.1": None})
        self._openai = openai.OpenAI(api_key="demo", base_url=f"{url}/v1", max_retries=0, http_client=direct)
        self._claude = anthropic.Anthropic(api_key="demo", base_url=url, max_retries=0, http_client=other)
        self._failures: tuple[type[Exception], ...] = (openai.APIStatusError, anthropic.APIStatusError)
        self._tracer = provider.get_tracer("llmtrace.demo")
        self._exporter = exporter

    def __enter__(self) -> _Shop:
        return self

    def __exit__(self, *_: object) -> None:
        self._openai.close()
        self._claude.close()

    def answer(self, question: _Question) -> None:
        steps: dict[str, Callable[[_Question], None]] = {
            "search": self._search,
            "support": self._support,
            "digest": self._digest,
        }
        attributes = {names.OPERATION: "invoke_workflow", "gen_ai.workflow.name": question.feature}
        name = f"invoke_workflow {question.feature}"
        with _tagged(question), self._tracer.start_as_current_span(name, attributes=attributes) as span:
            self._exporter.plan(span, question)
            with suppress(*self._failures):  # a rate limit: the product says "try again"
                steps[question.feature](question)

    def _search(self, question: _Question) -> None:
        self._openai.embeddings.create(
            model="text-embedding-3-small", input="How do I rotate a signing key?", encoding_format="float",
            extra_headers=_plan(input=9),
        )  # fmt: skip
        retrieval = {names.OPERATION: "retrieval", "gen_ai.data_source.id": "handbook"}
        with self._tracer.start_as_current_span("retrieval handbook", attributes=retrieval):
            time.sleep(0.005)
        rng = question.rng
        longer = 1.6 if question.version == "4" else 1.0
        stream = self._openai.chat.completions.create(
            model="gpt-4.1" if rng.random() < 0.35 else "gpt-4.1-mini",
            messages=[
                {"role": "system", "content": "Answer from the documents only."},
                {"role": "user", "content": f"How do I rotate signing key {rng.randrange(40)}?"},
            ],
            stream=True,
            stream_options={"include_usage": True},
            extra_headers=_plan(
                input=rng.randint(900, 2600), cached=rng.choice((0, 0, 768)), output=int(rng.randint(60, 240) * longer),
                pause=rng.uniform(0.004, 0.02), status=429 if rng.random() < 0.03 else 200,
                finish="content_filter" if rng.random() < 0.02 else "stop",
            ),
        )  # fmt: skip
        leave = rng.random() < 0.06
        for position, _ in enumerate(stream):
            if leave and position == 3:  # the user has closed the page
                break
        stream.close()

    def _support(self, question: _Question) -> None:
        rng = question.rng
        schema = {"type": "object", "properties": {"service": {"type": "string"}}}
        tools: Any = [{"name": "service_status", "description": "Status of a service", "input_schema": schema}]
        asked: Any = [{"role": "user", "content": "Is the key service up?"}]
        size, pause = rng.randint(1800, 5200), rng.uniform(0.005, 0.02)
        for tool in ("service_status", None):
            self._claude.messages.create(
                model="claude-sonnet-4-6", max_tokens=512, tools=tools, messages=asked,
                extra_headers=_plan(input=size, cached=size // 2, output=rng.randint(40, 320), pause=pause, tool=tool),
            )  # fmt: skip
            if tool:
                called = {names.OPERATION: "execute_tool", "gen_ai.tool.name": tool}
                with self._tracer.start_as_current_span(f"execute_tool {tool}", attributes=called):
                    time.sleep(0.01)

    def _digest(self, question: _Question) -> None:
        rng = question.rng
        self._openai.chat.completions.create(
            model="gpt-4.1-mini",
            messages=[{"role": "user", "content": "Summarise yesterday's tickets in five lines."}],
            extra_headers=_plan(input=rng.randint(6000, 14000), output=rng.randint(150, 400), pause=0.02),
        )


def _plan(**wanted: Any) -> dict[str, str]:
    return {PLAN: json.dumps(wanted)}


@contextmanager
def _tagged(question: _Question) -> Iterator[None]:
    """Say who asks for what, by the means a program would use, as far as this release has them."""
    import llmtrace

    tag = getattr(llmtrace, "tag", None)
    prompt = getattr(llmtrace, "prompt", None)
    scope = tag(feature=question.feature, user=question.user, session=question.session) if tag else nullcontext()
    named = prompt(question.prompt, version=question.version) if prompt else nullcontext()
    with scope, named:
        yield


class _Spread(SpanExporter):
    """Writes to the demo's store, each trace moved to its time of the day."""

    def __init__(self, path: Path) -> None:
        self._writer = Writer(connect(path, write=True))
        self._lock = threading.Lock()
        self._plans: dict[int, tuple[_Question, int]] = {}
        self._spans: list[StoredSpan] = []

    def plan(self, span: trace.Span, question: _Question) -> None:
        """All of the trace that ``span`` is the root of belongs to ``question``."""
        started = getattr(span, "start_time", None) or time.time_ns()
        with self._lock:
            self._plans[span.get_span_context().trace_id] = question, question.began - started

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._lock:
            for span in spans:
                told = record(span)
                question, shift = self._plans[int(told.trace_id, 16)]
                self._spans.append(_moved(told, question, shift))
            if len(self._spans) > 200:
                self._write()
        return SpanExportResult.SUCCESS

    def _write(self) -> None:
        self._writer.write(self._spans)
        self._spans = []

    def shutdown(self) -> None:
        with self._lock:
            self._write()
            self._writer.connection.close()


def _moved(span: StoredSpan, question: _Question, shift: int) -> StoredSpan:
    """The span at its time of the day, and as slow as a real vendor: the one on the loopback interface is ten times
    faster, so that nobody waits for the demo."""
    told = {**question.attributes, **span.attributes}
    for name in _TIMES:
        if name in told:
            told[name] *= _SLOWER
    if names.STREAM_SPEED in told:
        told[names.STREAM_SPEED] /= _SLOWER
    began = question.began
    started, ended = (began + (at + shift - began) * _SLOWER for at in (span.started, span.ended))
    return replace(span, attributes=told, started=started, ended=ended)


def _send(path: Path) -> bool:
    """Send the spans over OTLP where the standard variables ask for it, and say where to. False when that failed."""
    settings = load({"spool": "off"})
    done = True
    for name in names_of_exporters(settings):
        if not name.startswith("otlp"):
            continue
        try:
            route = open_route(name, settings)
        except ConfigError as error:
            echo_error(f"llmtrace demo: {error}")
            return False
        with closing(connect(path)) as store:
            spans = [readable(span) for _, span in spans_after(store, 0, limit=-1)]
        route.sink.write(spans)
        if route.sink.close(time.monotonic() + _SEND_SECONDS):
            echo()
            echo(f"Sent {len(spans)} spans to {route.where}")
        else:
            done = False
            echo_error(f"Could not send all of {len(spans)} spans to {route.where}; is it running?")
    return done


def _slowest(store: sqlite3.Connection, *features: str) -> Iterator[tuple[TraceRow, list[StoredSpan]]]:
    """The slowest trace of each of the features, where there is one."""
    wanted = [f"invoke_workflow {feature}" for feature in features]
    for row in traces_by(store, "slowest", limit=-1):
        spans = spans_of(store, row)
        if spans[0].name in wanted:
            wanted.remove(spans[0].name)
            yield row, spans
        if not wanted:
            return


def _show(path: Path) -> None:
    from ..report.aggregate import report
    from ..report.select import Selection
    from ..report.table import footnotes, tables
    from ..report.trace import waterfall

    out = console()
    with closing(connect(path)) as store:
        told = report(store, Selection(), ("feature",))
        out.print(tables(told, ("feature",), width=out.width))
        for note in footnotes(told.total):
            out.print(note, style="dim")
        for row, spans in _slowest(store, "search", "support"):
            out.print()
            out.print(waterfall(row, spans, width=out.width))
    where = "--store demo"
    out.print("\nGo on with:", style="bold")
    for line in (
        f"llmtrace report --by model,version {where}",
        f"llmtrace report --html report.html {where}",
        f"llmtrace compare version=3 version=4 --where feature=search {where}",
        f"llmtrace advise {where}",
        "llmtrace run your_program.py         then: llmtrace report",
    ):
        out.print(f"  {line}", soft_wrap=True)
