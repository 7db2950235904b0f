"""Keep spans while the backend is down, and send them later. Run ``python examples/survive_an_outage.py``."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

received: list[int] = []


class Backend(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        if self.path == "/v1/traces":
            received.append(len(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


PROGRAM = """
import llmtrace, openai
llmtrace.instrument()
client = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0)
try:
    client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": "hi"}])
except openai.APIConnectionError:
    pass  # nothing listens on this port; the span records the error
print("exported before exit:", llmtrace.flush(1))
"""

backend = HTTPServer(("127.0.0.1", 0), Backend, bind_and_activate=False)
backend.server_bind()  # reserve a port without listening on it yet
with tempfile.TemporaryDirectory() as spool:
    environ = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{backend.server_port}",
        "LLMTRACE_SPOOL": spool,
    }
    subprocess.run([sys.executable, "-c", PROGRAM], env=environ, check=True)
    print("requests at the backend:", len(received))
    backend.server_activate()
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    subprocess.run([sys.executable, "-m", "llmtrace", "spool", "drain"], env=environ, check=True)
    print("requests at the backend:", len(received))
backend.shutdown()
