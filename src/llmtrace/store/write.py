"""Spans into the tables: one transaction for a batch, whoever else is writing."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from .._errors import log_internal_error
from ..model.fingerprint import Fingerprint
from ..telemetry import names
from .columns import BIGGEST, dimensions_of, is_call, labels_of, measures_of, similarity_of
from .packed import pack_metrics, pack_similarity
from .request_bodies import Body
from .request_fingerprints import read_fingerprint
from .schema import DIMENSION_COLUMNS, MEASURES, transaction
from .span_codec import StoredSpan, pack

__all__ = ["Writer"]

_MAX_CACHED_IDS = 20_000
_INSERT_DIMENSIONS = (
    f"INSERT OR IGNORE INTO facts (key, {', '.join(DIMENSION_COLUMNS)}) VALUES (?{', ?' * len(DIMENSION_COLUMNS)})"
)
_INSERT_CALL = (
    f"INSERT INTO calls (facts, started, span, {', '.join(MEASURES)}, figures, likeness)"
    f" VALUES (?, ?, ?{', ?' * len(MEASURES)}, ?, ?)"
)
_INSERT_SPAN = (
    "INSERT INTO spans (trace, span, parent, started, duration, resource, facts, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPSERT_TRACE = """
INSERT INTO traces (trace, started, ended, spans, calls, errors, tokens, cost, name) VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?)
ON CONFLICT (trace) DO UPDATE SET
    started = min(started, excluded.started), ended = max(ended, excluded.ended), spans = spans + 1,
    calls = calls + excluded.calls, errors = errors + excluded.errors, tokens = tokens + excluded.tokens,
    cost = cost + excluded.cost, name = coalesce(excluded.name, name)
RETURNING id
"""


class Writer:
    """Writes through one connection and remembers the ids of what repeats."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._generation: int | None = None
        self._key: bytes | None = None
        self._ids: dict[tuple[str, Any], int] = {}

    def write(self, spans: Sequence[StoredSpan], sent: Mapping[str, Body] | None = None) -> None:
        """All of them, or, when this raises, none. ``sent`` is what calls have sent, by the id of the span."""
        key = self._hash_key()
        # Before the lock that others wait for.
        packed = [(span, pack(span), _fingerprint(span, (sent or {}).get(span.span_id), key)) for span in spans]
        try:
            with transaction(self.connection):
                self._check_generation()
                for span, body, found in packed:
                    self._insert(span, body, found)
        except BaseException:
            self._ids.clear()
            raise

    def _check_generation(self) -> None:
        # Pruning, here or in another process, removes rows that nothing names any more, and counts up.
        (generation,) = self.connection.execute("SELECT value FROM meta WHERE name = 'generation'").fetchone()
        if generation != self._generation or len(self._ids) > _MAX_CACHED_IDS:
            self._ids.clear()
            self._generation = generation

    def _hash_key(self) -> bytes:
        """Random, and the same for all who write to this store: its hashes can be compared with no others."""
        if self._key is None:
            self.connection.execute("INSERT OR IGNORE INTO meta VALUES ('hash key', randomblob(16))")
            found: bytes = self.connection.execute("SELECT value FROM meta WHERE name = 'hash key'").fetchone()[0]
            self._key = found
        return self._key

    def _insert(self, span: StoredSpan, body: bytes, found: Fingerprint | None) -> None:
        execute = self.connection.execute
        called = is_call(span)
        facts = self._dimensions(span) if called else None
        measures = {**measures_of(span), **similarity_of(span, found, self._hash_key())} if called else {}
        started = span.started // 1000
        duration = max(0, span.ended // 1000 - started)  # so that both ends can be told to the nanosecond again
        tokens = min(BIGGEST, (measures.get("input") or 0) + (measures.get("output") or 0))
        failed = span.status == "ERROR"
        trace = execute(
            _UPSERT_TRACE,
            (
                bytes.fromhex(span.trace_id),
                started,
                started + duration,
                int(called),
                int(failed),
                tokens,
                measures.get("cost") or 0,
                _storable(span.name) if span.parent_id is None else None,
            ),
        ).fetchone()[0]
        row = execute(
            _INSERT_SPAN,
            (
                trace,
                bytes.fromhex(span.span_id),
                None if span.parent_id is None else bytes.fromhex(span.parent_id),
                started,
                duration,
                self._resource(span),
                facts,
                body,
            ),
        ).lastrowid
        if called:
            measures["user"] = self._text(span.attributes.get(names.USER))
            measures["session"] = self._text(span.attributes.get(names.SESSION))
            measures["labels"] = self._text(labels_of(span))
            figures = pack_metrics({"facts": facts, "started": started, **measures})
            values = (measures.get(name) for name in MEASURES)
            execute(_INSERT_CALL, (facts, started, row, *values, figures, pack_similarity(measures)))

    def _dimensions(self, span: StoredSpan) -> int:
        values = tuple(map(_storable, dimensions_of(span)))
        known = self._ids.get(("facts", values))
        if known is not None:
            return known
        key = hashlib.blake2b(repr(values).encode("utf-8", "replace"), digest_size=16).digest()
        self.connection.execute(_INSERT_DIMENSIONS, (key, *values))
        return self._remember("facts", values, "SELECT id FROM facts WHERE key = ?", key)

    def _text(self, text: Any) -> int | None:
        if text is None:
            return None
        text = _storable(str(text))
        known = self._ids.get(("text", text))
        if known is not None:
            return known
        self.connection.execute("INSERT OR IGNORE INTO texts (text) VALUES (?)", (text,))
        return self._remember("text", text, "SELECT id FROM texts WHERE text = ?", text)

    def _resource(self, span: StoredSpan) -> int:
        text = json.dumps(span.resource, sort_keys=True, default=str)
        known = self._ids.get(("resource", text))
        if known is not None:
            return known
        self.connection.execute("INSERT OR IGNORE INTO resources (json) VALUES (?)", (text,))
        return self._remember("resource", text, "SELECT id FROM resources WHERE json = ?", text)

    def _remember(self, kind: str, value: Any, query: str, key: Any) -> int:
        number: int = self.connection.execute(query, (key,)).fetchone()[0]
        self._ids[kind, value] = number
        return number


def _fingerprint(span: StoredSpan, sent: Body | None, key: bytes) -> Fingerprint | None:
    if sent is None:
        return None
    model = span.attributes.get(names.REQUEST_MODEL)
    try:
        return read_fingerprint(sent, model if isinstance(model, str) else None, key)
    except Exception:  # it costs the likeness, and not the span
        log_internal_error("compare a request")
        return None


def _storable(value: Any) -> Any:
    """SQLite takes text that is Unicode; half a surrogate pair, which JSON can smuggle in, is not."""
    return value if not isinstance(value, str) or value.isascii() else value.encode("utf-8", "replace").decode()
