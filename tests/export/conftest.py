"""What the tests of the export share: a backend, a spool folder and programs that trace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

import llmtrace
from llmtrace._settings import load
from llmtrace.export.pipeline import Pipeline
from serving import programs

from .backend import Backend, spans_of

SOURCE = Path(llmtrace.__file__).parents[1]

PROGRAM = """
import json, os, sys, time
from functools import partial
from llmtrace._local_store import open_store
from llmtrace._settings import load
from llmtrace.export import exit_hooks
from llmtrace.export.pipeline import Pipeline

settings = load({})
pipeline = Pipeline(settings, open_store=partial(open_store, settings, None))
pipeline.prepare()
tracer = pipeline.provider().get_tracer("program")
exit_hooks.register(lambda: pipeline.shutdown(float(os.environ.get("LLMTRACE_FLUSH_TIMEOUT", "5"))))

def call(name):
    tracer.start_span(name).end()
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend() as server:
        yield server


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def start(backend: Backend, spool: Path) -> Iterator[Start]:
    """Starts a program that traces; what still runs at the end of the test is killed."""
    with programs() as running:

        def start_program(code: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
            environ = {
                **os.environ,
                "PYTHONPATH": str(SOURCE),
                "OTEL_EXPORTER_OTLP_ENDPOINT": backend.url,
                "OTEL_BSP_SCHEDULE_DELAY": "100",
                "LLMTRACE_SPOOL": str(spool),
                **variables,
            }
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM + code, *arguments],
                env=environ,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            running.append(process)
            return process

        yield start_program


@pytest.fixture
def run(start: Start) -> Callable[..., str]:
    """Runs a program to its end, which must be a good one, and returns what it printed."""

    def run_program(code: str, *arguments: str, **variables: str) -> str:
        process = start(code, *arguments, **variables)
        out, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
        return out

    return run_program


@pytest.fixture
def drain(backend: Backend, spool: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """The next start of the program: it traces one span called ``restart``, and what was left goes with it."""

    def restart_program() -> bool:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", backend.url)
        pipeline = Pipeline(load({"spool": spool}))
        pipeline.provider().get_tracer("restart").start_span("restart").end()
        well = pipeline.shutdown(30)
        assert not list(spool.rglob("*.seg"))
        return well

    return restart_program


class Servicer(TraceServiceServicer):  # type: ignore[misc]
    """Handler that keeps the names of spans, after the failures that a test has set."""

    def __init__(self) -> None:
        self.failures: list[tuple[grpc.StatusCode, float | None]] = []
        self.names: list[str] = []
        self.requests = 0
        self.metadata: dict[str, Any] = {}

    def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:
        self.requests += 1
        self.metadata = dict(context.invocation_metadata())
        if self.failures:
            code, after = self.failures.pop(0)
            if after is not None:
                delay = Duration(nanos=int(after * 1e9))
                info = RetryInfo(retry_delay=delay).SerializeToString()
                context.set_trailing_metadata((("google.rpc.retryinfo-bin", info),))
            context.abort(code, "not now")
        self.names += [span.name for span in spans_of(request)]
        return ExportTraceServiceResponse()


@pytest.fixture
def grpc_server() -> Iterator[tuple[str, Servicer]]:
    servicer = Servicer()
    """A gRPC backend: its address and the names that it received."""
    running = grpc.server(futures.ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(servicer, running)
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    try:
        yield f"http://127.0.0.1:{port}", servicer
    finally:
        running.stop(None).wait(5)
