"""``llmtrace demo``: a day of invented traffic with the real vendor SDKs, and reports on it."""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
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

import llmtrace

from .._settings import ConfigError, load
from ..export.routes import Routes
from ..store.read import TraceRow, spans_after, spans_of, traces_by
from ..store.schema import connect, demo_path
from ..store.send import readable
from ..store.span_codec import StoredSpan, record
from ..store.write import Writer
from ..telemetry import names
from ._vendor_server import PLAN, serve
from .terminal import console, echo

_TRACES = 150
_DAY_NANOSECONDS = 86400 * 10**9
_SLOWDOWN = 10
"""Factor between the times of the local server and those in the store."""
_SEND_SECONDS = 10.0
_TIME_ATTRIBUTES = (
    names.FIRST_CHUNK,
    names.STREAM_FIRST_TOKEN,
    names.STREAM_GAP_MEAN,
    names.STREAM_GAP_P95,
    names.STREAM_GAP_MAX,
)
_FEATURES = ("search", "search", "search", "support", "support", "digest")


@dataclass(frozen=True, slots=True)
class _Question:
    """One request of a user to the invented product."""

    feature: str
    user: str
    session: str
    version: str
    began: int
    """Start in nanoseconds since the epoch."""
    rng: random.Random


@click.command("demo")
@click.option(
    "--traces", default=_TRACES, show_default=True, type=click.IntRange(1, 5000), help="Number of traces to generate."
)
def command(traces: int) -> int:
    """Generate a day of invented traffic with the real SDKs and show reports on it.

    A local server imitates the vendors, and the calls go to a separate store. If the standard variables name an OTLP
    endpoint (OTEL_EXPORTER_OTLP_ENDPOINT ...), the spans are also sent there. Otherwise, nothing leaves this machine.
    """
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
    exporter = _TimeShiftingExporter(path)
    provider = TracerProvider(resource=Resource({"service.name": "demo-shop"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    rng = random.Random(7)
    now = time.time_ns()
    # Add two random numbers: most traffic falls in the middle of the day.
    began = sorted(now - int(_DAY_NANOSECONDS * (rng.random() + rng.random()) / 2) - 60 * 10**9 for _ in range(traces))
    questions = [_question(random.Random(number), number, at) for number, at in enumerate(began)]
    out = console(stderr=True)
    with serve() as url, Progress(console=out, transient=True, disable=not out.is_terminal) as progress:
        llmtrace.instrument(tracer_provider=provider, store="off", estimate_usage="off")
        try:
            for name in ("openai", "anthropic"):
                import_module(name)
            task = progress.add_task("calling", total=len(questions))
            with closing(_Shop(url, exporter)) as shop, ThreadPoolExecutor(8) as threads:
                for _ in threads.map(shop.answer, questions):
                    progress.advance(task)
            llmtrace.flush()
        finally:
            llmtrace.uninstrument()
            provider.shutdown()


def _question(rng: random.Random, number: int, began: int) -> _Question:
    feature = rng.choice(_FEATURES)
    # Version 4 of one prompt is in use for every third search; its responses are longer than those of version 3.
    version = "4" if feature == "search" and number % 3 == 0 else "3"
    return _Question(
        feature,
        f"user-{min(rng.randrange(12), rng.randrange(12)):02}",
        f"session-{number // 3:03}",
        version,
        began,
        rng,
    )


class _Shop:
    """The invented product: three features with two vendors."""

    def __init__(self, url: str, exporter: _TimeShiftingExporter) -> None:
        import anthropic
        import openai

        # Bypass proxies. Anthropic's client reads the proxy variables itself: only the mount prevents that.
        direct = openai.DefaultHttpxClient(trust_env=False, mounts={"all://127.0.0.1": None})
        other = anthropic.DefaultHttpxClient(trust_env=False, mounts={"all://127.0.0.1": None})
        self._openai = openai.OpenAI(api_key="demo", base_url=f"{url}/v1", max_retries=0, http_client=direct)
        self._claude = anthropic.Anthropic(api_key="demo", base_url=url, max_retries=0, http_client=other)
        self._failures: tuple[type[Exception], ...] = (openai.APIStatusError, anthropic.APIStatusError)
        self._exporter = exporter

    def close(self) -> None:
        """Close the clients."""
        self._openai.close()
        self._claude.close()

    def answer(self, question: _Question) -> None:
        steps: dict[str, Callable[[_Question], None]] = {
            "search": self._search,
            "support": self._support,
            "digest": self._digest,
        }
        with (
            llmtrace.tag(feature=question.feature, user=question.user, session=question.session),
            llmtrace.prompt(f"{question.feature}-answer", version=question.version),
            llmtrace.workflow(question.feature),
        ):
            self._exporter.plan(trace.get_current_span(), question.began)
            with suppress(*self._failures):  # a rate limit: the product shows an error to its user
                steps[question.feature](question)

    def _search(self, question: _Question) -> None:
        self._openai.embeddings.create(
            model="text-embedding-3-small", input="How do I rotate a signing key?", encoding_format="float",
            extra_headers=_plan(input=9),
        )  # fmt: skip
        with llmtrace.retrieval("handbook"):
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
        closes_early = rng.random() < 0.06
        for position, _ in enumerate(stream):
            if closes_early and position == 3:  # the user has closed the page
                break
        stream.close()

    def _support(self, question: _Question) -> None:
        rng = question.rng
        schema = {"type": "object", "properties": {"service": {"type": "string"}}}
        tools: Any = [{"name": "service_status", "description": "Status of a service", "input_schema": schema}]
        messages: Any = [{"role": "user", "content": "Is the key service up?"}]
        size, pause = rng.randint(1800, 5200), rng.uniform(0.005, 0.02)
        for tool in ("service_status", None):
            self._claude.messages.create(
                model="claude-sonnet-4-6", max_tokens=512, tools=tools, messages=messages,
                extra_headers=_plan(input=size, cached=size // 2, output=rng.randint(40, 320), pause=pause, tool=tool),
            )  # fmt: skip
            if tool:
                with llmtrace.tool(tool):
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


class _TimeShiftingExporter(SpanExporter):
    """Exporter to the demo's store that moves each trace to its time of the day."""

    def __init__(self, path: Path) -> None:
        self._writer = Writer(connect(path, write=True))
        self._lock = threading.Lock()
        self._plans: dict[int, tuple[int, int]] = {}
        self._spans: list[StoredSpan] = []

    def plan(self, span: trace.Span, began: int) -> None:
        """Move the trace with root ``span`` to a start in nanoseconds."""
        started = getattr(span, "start_time", None) or time.time_ns()
        with self._lock:
            self._plans[span.get_span_context().trace_id] = began, began - started

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep the spans, shifted in time, and write them in batches."""
        with self._lock:
            for span in spans:
                stored = record(span)
                self._spans.append(_moved(stored, *self._plans[int(stored.trace_id, 16)]))
            if len(self._spans) > 200:
                self._write()
        return SpanExportResult.SUCCESS

    def _write(self) -> None:
        self._writer.write(self._spans)
        self._spans = []

    def shutdown(self) -> None:
        """Write the remaining spans and close the store."""
        with self._lock:
            self._write()
            self._writer.connection.close()


def _moved(span: StoredSpan, began: int, shift: int) -> StoredSpan:
    """Move a span to its time of the day and slow it down to the speed of a real vendor.

    The local server is ten times faster, which keeps the demo short.
    """
    attributes = dict(span.attributes)
    for name in _TIME_ATTRIBUTES:
        if name in attributes:
            attributes[name] *= _SLOWDOWN
    if names.STREAM_SPEED in attributes:
        attributes[names.STREAM_SPEED] /= _SLOWDOWN
    started, ended = (began + (at + shift - began) * _SLOWDOWN for at in (span.started, span.ended))
    return replace(span, attributes=attributes, started=started, ended=ended)


def _send(path: Path) -> bool:
    """Send the spans to the OTLP endpoint of the standard variables, if any. Return False if that failed."""
    routes = Routes(load({"spool": "off"}))
    done = True
    for name in routes.names():
        if not name.startswith("otlp"):
            continue
        try:
            route = routes.open(name)
        except ConfigError as error:
            echo(f"llmtrace demo: {error}", file=sys.stderr)
            return False
        with closing(connect(path)) as store:
            spans = [readable(span) for _, span in spans_after(store, 0, limit=-1)]
        route.sink.write(spans)
        if route.sink.close(time.monotonic() + _SEND_SECONDS):
            echo()
            echo(f"Sent {len(spans)} spans to {route.where}")
        else:
            done = False
            echo(file=sys.stderr)
            echo(
                f"Could not send all of {len(spans)} spans to {route.where}; check that it is running", file=sys.stderr
            )
    return done


def _slowest(store: sqlite3.Connection, *features: str) -> Iterator[tuple[TraceRow, list[StoredSpan]]]:
    """Yield the slowest trace of each feature that has one."""
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
        result = report(store, Selection(), ("feature",))
        out.print(tables(result, ("feature",), width=out.width))
        for note in footnotes(result.total):
            out.print(note, style="dim")
        for row, spans in _slowest(store, "search", "support"):
            out.print()
            out.print(waterfall(row, spans, width=out.width))
    option = "--store demo"
    out.print("\nNext steps:", style="bold")
    for line in (
        f"llmtrace report --by model,version {option}",
        f"llmtrace report --html report.html {option}",
        f"llmtrace compare version=3 version=4 --where feature=search {option}",
        f"llmtrace advise {option}",
        "llmtrace run your_program.py         then: llmtrace report",
    ):
        out.print(f"  {line}", soft_wrap=True)
