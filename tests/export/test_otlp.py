"""The standard variables reach the wire: HTTP and gRPC, headers, compression, certificates, limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import requests

from llmtrace._settings import load, opentelemetry
from llmtrace.export.otlp import http_transport
from llmtrace.export.otlp.grpc_transport import OtlpGrpcTransport
from llmtrace.export.otlp.http_transport import OtlpHttpTransport
from llmtrace.export.pipeline import Pipeline
from llmtrace.export.signals import TRACES
from llmtrace.export.spool.buffer import SpoolBuffer

from .backend import Backend
from .conftest import Servicer

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
Open = Callable[..., Any]


@pytest.fixture
def pipeline(spool: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens a pipeline under these variables."""
    opened: list[Pipeline] = []

    def make_pipeline(**variables: str) -> Pipeline:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        one = Pipeline(load({"spool": spool}))
        one.prepare()
        opened.append(one)
        return one

    yield make_pipeline
    for one in opened:
        one.shutdown(5)


def end(pipeline: Pipeline, *names: str, **attributes: str) -> None:
    for name in names:
        pipeline.provider().get_tracer("test").start_span(name, attributes=attributes).end()


def test_http_request_has_headers_and_gzip(backend: Backend, pipeline: Open) -> None:
    """Headers come as set, with the generic ones below, and the body is compressed unless configured."""
    backend.up()
    one = pipeline(**{ENDPOINT: backend.url + "/", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20k,x-team=a"})
    end(one, "a")
    assert one.flush(10)
    (headers,) = backend.headers
    sent = {name.lower(): value for name, value in headers.items()}
    assert sent["content-encoding"] == "gzip"
    assert sent["content-type"] == "application/x-protobuf"
    assert (sent["authorization"], sent["x-team"]) == ("Bearer k", "a")


@pytest.mark.parametrize("compression", ["none", "deflate", "gzip"])
def test_http_compression_follows_its_variable(compression: str, backend: Backend, pipeline: Open) -> None:
    """OTEL_EXPORTER_OTLP_COMPRESSION keeps its meaning."""
    backend.up()
    one = pipeline(**{ENDPOINT: backend.url, "OTEL_EXPORTER_OTLP_COMPRESSION": compression})
    end(one, "a")
    assert one.flush(10)
    assert backend.headers[0].get("Content-Encoding", "none") == compression
    assert list(backend.names) == ["a"]


def test_http_uses_certificates_and_timeout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Certificates, timeout and the traces endpoint are those of the standard variables."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # requests prefers these
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://user:secret@example.org:1/in?token=t")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", str(tmp_path / "c.pem"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(tmp_path / "c.key"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
    http = OtlpHttpTransport(TRACES)
    assert http.timeout == 3
    assert http._options["verify"] == str(tmp_path / "ca.pem")
    assert http._options["cert"] == (str(tmp_path / "c.pem"), str(tmp_path / "c.key"))
    assert http.destination.endpoint == "https://example.org:1/in"


def test_spool_contains_no_credentials(backend: Backend, pipeline: Open, spool: Path) -> None:
    """No header value, password or query of the endpoint is in any byte or name of the spool folder."""
    secrets = ("hunter2", "sk-123456", "tok-987")
    one = pipeline(
        **{
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://me:hunter2@127.0.0.1:{backend.port}/v1/traces?key=tok-987",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=sk-123456",
        }
    )
    end(one, "a")
    assert not one.flush(0.3)
    files = [path for path in spool.rglob("*") if path.is_file()]
    assert any(path.suffix == ".seg" for path in files)
    for path in files:
        data = path.read_bytes() + str(path).encode()
        assert not any(secret.encode() in data for secret in secrets)
        assert path.stat().st_mode & 0o777 == 0o600
    for folder in (spool, *(path for path in spool.rglob("*") if path.is_dir())):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_segments_are_sent_only_to_their_destination(backend: Backend, pipeline: Open) -> None:
    """What one account left is not sent with another account's headers, and is when its own are back."""
    first = pipeline(**{ENDPOINT: backend.url, "OTEL_EXPORTER_OTLP_HEADERS": "x-api-key=one"})
    end(first, "left by one")
    first.shutdown(0.5)
    backend.up()
    second = pipeline(OTEL_EXPORTER_OTLP_HEADERS="x-api-key=two")
    end(second, "by two")
    assert second.shutdown(10)
    assert list(backend.names) == ["by two"]
    third = pipeline(OTEL_EXPORTER_OTLP_HEADERS="x-api-key=one")
    end(third, "by one")
    assert third.shutdown(10)
    assert set(backend.names) == {"left by one", "by two", "by one"}


def test_destination_named_twice_is_used_once(backend: Backend, pipeline: Open) -> None:
    """OTEL_TRACES_EXPORTER with a repetition sends a span once."""
    backend.up()
    one = pipeline(**{ENDPOINT: backend.url, "OTEL_TRACES_EXPORTER": "otlp,otlp"})
    end(one, "a")
    assert one.flush(10)
    assert backend.names == {"a": 1}


@pytest.mark.faulty
def test_internal_error_loses_one_request(backend: Backend, pipeline: Open, monkeypatch: Any) -> None:
    """It is counted, and what comes later arrives, whatever state the spool of other processes is in."""
    post, posts = OtlpHttpTransport.send, iter([True])

    def send(self: OtlpHttpTransport, payload: Any, timeout: float) -> Any:
        if next(posts, False):
            raise RuntimeError("ours")
        return post(self, payload, timeout)

    def adopt(self: SpoolBuffer) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(OtlpHttpTransport, "send", send)
    monkeypatch.setattr(SpoolBuffer, "adopt", adopt)
    backend.up()
    one = pipeline(**{ENDPOINT: backend.url})
    end(one, "a")
    assert not one.flush(10)
    end(one, "b")
    assert one.flush(10)
    assert backend.names == {"b": 1}
    assert one.counts()[0].dropped == {"fault": 1}


def test_credential_provider_creates_the_session(backend: Backend, pipeline: Open, monkeypatch: Any) -> None:
    """What an installed provider of that name makes is what spans are sent with."""

    def make() -> requests.Session:
        session = requests.Session()
        session.auth = ("me", "secret")
        return session

    def find_entry_points(*, group: str, name: str) -> list[Any]:
        assert (group, name) == ("opentelemetry_otlp_credential_provider", "theirs")
        return [SimpleNamespace(load=lambda: make)]

    backend.up()
    for module in (http_transport, opentelemetry):
        monkeypatch.setattr(module, "entry_points", find_entry_points)
    one = pipeline(**{ENDPOINT: backend.url, "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER": "theirs"})
    end(one, "a")
    assert one.flush(10)
    assert backend.headers[0]["Authorization"].startswith("Basic ")


def test_grpc_batches_are_split_by_bytes(grpc_server: tuple[str, Servicer], pipeline: Open) -> None:
    """Ten spans of a megabyte reach a server that takes four, each once, with the headers."""
    url, servicer = grpc_server
    one = pipeline(
        **{
            ENDPOINT: url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-team=a",
            "OTEL_BSP_SCHEDULE_DELAY": "60000",
        }
    )
    names = [f"call-{number}" for number in range(10)]
    end(one, *names, text="x" * (1 << 20))
    assert one.flush(20)
    assert sorted(servicer.names) == names
    assert servicer.requests >= 3
    assert servicer.metadata["x-team"] == "a"


def test_grpc_status_decides_between_retry_and_refusal(grpc_server: tuple[str, Servicer], pipeline: Open) -> None:
    """UNAVAILABLE is tried again as the server asks; INVALID_ARGUMENT is the last word."""
    url, servicer = grpc_server
    one = pipeline(**{ENDPOINT: url, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    servicer.failures = [(grpc.StatusCode.UNAVAILABLE, None), (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.2)]
    end(one, "a")
    assert one.flush(20)
    servicer.failures = [(grpc.StatusCode.INVALID_ARGUMENT, None)]
    end(one, "b")
    assert not one.flush(20)
    assert servicer.names == ["a"]
    assert one.counts()[0].dropped == {"refused": 1}


def test_grpc_destination_has_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two keys for one gRPC endpoint are two destinations."""
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4317")
    keys = set()
    for key in ("one", "two"):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-api-key={key}")
        keys.add(OtlpGrpcTransport(TRACES).destination)
    assert len({each.key for each in keys}) == 2
    assert {each.endpoint for each in keys} == {"127.0.0.1:4317"}
