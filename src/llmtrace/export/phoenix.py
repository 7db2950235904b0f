"""Phoenix exporter of scores: posts them as span annotations, through the same kind of queue and spool as spans."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from .._settings import Settings, environment
from ..context.score import Score
from .batch import BatchProcessor
from .otlp.destination import make_destination
from .otlp.http_transport import HttpTransport
from .otlp.payload import Encoder, Payload, Unencodable, pack
from .routes import make_sender
from .stats import ExportStats

_UNIT = "scores"
_TIMEOUT_SECONDS = 5.0
_PHOENIX_PORT = 6006
"""The default port of Phoenix."""


class AnnotationSender:
    """A queue of scores that are posted to Phoenix."""

    def __init__(self, transport: HttpTransport, settings: Settings) -> None:
        self._stats = ExportStats(_UNIT)
        self._processor = BatchProcessor(make_sender(transport, settings, self._stats), self._stats)

    def post(self, score: Score) -> None:
        """Queue ``score`` for posting."""
        self._processor.enqueue(score)

    def drain(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until all queued scores are posted. Return True if none was lost."""
        return self._processor.flush(time.monotonic() + timeout)

    def rest(self, timeout: float) -> None:
        """Post queued scores for up to ``timeout`` seconds, and stop until the next score."""
        self._processor.rest(time.monotonic() + timeout)

    def close(self, timeout: float) -> bool:
        """Post queued scores for up to ``timeout`` seconds, and stop. The rest waits in the spool."""
        return self._processor.close(time.monotonic() + timeout)


class _AnnotationEncoder(Encoder):
    """An encoder of one request per score, so that a refusal affects that score only."""

    def encode(self, batch: Sequence[Score], limit: int, encoding: str) -> Iterator[Payload | Unencodable]:
        """Encode each score as one request."""
        for score in batch:
            body = json.dumps({"data": [_annotation(score)]}).encode()
            yield pack(body, encoding, 1) if len(body) <= limit else Unencodable("too_large")


def _annotation(score: Score) -> dict[str, Any]:
    result: dict[str, Any] = {"score": score.value, "label": score.label, "explanation": score.explanation}
    return {
        "span_id": f"{score.span_id:016x}",
        "name": score.name,
        "annotator_kind": "CODE",
        "result": {name: value for name, value in result.items() if value is not None},
    }


def phoenix_transport(environ: Mapping[str, str] | None = None) -> HttpTransport | None:
    """Return the transport to Phoenix's annotations; ``None`` if spans go to another backend."""
    variables = environment.variables() if environ is None else environ
    base = variables.get("PHOENIX_COLLECTOR_ENDPOINT", "").strip()
    if not base:
        endpoint = variables.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or variables.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        parts = urlsplit((endpoint or "").strip())
        if _port(parts) != _PHOENIX_PORT:
            return None
        base = f"{parts.scheme}://{parts.netloc}"
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    url = base.removesuffix("/v1/traces").rstrip("/") + "/v1/span_annotations"
    headers = {"content-type": "application/json", **_headers(variables)}
    destination = make_destination("annotations", "http", url, headers)
    return HttpTransport(
        url, headers, destination=destination, encoder=_AnnotationEncoder(), unit=_UNIT, timeout=_TIMEOUT_SECONDS
    )


def _port(parts: Any) -> int | None:
    try:
        port: int | None = parts.port
    except ValueError:
        return None
    return port


def _headers(variables: Mapping[str, str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    pairs = variables.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or variables.get("OTEL_EXPORTER_OTLP_HEADERS") or ""
    for pair in pairs.split(","):
        name, separator, value = pair.partition("=")
        if separator and name.strip():
            headers[name.strip().lower()] = unquote(value.strip())
    key = variables.get("PHOENIX_API_KEY", "").strip()
    if key:
        headers["authorization"] = f"Bearer {key}"
    return headers
