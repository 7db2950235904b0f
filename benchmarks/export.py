"""Cost of export: CPU per span and spans per second with the disk spool, without it, and with the stock exporter.

Run it with ``python benchmarks/export.py [SPANS] [ROUNDS]``. Every measurement is a process of its own that ends spans
of 22 attributes and flushes; the backend is another process, whose time does not count. Who goes first changes each
round, and the best round counts, which is the one that other work on the machine disturbed least.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1] / "src"
WAYS = ("stock exporter", "spool off", "spool on")
ATTRIBUTES: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.finish_reasons": ["stop"],
    "server.address": "api.openai.com",
    "server.port": 443,
    "llmtrace.outcome": "ok",
    "llmtrace.request_id": "req_0123456789abcdef",
    "openai.response.system_fingerprint": "fp_0123456789",
    "gen_ai.request.temperature": 0.2,
    **{f"gen_ai.usage.kind_{number}": number * 1000 for number in range(10)},
}


def serve() -> None:
    """The backend: takes everything, counts requests, forgets it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def measure(way: str, spans: int) -> None:
    """One process: the CPU time and the time of ``spans`` spans from the first to the end of the flush."""
    if way == "stock exporter":
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        stock = TracerProvider()
        # Its default queue would drop most of a burst.
        stock.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(compression=Compression.Gzip)))
        provider: Any = stock
        flush: Any = stock.force_flush
    else:
        from llmtrace._settings import load
        from llmtrace.export.pipeline import Pipeline

        pipeline = Pipeline(load({}))
        provider = pipeline.provider()

        def flush() -> bool:
            return pipeline.flush(60)

    tracer = provider.get_tracer("benchmark")

    def work(count: int) -> None:
        for number in range(count):
            tracer.start_span("chat gpt-4o-mini", attributes={**ATTRIBUTES, "gen_ai.response.id": f"{number}"}).end()
            if number % 200 == 0:
                time.sleep(0.005)  # nobody's queue overflows

    work(1000)
    assert flush()
    cpu, began = time.process_time(), time.perf_counter()
    work(spans)
    assert flush()
    taken = {"cpu": time.process_time() - cpu, "time": time.perf_counter() - began}
    if way != "stock exporter":
        assert pipeline.counts()[0].exported == spans + 1000
    print(json.dumps(taken))


def main(spans: int = 20_000, rounds: int = 5) -> None:
    backend = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    assert backend.stdout is not None
    port = backend.stdout.readline().strip()
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    try:
        with tempfile.TemporaryDirectory() as folder:
            environ = {
                **os.environ,
                "PYTHONPATH": str(SOURCE),
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
                "OTEL_BSP_MAX_QUEUE_SIZE": "16384",
            }
            for number in range(rounds):
                for turn in range(len(WAYS)):
                    way = WAYS[(number + turn) % len(WAYS)]
                    spool = folder if way == "spool on" else "off"
                    done = subprocess.run(
                        [sys.executable, __file__, "measure", way, str(spans)],
                        env={**environ, "LLMTRACE_SPOOL": spool},
                        stdout=subprocess.PIPE,
                        text=True,
                        check=True,
                    )
                    found[way].append(json.loads(done.stdout))
    finally:
        backend.kill()
        backend.wait()
    print(f"Python {sys.version.split()[0]}, {spans} spans of {len(ATTRIBUTES) + 1} attributes, best of {rounds}\n")
    print(f"{'':16}{'CPU a span':>14}{'spans a second':>17}{'of the stock':>15}{'of spool off':>15}")
    each = {way: min(one["cpu"] for one in found[way]) / spans * 1e6 for way in WAYS}
    for way in WAYS:
        rate = spans / min(one["time"] for one in found[way])
        ratios = f"{each[way] / each[WAYS[0]]:>14.2f}x{each[way] / each[WAYS[1]]:>14.2f}x"
        print(f"{way:16}{each[way]:>11.1f} us{rate:>17,.0f}{ratios}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["measure", way, spans]:
            measure(way, int(spans))
        case numbers:
            main(*map(int, numbers))
