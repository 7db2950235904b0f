"""Phoenix exporter of scores: posts them as span annotations, through the same kind of queue and spool as spans."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.util.re import parse_env_headers

from .._settings import Settings
from .._settings.environment import first_variable, is_http_url, variable
from ..context.score import Score
from .batch import BatchProcessor
from .otlp.destination import make_destination
from .otlp.http_transport import HttpTransport
from .otlp.payload import Encoder, Payload, Unencodable, pack
from .routes import make_sender
from .signals import TRACES
from .stats import ExportStats

_UNIT = "scores"
_TIMEOUT_SECONDS = 5.0
_PHOENIX_PORT = 6006
"""The default port of Phoenix."""


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


def phoenix_transport(endpoint: str | None = None) -> HttpTransport | None:
    """Return the transport to Phoenix's annotations; ``None`` if spans go to another backend.

    ``endpoint`` is that of spans, by default the one of the standard variables.
    """
    base = variable("PHOENIX_COLLECTOR_ENDPOINT")
    if not base:
        spans = endpoint or first_variable(TRACES.variables("ENDPOINT"))[1]
        if not is_http_url(spans) or (parts := urlsplit(spans)).port != _PHOENIX_PORT:
            return None
        base = f"{parts.scheme}://{parts.netloc}"
    elif not is_http_url(base):
        return None
    url = base.removesuffix("/v1/traces").rstrip("/") + "/v1/span_annotations"
    headers = {"content-type": "application/json", **_headers()}
    destination = make_destination("annotations", "http", url, headers)
    return HttpTransport(
        url, headers, destination=destination, encoder=_AnnotationEncoder(), unit=_UNIT, timeout=_TIMEOUT_SECONDS
    )


def _headers() -> dict[str, str]:
    headers = dict(parse_env_headers(first_variable(TRACES.variables("HEADERS"))[1], liberal=True))
    key = variable("PHOENIX_API_KEY")
    if key:
        headers["authorization"] = f"Bearer {key}"
    return headers


class ScoreBatchProcessor(BatchProcessor):
    """The batch processor of scores."""

    def post(self, score: Score) -> None:
        """Queue a score."""
        self.enqueue(score)


def open_annotations(settings: Settings, endpoint: str | None) -> ScoreBatchProcessor | None:
    """Return the queue of scores that are posted to Phoenix, ``None`` if spans go to another backend."""
    transport = phoenix_transport(endpoint)
    if transport is None:
        return None
    stats = ExportStats(_UNIT)
    return ScoreBatchProcessor(make_sender(transport, settings, stats), stats)
