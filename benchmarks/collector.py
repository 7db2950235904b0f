"""Throughput of four processes through an OpenTelemetry Collector, and the rate at which the Collector saturates.

Run it with ``python benchmarks/collector.py COLLECTOR [SECONDS]``, where ``COLLECTOR`` is the program that
``nox -s backends`` builds. Each row is a new Collector with a configuration of ``docs/how-to/backends/collector``. Four
processes end spans of 22 attributes at a fixed rate and export them with llmtrace, or post encoded requests of 512
spans as fast as the Collector acknowledges them. A receiver behind the Collector counts the spans.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server
from threading import Lock, Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from export import ATTRIBUTES, SOURCE

CONFIGURATIONS = Path(__file__).parents[1] / "docs" / "how-to" / "backends" / "collector"
PROCESSES = 4
RATES = (1000, 4000, 8000)
"""Spans a second of all processes together."""
SPANS_PER_REQUEST = 512
SPAN_NAME = "chat benchmarked-model"
MAX_WAIT_SECONDS = 60.0
ROWS = [
    *(("tail-sampling.yaml", rate) for rate in RATES),
    *(("queue.yaml", rate) for rate in RATES),
    ("queue.yaml", None),
    ("queue.yaml in memory", None),
]
"""Configuration and rate; without a rate requests are posted as fast as they are acknowledged."""


class Receiver(ThreadingHTTPServer):
    """Backend that counts the spans of each request by their name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _CountingHandler)
        self.lock = Lock()
        self.delivered = 0
        self.last_delivery = 0.0


class _CountingHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        receiver = self.server
        assert isinstance(receiver, Receiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        with receiver.lock:
            receiver.delivered += body.count(SPAN_NAME.encode())
            receiver.last_delivery = time.time()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def end_spans(tracer: Any, count: int) -> None:
    for number in range(count):
        tracer.start_span(SPAN_NAME, attributes={**ATTRIBUTES, "gen_ai.response.id": f"{number}"}).end()


def export_at_rate(rate: float, seconds: float) -> int:
    """End spans at a fixed rate, or as fast as possible if that is slower; return how many llmtrace exported."""
    from llmtrace._settings import load
    from llmtrace.export.pipeline import Pipeline

    pipeline = Pipeline(load({}))
    tracer = pipeline.provider().get_tracer("benchmark")
    began, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < seconds:
        due = min(int(elapsed * rate) - count, 200)  # no bursts that no program makes
        end_spans(tracer, due)
        count += due
        time.sleep(0.01)
    pipeline.flush(MAX_WAIT_SECONDS)
    exported = pipeline.counts()[0].exported
    if exported < count:
        print(f"{count - exported} of {count} spans were lost", file=sys.stderr)
    return exported


def post_encoded(port: int, seconds: float) -> int:
    """Post an encoded request again and again; return the number of spans that were acknowledged."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    end_spans(provider.get_tracer("benchmark"), SPANS_PER_REQUEST)
    body = gzip.compress(encode_spans(exporter.get_finished_spans()).SerializeToString())
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    deadline, count = time.perf_counter() + seconds, 0
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=MAX_WAIT_SECONDS)) as connection:
        while time.perf_counter() < deadline:
            connection.request("POST", "/v1/traces", body, headers)
            response = connection.getresponse()
            response.read()
            if response.status == 200:
                count += SPANS_PER_REQUEST
            else:  # its queue is full
                time.sleep(0.05)
    return count


def free_port() -> int:
    with create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def run_collector(command: str, title: str, receiver_port: int, folder: str) -> Iterator[tuple[int, int]]:
    """Run a Collector with a documented configuration; yield its port and process id."""
    name, _, in_memory = title.partition(" ")
    text = (CONFIGURATIONS / name).read_text(encoding="utf-8")
    port = free_port()
    for documented, actual in {4318: port, 4317: free_port(), 8889: free_port(), 14318: receiver_port}.items():
        text = re.sub(rf":{documented}\b", f":{actual}", text)
    text = text.replace("/var/lib/otelcol", folder).replace("decision_wait: 10s", "decision_wait: 1s")
    if in_memory:
        text = text.replace("      storage: file_storage\n", "")
    text = text.replace("service:\n", "service:\n  telemetry:\n    metrics:\n      level: none\n")
    config = Path(folder, "config.yaml")
    config.write_text(text, encoding="utf-8")
    process = subprocess.Popen([command, "--config", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port))
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        urlopen(f"http://127.0.0.1:{port}", timeout=5)
    except HTTPError:
        return True
    except URLError:
        return False
    return True


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def cpu_seconds(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(process_id: int) -> float:
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{process_id}/status").read_text(encoding="ascii"))
    return int(kilobytes) / 1024


def measure(command: str, title: str, rate: int | None, seconds: float) -> str:
    """Return a row of the table."""
    with Receiver() as receiver, tempfile.TemporaryDirectory() as folder:
        Thread(target=receiver.serve_forever, daemon=True).start()
        with run_collector(command, title, receiver.server_port, folder) as (port, process_id):
            work = ["post", str(port)] if rate is None else ["export", str(rate / PROCESSES)]
            environ = {**os.environ, "PYTHONPATH": str(SOURCE), "LLMTRACE_SPOOL": f"{folder}/spool"}
            environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{port}"
            line = [sys.executable, __file__, *work, str(seconds)]
            cpu = cpu_seconds(process_id)
            processes = [
                subprocess.Popen(line, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
            ]
            results = [json.loads(process.communicate()[0]) for process in processes]
            sent = sum(result["spans"] for result in results)
            if title.startswith("tail"):
                time.sleep(5)  # most spans are not delivered
            else:
                wait_until(lambda: receiver.delivered >= sent)
            cpu, memory = cpu_seconds(process_id) - cpu, peak_megabytes(process_id)
        receiver.shutdown()
    sending = max(result["ended"] for result in results) - min(result["began"] for result in results)
    sender = sum(result["cpu"] for result in results) / sent * 1e6
    waited = max(0.0, receiver.last_delivery - max(result["ended"] for result in results))
    offered = "as fast as possible" if rate is None else f"{rate:,}"
    return (
        f"| {title} | {offered} | {sent / sending:,.0f} | {receiver.delivered / sent:.1%} | {waited:.1f} s "
        f"| {cpu / sent * 1e6:.0f} us | {memory:.0f} MB | {sender:.0f} us |"
    )


def run_process(work: Any, argument: float, seconds: float) -> None:
    """Do the work of one of the processes and print what it took."""
    work(argument, 0.0)  # imports everything
    began, cpu = time.time(), time.process_time()
    count = work(argument, seconds)
    result = {"spans": count, "began": began, "ended": time.time(), "cpu": time.process_time() - cpu}
    print(json.dumps(result))


def main(command: str, seconds: str = "15") -> None:
    print(f"{PROCESSES} processes, {seconds} s, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}\n")
    print("| configuration | offered spans/s | acknowledged spans/s | delivered | after | Collector CPU/span", end="")
    print(" | Collector memory | sender CPU/span |\n|---|---|---|---|---|---|---|---|")
    for title, rate in ROWS:
        print(measure(command, title, rate, float(seconds)), flush=True)
    print(f"\nload average {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["export", rate, seconds]:
            run_process(export_at_rate, float(rate), float(seconds))
        case ["post", port, seconds]:
            run_process(post_encoded, int(port), float(seconds))
        case arguments:
            main(*arguments)
