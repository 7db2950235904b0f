"""A long run: a million spans, a backend that goes away and comes back, and memory that must not grow.

Run it with ``python benchmarks/soak.py [SPANS]``. Status 1 when a span is missing or memory has grown.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from llmtrace._settings import load
from llmtrace.export.pipeline import Pipeline

BURST, AWAY_EVERY, AWAY_FOR = 500, 30.0, 5.0
ALLOWED_GROWTH_MB = 16


def serve() -> None:
    """A backend that answers 503 for five seconds out of thirty."""
    began = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            away = (time.monotonic() - began) % AWAY_EVERY > AWAY_EVERY - AWAY_FOR
            self.send_response(503 if away else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def resident() -> float:
    """Megabytes of memory now, or at most so far where the system does not say."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main(spans: int) -> int:
    backend = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    assert backend.stdout is not None
    port = backend.stdout.readline().strip()
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{port}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            pipeline = Pipeline(load({"spool": folder}))
            tracer = pipeline.provider().get_tracer("soak")
            sizes = []
            began = time.monotonic()
            for number in range(spans):
                tracer.start_span("chat", attributes={"gen_ai.response.id": str(number), "note": "x" * 200}).end()
                if number % BURST == 0:
                    time.sleep(0.02)
                if number % (spans // 20) == 0:
                    sizes.append(resident())
                    print(f"{number:>9,} spans {time.monotonic() - began:>6.0f} s {sizes[-1]:>7.1f} MB", flush=True)
            arrived = pipeline.shutdown(60)
            counts = pipeline.counts()[0]
            left = [path for path in Path(folder).iterdir()]
    finally:
        backend.kill()
        backend.wait()
    growth = max(sizes[10:]) - max(sizes[3:10])
    print(f"{counts}\nmemory grew by {growth:.1f} MB in the second half; left in the spool: {left}")
    return 0 if arrived and counts.exported == spans and growth < ALLOWED_GROWTH_MB and not left else 1


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
