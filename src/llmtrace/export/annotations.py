"""Scores as Phoenix keeps them: annotations of a span, posted beside the spans and never waited for."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from queue import Full, Queue
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from ..scope.score import Score

__all__ = ["Annotations", "for_phoenix"]

_log = logging.getLogger("llmtrace")
_MOST = 1000
_TIMEOUT = 5.0
_TRIES = 3
_PORT = 6006
"""What Phoenix listens on."""


class Annotations:
    """Posts scores from a thread of its own, in order."""

    def __init__(self, base: str, headers: Mapping[str, str]) -> None:
        self.url = base.rstrip("/") + "/v1/span_annotations"
        self._headers = {"content-type": "application/json", **headers}
        self._queue: Queue[Score | threading.Event] = Queue(_MOST)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._complained = False
        self.lost = 0
        os.register_at_fork(after_in_child=self._forget)

    def post(self, score: Score) -> None:
        """Have ``score`` posted. What does not fit while the backend is away is dropped and counted."""
        self._start()
        try:
            self._queue.put_nowait(score)
        except Full:
            self.lost += 1

    def drain(self, timeout: float) -> bool:
        """Wait until all that was handed over has been posted. ``True`` when none was lost."""
        if self._thread is None:
            return self.lost == 0
        deadline = time.monotonic() + timeout
        done = threading.Event()
        try:
            self._queue.put(done, timeout=timeout)
        except Full:
            return False
        return done.wait(max(0.0, deadline - time.monotonic())) and self.lost == 0

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="llmtrace-annotations", daemon=True)
                self._thread.start()

    def _forget(self) -> None:
        self._thread, self._lock, self._queue = None, threading.Lock(), Queue(_MOST)

    def _work(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, threading.Event):
                item.set()
                continue
            try:
                self._send(item)
            except Exception as error:
                self.lost += 1
                if not self._complained:
                    self._complained = True
                    _log.warning("llmtrace could not post scores to %s: %s", self.url, error)

    def _send(self, score: Score) -> None:
        result: dict[str, Any] = {"score": score.value, "label": score.label, "explanation": score.explanation}
        annotation = {
            "span_id": f"{score.span_id:016x}",
            "name": score.name,
            "annotator_kind": "CODE",
            "result": {name: value for name, value in result.items() if value is not None},
        }
        body = json.dumps({"data": [annotation]}).encode()
        for attempt in range(1, _TRIES + 1):
            try:
                with urlopen(Request(self.url, body, self._headers), timeout=_TIMEOUT):
                    return
            except HTTPError as error:
                error.close()
                if error.code < 500 or attempt == _TRIES:
                    raise
            except OSError:
                if attempt == _TRIES:
                    raise
            time.sleep(0.2 * attempt)


def for_phoenix(environ: Mapping[str, str] | None = None) -> Annotations | None:
    """Where scores go, when the environment says that spans go to Phoenix."""
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
    return Annotations(base.removesuffix("/v1/traces"), _headers(variables))


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
