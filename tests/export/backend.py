"""An OTLP backend on the loopback interface with faults on request."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
import time
import zlib
from collections import Counter
from http.server import ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from serving import QuietHandler, free_port

_EXPAND = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}


class Backend:
    """Counts each span it acknowledged, by name.

    ``mode`` is ``ok``, a status to answer, ``hang`` (accept, never answer), ``cut`` (close unanswered) or ``slow``.
    """

    def __init__(self, port: int = 0) -> None:
        self.mode: str | int = "ok"
        self.retry_after: str | None = None
        self.largest: int | None = None
        self.chokes_on: bytes | None = None
        self.rejects = 0
        self.names: Counter[str] = Counter()
        self.requests: list[ExportTraceServiceRequest] = []
        self.others: dict[str, list[bytes]] = {"/v1/metrics": [], "/v1/logs": []}
        """Requests that hold no spans, by path."""
        self.replays = 0
        """Requests that came a second time, byte for byte, after they had been acknowledged."""
        self.headers: list[dict[str, str]] = []
        self.attempts: list[float] = []
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        if port == 0:
            port = free_port()
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def up(self) -> Backend:
        backend = self

        class Handler(QuietHandler):
            timeout = 30

            def do_POST(self) -> None:
                backend._serve(self)

            def do_GET(self) -> None:
                """``/ok`` ends the misbehaving."""
                backend.mode = self.path.removeprefix("/")
                self.send_response(204)
                self.end_headers()

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                """A client that was killed is part of the tests."""

        self._released.clear()
        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def down(self) -> None:
        self._released.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def _serve(self, request: Any) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        mode = self.mode  # before anybody can see the attempt, and then change it
        with self._lock:
            self.attempts.append(time.monotonic())
            self.headers.append(dict(request.headers.items()))
        raw = _EXPAND[request.headers.get("Content-Encoding")](body)
        if mode == "hang":
            self._released.wait(60)
            mode = "cut"
        if mode == "cut":
            request.close_connection = True
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        if mode == "slow":
            time.sleep(0.5)
            mode = "ok"
        if self.largest is not None and len(raw) > self.largest:
            mode = 413
        if self.chokes_on is not None and self.chokes_on in raw:
            mode = 500
        status, answer = 200, b""
        if isinstance(mode, int):
            status = mode
        else:
            answer = self._take(body, raw) if request.path == "/v1/traces" else self._take_other(request.path, raw)
        request.send_response(status)
        request.send_header("Content-Length", str(len(answer)))
        if self.retry_after is not None and status != 200:
            request.send_header("Retry-After", self.retry_after)
        request.end_headers()
        request.wfile.write(answer)

    def _take(self, body: bytes, raw: bytes) -> bytes:
        request = ExportTraceServiceRequest.FromString(raw)
        identity = hashlib.sha256(body).hexdigest()
        answer = ExportTraceServiceResponse()
        with self._lock:
            if identity in self._seen:
                self.replays += 1
            else:
                self._seen.add(identity)
                self.requests.append(request)
                self.names.update(span.name for span in spans_of(request))
        if self.rejects:
            answer.partial_success.rejected_spans = self.rejects
            answer.partial_success.error_message = "no room"
        return answer.SerializeToString()

    def _take_other(self, path: str, raw: bytes) -> bytes:
        with self._lock:
            self.others[path].append(raw)
        if not self.rejects:
            return b""
        if path == "/v1/logs":
            partial = ExportLogsPartialSuccess(rejected_log_records=self.rejects)
            return bytes(ExportLogsServiceResponse(partial_success=partial).SerializeToString())
        points = ExportMetricsPartialSuccess(rejected_data_points=self.rejects)
        return bytes(ExportMetricsServiceResponse(partial_success=points).SerializeToString())

    def log_records(self) -> list[str]:
        """The event names of log records that came."""
        requests = [ExportLogsServiceRequest.FromString(raw) for raw in self.others["/v1/logs"]]
        groups = [scope for request in requests for group in request.resource_logs for scope in group.scope_logs]
        return [record.event_name for scope in groups for record in scope.log_records]

    def points(self, name: str) -> list[Any]:
        """The data points of a metric in the order they came."""
        requests = [ExportMetricsServiceRequest.FromString(raw) for raw in self.others["/v1/metrics"]]
        groups = [scope for request in requests for group in request.resource_metrics for scope in group.scope_metrics]
        return [
            point
            for scope in groups
            for metric in scope.metrics
            if metric.name == name
            for point in getattr(metric, metric.WhichOneof("data")).data_points
        ]

    def wait_for(self, spans: int, seconds: float = 30.0) -> None:
        """Wait until so many different spans have come."""
        give_up = time.monotonic() + seconds
        while len(self.names) < spans:
            assert time.monotonic() < give_up, f"{len(self.names)} of {spans} spans came"
            time.sleep(0.01)


def spans_of(request: ExportTraceServiceRequest) -> list[Any]:
    return [span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans]


def request_tags(backend: Backend) -> Counter[str]:
    """Return how often the span of each request arrived, by the tag that names it."""
    spans = [span for request in backend.requests for span in spans_of(request)]
    tags = [pair.value.string_value for span in spans for pair in span.attributes if pair.key == "llmtrace.tag.request"]
    assert len(tags) == len(spans)
    return Counter(tags)
