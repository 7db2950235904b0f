"""LanceDB: searches whose results are collected, in the process or in its cloud."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakSet

from ..context.operation import Operation
from ..providers._patches import Patches
from ._search_results import document, set_query
from ._wrapping import TracedMethod

_ID_COLUMNS = ("id", "_id", "doc_id", "_rowid")
_SCORE_COLUMNS = ("_relevance_score", "_score")
_MAX_ROWS = 1000
_halves: WeakSet[Any] = WeakSet()
"""Searches for vectors and for text that a hybrid search runs in threads."""


def _table(query: Any, *_: Any) -> object:
    """Return the name of the table, if this release has it; ``None`` for scans, which have no query."""
    if not hasattr(query, "rerank") or query in _halves:
        return None
    return getattr(getattr(query, "_table", None), "name", "")


def _begin_search(query: Any, _: Any, __: Mapping[str, Any], operation: Operation) -> None:
    fields = vars(query)
    texts = [fields.get(name) for name in ("_text", "_str_query", "_query_string", "_query")]
    set_query(operation, next((text for text in texts if isinstance(text, str)), None), fields.get("_limit"))


def _read_rows(table: Any) -> Iterable[object]:
    """Yield the rows, without their vectors."""
    columns = [field.name for field in table.schema if not field.type.num_fields and "binary" not in str(field.type)]
    for row in table.slice(0, _MAX_ROWS).select(columns).to_pylist():
        id_ = next((row.pop(name) for name in _ID_COLUMNS if row.get(name) is not None), None)
        score = next((row.pop(name) for name in _SCORE_COLUMNS if row.get(name) is not None), None)
        found = document(id_, row, score=score, distance=row.pop("_distance", None))
        if id_ is not None or found["content"]:
            yield found


def _remember_halves(wrapped: Any, query: Any, args: Any, kwargs: Any) -> Any:
    result = wrapped(*args, **kwargs)
    halves = (getattr(query, name, None) for name in ("_vector_query", "_fts_query"))
    _halves.update(half for half in halves if half is not None)
    return result


_SEARCH = TracedMethod(
    "lancedb",
    "retrieval",
    _table,
    begin=_begin_search,
    locate=lambda _: (None, ""),  # a folder, or LanceDB's cloud
    database_operation="search",
    read_documents=_read_rows,
)
_install = _SEARCH.installer(
    *(f"Lance{kind}QueryBuilder.to_arrow" for kind in ("Vector", "Fts", "Hybrid")), "AsyncQueryBase.to_arrow"
)


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``lancedb.query``."""
    patches = _install(module)
    patches.wrap_in(module, "LanceHybridQueryBuilder", "_create_query_builders", _remember_halves)
    return patches
