"""Where spans go: through a provider given, the application's own, OTLP or the file."""

from __future__ import annotations

import gc
import gzip
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from serving import QuietHandler, serving

SOURCE = Path(llmtrace.__file__).parents[1]

CALL = """
import json, sys
import llmtrace, openai
def call(**more):
    client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="x", max_retries=0, timeout=10)
    return client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], **more)
"""
FLUSHED = CALL + "llmtrace.instrument()\ncall()\nassert llmtrace.flush(10)\n"


def run(code: str, url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, url],
        env={**os.environ, "PYTHONPATH": str(SOURCE), **variables},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    """A loopback OTLP collector: its address and what was posted to it."""
    posted: list[tuple[str, str, bytes]] = []

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.path, self.headers["Content-Type"], body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}", posted


def test_passed_provider_is_used(replay: Any, spans: InMemorySpanExporter) -> None:
    """A call's span goes to the provider that instrument() was given."""
    with OpenAI(base_url=f"{replay.url}/v1", api_key="x", max_retries=0, timeout=10) as client:
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
    assert len(spans.get_finished_spans()) == 1


def test_global_provider_is_used_and_left_as_it_was(replay: Any, tmp_path: Path) -> None:
    """The application's provider, set after instrument(), gets the span and no processor of ours."""
    code = CALL + (
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import SimpleSpanProcessor\n"
        "from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter\n"
        "llmtrace.instrument()\n"
        "exporter, provider = InMemorySpanExporter(), TracerProvider()\n"
        "provider.add_span_processor(SimpleSpanProcessor(exporter))\n"
        "trace.set_tracer_provider(provider)\n"
        "before = provider._active_span_processor._span_processors\n"
        "call()\n"
        "llmtrace.flush()\n"
        "same = provider._active_span_processor._span_processors == before\n"
        "print(json.dumps([len(exporter.get_finished_spans()), same, trace.get_tracer_provider() is provider]))\n"
    )
    store = tmp_path / "spans.jsonl"
    assert json.loads(run(code, replay.url, LLMTRACE_STORE=str(store)).stdout) == [1, True, True]
    assert not store.exists()


def test_call_is_posted_as_otlp_over_http(replay: Any, collector: tuple[str, list[tuple[str, str, bytes]]]) -> None:
    """With an OTLP endpoint in the environment one call is one span posted to /v1/traces."""
    address, posted = collector
    run(FLUSHED, replay.url, OTEL_EXPORTER_OTLP_ENDPOINT=address)
    ((path, kind, body),) = posted
    assert (path, kind) == ("/v1/traces", "application/x-protobuf")
    request = ExportTraceServiceRequest.FromString(gzip.decompress(body))
    (span,) = [span for each in request.resource_spans for scope in each.scope_spans for span in scope.spans]
    attributes = {pair.key: pair.value.string_value for pair in span.attributes}
    assert span.name == "chat gpt-4o-mini"
    assert attributes["gen_ai.request.model"] == "gpt-4o-mini"


def test_file_is_private_and_announced_once(replay: Any, tmp_path: Path) -> None:
    """Without any destination the span is a line of a file only its owner may read, with one line on stderr."""
    store = tmp_path / "state" / "spans.jsonl"
    done = run(FLUSHED, replay.url, LLMTRACE_STORE=str(store))
    (line,) = store.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["name"] == "chat gpt-4o-mini"
    assert done.stderr.splitlines() == [f"llmtrace: writing spans to {store}"]
    if sys.platform != "win32":
        assert stat.S_IMODE(store.stat().st_mode) == 0o600
        assert stat.S_IMODE(store.parent.stat().st_mode) == 0o700


def test_store_off_writes_nothing(replay: Any, tmp_path: Path) -> None:
    """With LLMTRACE_STORE=off nothing is written and nothing is said."""
    done = run(FLUSHED, replay.url, LLMTRACE_STORE="off", XDG_STATE_HOME=str(tmp_path), HOME=str(tmp_path))
    assert done.stderr == ""
    assert not list(tmp_path.rglob("*.jsonl"))


class _Slow(SpanExporter):
    def __init__(self) -> None:
        self.ends: list[object] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        time.sleep(0.4)
        self.ends += [(span.attributes or {}).get("llmtrace.stream.end") for span in spans]
        return SpanExportResult.SUCCESS


def test_flush_waits_for_dropped_streams(replay: Any) -> None:
    """Flush is True only once the span of a dropped stream has passed a slow exporter."""
    exporter = _Slow()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=60000))
    llmtrace.instrument(tracer_provider=provider, strict=True)
    try:
        with OpenAI(base_url=f"{replay.url}/v1", api_key="x", max_retries=0, timeout=10) as client:
            stream = client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            next(iter(stream))
            del stream
            gc.collect()
            assert llmtrace.flush(0.05) is False
            assert exporter.ends == []
            assert llmtrace.flush(10) is True
            assert exporter.ends == ["dropped"]
    finally:
        llmtrace.uninstrument()
        provider.shutdown()


@pytest.mark.skipif(sys.version_info[:3] == (3, 13, 0), reason="crashes at exit in httpx2's timedelta, also without us")
def test_exit_with_an_open_stream_exports_it(replay: Any, tmp_path: Path) -> None:
    """A stream still open when the interpreter exits is exported as dropped at exit."""
    store = tmp_path / "spans.jsonl"
    code = CALL + "llmtrace.instrument()\nstream = call(stream=True)\nnext(iter(stream))\n"
    run(code, replay.url, LLMTRACE_STORE=str(store))
    (line,) = store.read_text(encoding="utf-8").splitlines()
    attributes = json.loads(line)["attributes"]
    assert attributes["llmtrace.stream.end"] == "dropped"
    assert attributes["llmtrace.stream.at_exit"] is True
