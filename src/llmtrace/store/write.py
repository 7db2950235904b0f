"""Insertion of spans into the tables: one transaction for each batch."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from .._errors import log_internal_error
from ..model.fingerprint import Fingerprint
from ..telemetry import names
from .columns import MAX_INTEGER, dimensions_of, is_call, labels_of, measures_of, similarity_of
from .packed import pack_metrics, pack_similarity
from .request_fingerprints import SentBody, read_fingerprint
from .schema import DIMENSION_COLUMNS, MEASURES, transaction
from .span_codec import StoredSpan, pack

_MAX_CACHED_IDS = 20_000
_INSERT_DIMENSIONS = (
    f"INSERT OR IGNORE INTO dimensions (key, {', '.join(DIMENSION_COLUMNS)}) VALUES (?{', ?' * len(DIMENSION_COLUMNS)})"
)
_INSERT_CALL = (
    f"INSERT INTO calls (dimensions, started, span, {', '.join(MEASURES)}, metrics, similarity)"
    f" VALUES (?, ?, ?{', ?' * len(MEASURES)}, ?, ?)"
)
_INSERT_SPAN = (
    "INSERT INTO spans (trace, span, parent, started, duration, resource, dimensions, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
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
    """Writer for one connection, with a cache of the ids of repeated values."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._generation: int | None = None
        self._key: bytes | None = None
        self._ids: dict[tuple[str, Any], int] = {}

    def write(self, spans: Sequence[StoredSpan], sent: Mapping[str, SentBody] | None = None) -> None:
        """Write all spans, or none if this raises. ``sent`` has request bodies by span id."""
        key = self._hash_key()
        # Encode before the transaction: other processes wait for its lock.
        rows = [(span, pack(span), _fingerprint(span, (sent or {}).get(span.span_id), key)) for span in spans]
        try:
            with transaction(self.connection):
                self._check_generation()
                for span, body, hashes in rows:
                    self._insert(span, body, hashes)
        except BaseException:
            self._ids.clear()
            raise

    def _check_generation(self) -> None:
        # Pruning, here or in another process, removes unused rows and increments the generation.
        (generation,) = self.connection.execute("SELECT value FROM meta WHERE name = 'generation'").fetchone()
        if generation != self._generation or len(self._ids) > _MAX_CACHED_IDS:
            self._ids.clear()
            self._generation = generation

    def _hash_key(self) -> bytes:
        """Return the store's random hash key. Hashes of different stores cannot be compared."""
        if self._key is None:
            self.connection.execute("INSERT OR IGNORE INTO meta VALUES ('hash key', randomblob(16))")
            value: bytes = self.connection.execute("SELECT value FROM meta WHERE name = 'hash key'").fetchone()[0]
            self._key = value
        return self._key

    def _insert(self, span: StoredSpan, body: bytes, hashes: Fingerprint | None) -> None:
        execute = self.connection.execute
        is_model_call = is_call(span)
        dimensions = self._dimensions(span) if is_model_call else None
        measures = {**measures_of(span), **similarity_of(span, hashes, self._hash_key())} if is_model_call else {}
        started = span.started // 1000
        duration = max(
            0, span.ended // 1000 - started
        )  # both ends stay exact when the nanoseconds are added on reading
        tokens = min(MAX_INTEGER, (measures.get("input") or 0) + (measures.get("output") or 0))
        failed = span.status == "ERROR"
        trace = execute(
            _UPSERT_TRACE,
            (
                bytes.fromhex(span.trace_id),
                started,
                started + duration,
                int(is_model_call),
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
                self._id("resources", "json", json.dumps(span.resource, sort_keys=True, default=str)),
                dimensions,
                body,
            ),
        ).lastrowid
        if is_model_call:
            measures["user"] = self._text(span.attributes.get(names.USER))
            measures["session"] = self._text(span.attributes.get(names.SESSION))
            measures["labels"] = self._text(labels_of(span))
            metrics = pack_metrics({"dimensions": dimensions, "started": started, **measures})
            values = (measures.get(name) for name in MEASURES)
            execute(_INSERT_CALL, (dimensions, started, row, *values, metrics, pack_similarity(measures)))

    def _dimensions(self, span: StoredSpan) -> int:
        values = tuple(map(_storable, dimensions_of(span)))
        cached = self._ids.get(("dimensions", values))
        if cached is not None:
            return cached
        key = hashlib.blake2b(repr(values).encode("utf-8", "replace"), digest_size=16).digest()
        self.connection.execute(_INSERT_DIMENSIONS, (key, *values))
        return self._remember("dimensions", values, "SELECT id FROM dimensions WHERE key = ?", key)

    def _text(self, text: Any) -> int | None:
        return None if text is None else self._id("texts", "text", _storable(str(text)))

    def _id(self, table: str, column: str, text: str) -> int:
        """Return the id of the row of a table with a text, which is inserted if it is new."""
        cached = self._ids.get((table, text))
        if cached is not None:
            return cached
        self.connection.execute(f"INSERT OR IGNORE INTO {table} ({column}) VALUES (?)", (text,))
        return self._remember(table, text, f"SELECT id FROM {table} WHERE {column} = ?", text)

    def _remember(self, kind: str, value: Any, query: str, key: Any) -> int:
        number: int = self.connection.execute(query, (key,)).fetchone()[0]
        self._ids[kind, value] = number
        return number


def _fingerprint(span: StoredSpan, sent: SentBody | None, key: bytes) -> Fingerprint | None:
    if sent is None:
        return None
    model = span.attributes.get(names.REQUEST_MODEL)
    try:
        return read_fingerprint(sent, model if isinstance(model, str) else None, key)
    except Exception:  # errors here lose the similarity columns, never the span
        log_internal_error("compare a request")
        return None


def _storable(value: Any) -> Any:
    """Replace lone surrogates, which JSON can contain and SQLite rejects."""
    return value if not isinstance(value, str) or value.isascii() else value.encode("utf-8", "replace").decode()
