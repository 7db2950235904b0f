"""Scores as Phoenix keeps them: annotations of a span, posted beside the spans, through the same queue and spool."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from .._settings import Settings, load
from ..context.score import Score
from .batch import BatchProcessor
from .otlp.destination import make_destination
from .otlp.http_transport import HttpTransport
from .otlp.payload import Payload, Unencodable, pack
from .routes import make_sender
from .stats import ExportStats

__all__ = ["AnnotationSender", "open_annotations", "phoenix_transport"]

_UNIT = "scores"
_TIMEOUT = 5.0
_PORT = 6006
"""What Phoenix listens on."""


class AnnotationSender:
    """Takes scores from the program, and has them posted."""

    def __init__(self, way: HttpTransport, settings: Settings) -> None:
        self.url = way.url
        self._stats = ExportStats(_UNIT)
        self._batches = BatchProcessor(make_sender(way, settings, self._stats), self._stats)

    @property
    def lost(self) -> int:
        """Scores that will not arrive."""
        return sum(self._stats.counts().dropped.values())

    def post(self, score: Score) -> None:
        """Have ``score`` posted."""
        self._batches.enqueue(score)

    def drain(self, timeout: float) -> bool:
        """Wait until all that was handed over has been posted. ``True`` when none was lost."""
        return self._batches.flush(time.monotonic() + timeout)

    def rest(self, timeout: float) -> None:
        """Stop until another score comes."""
        self._batches.rest(time.monotonic() + timeout)

    def close(self, timeout: float) -> bool:
        """Post what can be posted in time. The rest waits in the spool for the next process."""
        return self._batches.close(time.monotonic() + timeout)


class _AnnotationEncoder:
    """One request for each score: a refusal is of that score alone."""

    def encode(self, batch: Sequence[Score], limit: int, encoding: str) -> Iterator[Payload | Unencodable]:
        for score in batch:
            body = json.dumps({"data": [_annotation(score)]}).encode()
            yield pack(body, encoding, 1) if len(body) <= limit else Unencodable("too_large")

    def join(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        return payloads

    def split(self, payload: Payload) -> list[Payload]:
        return []


def _annotation(score: Score) -> dict[str, Any]:
    result: dict[str, Any] = {"score": score.value, "label": score.label, "explanation": score.explanation}
    return {
        "span_id": f"{score.span_id:016x}",
        "name": score.name,
        "annotator_kind": "CODE",
        "result": {name: value for name, value in result.items() if value is not None},
    }


def open_annotations(
    environ: Mapping[str, str] | None = None, settings: Settings | None = None
) -> AnnotationSender | None:
    """Where scores go, when the environment says that spans go to Phoenix."""
    way = phoenix_transport(environ)
    return None if way is None else AnnotationSender(way, load({}) if settings is None else settings)


def phoenix_transport(environ: Mapping[str, str] | None = None) -> HttpTransport | None:
    """The way to its annotations; ``None`` where spans go to something else."""
    variables = os.environ if environ is None else environ
    base = variables.get("PHOENIX_COLLECTOR_ENDPOINT", "").strip()
    if not base:
        endpoint = variables.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or variables.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        parts = urlsplit((endpoint or "").strip())
        if _port(parts) != _PORT:
            return None
        base = f"{parts.scheme}://{parts.netloc}"
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    url = base.removesuffix("/v1/traces").rstrip("/") + "/v1/span_annotations"
    headers = {"content-type": "application/json", **_headers(variables)}
    destination = make_destination("annotations", "http", url, headers)
    return HttpTransport(
        url, headers, destination=destination, encoder=_AnnotationEncoder(), unit=_UNIT, timeout=_TIMEOUT
    )


def _port(parts: Any) -> int | None:
    try:
        port: int | None = parts.port
    except ValueError:
        return None
    return port


def _headers(variables: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    told = variables.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or variables.get("OTEL_EXPORTER_OTLP_HEADERS") or ""
    for pair in told.split(","):
        name, mark, value = pair.partition("=")
        if mark and name.strip():
            found[name.strip().lower()] = unquote(value.strip())
    key = variables.get("PHOENIX_API_KEY", "").strip()
    if key:
        found["authorization"] = f"Bearer {key}"
    return found
