"""Helpers of the contract tests: a server that sends hostile responses, and faults inside llmtrace."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

import llmtrace
from aws_frames import aws_frames
from conformance.checks import check_metrics, check_span
from llmtrace.telemetry import spans as emit_spans
from serving import QuietHandler

__all__ = [
    "COLOURS",
    "FUZZ",
    "Broken",
    "Interrupted",
    "Server",
    "blame",
    "boom",
    "break_describer",
    "dump",
    "traced",
    "warned",
]

COLOURS = ("sync", "async")


FUZZ = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class _Handler(QuietHandler):
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        # Read it now: the test may set the next one as soon as the client has the headers.
        kind, body = self.server.kind, self.server.body
        if self.server.frames is not None and self.path.endswith("-stream"):
            kind, body = "application/vnd.amazon.eventstream", self.server.frames
        self.send_response(self.server.status)
        self.send_header("content-type", kind)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Server that sends the same given response to every request."""

    daemon_threads = True
    status, kind, body = 200, "application/json", b"{}"
    frames: bytes | None = None
    """The events in the frames of AWS, for the paths of Bedrock."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.headers: dict[str, str] = {}

    def json(self, answer: Any, status: int = 200) -> None:
        self.raw(json.dumps(answer).encode(), status=status)

    def events(self, chunks: list[Any], *, done: bool = True) -> None:
        lines = [f"event: {_event_name(chunk)}\ndata: {json.dumps(chunk)}\n\n" for chunk in chunks]
        self.raw("".join([*lines, "data: [DONE]\n\n" * done]).encode(), kind="text/event-stream")
        self.frames = b"".join(aws_frames(chunks))

    def raw(self, body: bytes, *, status: int = 200, kind: str = "application/json") -> None:
        self.body, self.status, self.kind, self.frames = body, status, kind, None


def _event_name(chunk: Any) -> str:
    name = chunk.get("type") if isinstance(chunk, dict) else None
    return name if isinstance(name, str) and name.isidentifier() and name.isascii() else "message_delta"


@contextmanager
def traced(*, conforming: bool = True) -> Iterator[InMemorySpanExporter]:
    """Instrument as an application does, so that internal faults are logged and not raised.

    Args:
        conforming: True if spans and metrics must follow the conventions, as they must without an internal fault.
    """
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    nowhere = Resource.get_empty()  # detectors take longer than a call
    provider, meters = TracerProvider(resource=nowhere), MeterProvider([reader], resource=nowhere)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    llmtrace.instrument(tracer_provider=provider, meter_provider=meters, strict=False)
    try:
        yield exporter
    finally:
        llmtrace.uninstrument()
        provider.shutdown()
        findings = [finding for span in exporter.get_finished_spans() for finding in check_span(span)]
        findings += check_metrics(reader.get_metrics_data())
        meters.shutdown()
    assert not conforming or findings == []


def dump(value: Any) -> tuple[str, str]:
    try:
        shown = repr(value.model_dump(warnings=False)) if isinstance(value, BaseModel) else repr(value)
    except Exception as error:  # what the vendor's model cannot show, it cannot show in either run
        shown = f"no dump: {type(error)!r}"
    return repr(type(value)), shown


def blame(error: BaseException | None) -> list[str]:
    """Return the types of an exception, of its context and of its cause."""
    assert error is not None
    return [repr(type(error)), repr(type(error.__context__)), repr(type(error.__cause__))]


def boom(*_: Any, **__: Any) -> Any:
    raise RuntimeError("ours")


class Broken:
    """Accumulator that fails at a given point."""

    def __init__(self, inner: Any, *where: str) -> None:
        self._inner = inner
        self._where = where

    def __getattr__(self, name: str) -> Any:
        if name in self._where:
            return boom() if name == "ended" else boom
        return getattr(self._inner, name)


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings about internal faults, without those of earlier tests' exporters."""
    text = (one.getMessage() for one in caplog.records if one.name == "llmtrace" and one.levelno == logging.WARNING)
    return [message for message in text if message.startswith("llmtrace could not")]


def break_describer(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    broken = [boom if describe.__name__ == name else describe for describe in emit_spans.DESCRIBERS]
    monkeypatch.setattr(emit_spans, "DESCRIBERS", broken)


class Interrupted(BaseException):
    """Exception that no SDK catches."""
