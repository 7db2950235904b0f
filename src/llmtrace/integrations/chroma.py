"""Chroma: searches of a collection, on a server or in the process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, repeat
from typing import Any

from .._compat.vector_stores import address_of_chroma
from ..context.operation import Operation
from ._search_results import argument, document, set_query
from ._wrapping import Install, TracedMethod


def _begin_search(_: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], operation: Operation) -> None:
    set_query(operation, argument(args, kwargs, 1, "query_texts"), kwargs.get("n_results"))


def _read_rows(result: Mapping[str, Any]) -> Iterable[object]:
    """Yield the documents of all queries. What a query does not return is ``None``."""
    ids = result["ids"]
    columns = [result.get(key) or repeat(None) for key in ("documents", "metadatas", "distances", "scores")]
    for rows, *others in zip(ids, *columns, strict=False):
        padded = [chain(column or (), repeat(None)) for column in others]
        for id_, text, metadata, distance, score in zip(rows, *padded, strict=False):
            fields = {**(metadata or {}), **({} if text is None else {"text": text})}
            yield document(id_, fields, score=score, distance=distance)


_SEARCH = TracedMethod(
    "chroma",
    "retrieval",
    lambda collection, *_: collection.name,
    begin=_begin_search,
    locate=lambda collection: (collection.database, address_of_chroma(collection)),
    read_documents=_read_rows,
)
_ASYNC = "chromadb.api.models.AsyncCollection:AsyncCollection"
install: Install = _SEARCH.installer("Collection.query", "Collection.search?", f"{_ASYNC}.query", f"{_ASYNC}.search?")
