"""Milvus: searches of a collection, on a server or in the process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .._compat.vector_stores import address_of_milvus
from ..context.operation import Operation
from ._search_results import argument, document, set_query
from ._wrapping import Install, TracedMethod


def _texts(query: Any) -> list[Any]:
    """Return the queries of one search of a hybrid search, or the query itself."""
    data = getattr(query, "data", query)
    return data if isinstance(data, list) else [data]


def _begin_search(_: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], operation: Operation) -> None:
    data = kwargs.get("data", argument(args, kwargs, 1, "reqs"))  # by position until 3.0
    data = data if isinstance(data, list) else []
    data = [each for query in data for each in _texts(query)]
    set_query(operation, data, kwargs.get("limit"))


def _read_hits(result: Any) -> Iterable[object]:
    """Yield the documents of all queries. ``list.__iter__`` leaves undecoded what is decoded on first access."""
    for hits in result if isinstance(result, list) else ():  # a future of the old interface has no results yet
        rows = list(list.__iter__(hits))
        # ``distance`` is a score for some metrics. The best is first: if that is the smallest, they are distances.
        measure = "score" if rows and rows[0].distance > rows[-1].distance else "distance"
        for row in rows:
            yield document(row.id, row.fields, **{measure: row.distance})


_SEARCH = TracedMethod(
    "milvus",
    "retrieval",
    lambda _, args, kwargs: argument(args, kwargs, 0, "collection_name") or "",
    begin=_begin_search,
    locate=lambda handler: (None, address_of_milvus(handler)),
    read_documents=_read_hits,
)
_ASYNC = "pymilvus.client.async_grpc_handler:AsyncGrpcHandler"
install: Install = _SEARCH.installer(
    "GrpcHandler.search", "GrpcHandler.hybrid_search", f"{_ASYNC}.search?", f"{_ASYNC}.hybrid_search?"
)
