"""Export of the store to one Parquet file, for DuckDB, a data warehouse or pandas."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._decimal import from_pico
from .read import ALL_TIMES, Window
from .schema import DIMENSION_COLUMNS, StoreError
from .span_codec import unpack

_BATCH_ROWS = 20_000
_TOKENS = ("input", "output", "cache_read", "cache_write", "reasoning", "estimated_input", "estimated_output")
_MONEY = ("cost", "estimated_cost")
_FLAGS = ("streamed", "approximate", "pinned")
_QUERY = f"""
SELECT s.body, lower(hex(t.trace)) AS trace_id, lower(hex(s.span)) AS span_id,
    CASE WHEN s.parent IS NOT NULL THEN lower(hex(s.parent)) END AS parent_id,
    s.started AS started_at, s.duration / 1e6 AS seconds, c.first_token / 1e6 AS time_to_first_token,
    {", ".join(f"c.{name}" for name in (*_TOKENS, *_MONEY))},
    u.text AS user, n.text AS session, l.text AS labels, r.json AS resource,
    {", ".join(f"d.{name}" for name in DIMENSION_COLUMNS)}
FROM spans s JOIN traces t ON t.id = s.trace JOIN resources r ON r.id = s.resource
LEFT JOIN calls c ON c.dimensions = s.{{key}} AND c.started = s.started AND c.span = s.id
LEFT JOIN dimensions d ON d.id = s.{{key}}
LEFT JOIN texts u ON u.id = c.user LEFT JOIN texts n ON n.id = c.session LEFT JOIN texts l ON l.id = c.labels
WHERE s.started >= ? AND s.started < ? ORDER BY s.id
"""


def write_parquet(
    store: sqlite3.Connection,
    path: Path,
    window: Window = ALL_TIMES,
    *,
    on_progress: Callable[[int], None] = lambda count: None,
) -> int:
    """Write one row for each span, with the columns of the reports and all attributes as JSON.

    ``on_progress`` gets the number of rows so far.

    Raises:
        StoreError: ``pyarrow`` is not installed, or the file cannot be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise StoreError('writing Parquet needs: pip install "llmtrace-otel[parquet]"') from error
    schema = _schema(pyarrow)
    (version,) = store.execute("PRAGMA user_version").fetchone()
    query = _QUERY.format(key="dimensions" if version >= 3 else "facts")
    rows = store.execute(query, window)
    names = [name for name, *_ in rows.description]
    count = 0
    try:
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            while batch := rows.fetchmany(_BATCH_ROWS):
                writer.write_table(
                    pyarrow.Table.from_pylist(
                        [_row(dict(zip(names, row, strict=True))) for row in batch], schema=schema
                    )
                )
                count += len(batch)
                on_progress(count)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error}") from error
    return count


def _schema(arrow: Any) -> Any:
    text, integer = arrow.string(), arrow.int64()
    fields = [("trace_id", text), ("span_id", text), ("parent_id", text), ("name", text), ("kind", text)]
    fields += [("status", text), ("started_at", arrow.timestamp("us", tz="UTC")), ("seconds", arrow.float64())]
    fields += [("time_to_first_token", arrow.float64())]
    fields += [(name, integer) for name in _TOKENS]
    fields += [(f"{name}_usd", arrow.decimal128(24, 12)) for name in _MONEY]
    fields += [("user", text), ("session", text), ("labels", text)]
    fields += [(name, arrow.bool_() if name in _FLAGS else text) for name in DIMENSION_COLUMNS]
    return arrow.schema([*fields, ("attributes", text), ("events", text), ("resource", text)])


def _row(row: dict[str, Any]) -> dict[str, Any]:
    content = unpack(row.pop("body"))
    for name in _MONEY:
        amount = row.pop(name)
        row[f"{name}_usd"] = None if amount is None else from_pico(amount)
    for name in _FLAGS:
        row[name] = None if row[name] is None else bool(row[name])
    return row | {
        "name": content["name"],
        "kind": content["kind"],
        "status": content.get("status", ("UNSET",))[0],
        "attributes": json.dumps(content["attributes"], ensure_ascii=False),
        "events": json.dumps(content["events"], ensure_ascii=False) if "events" in content else None,
    }
