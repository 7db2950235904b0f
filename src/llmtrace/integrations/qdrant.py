"""Qdrant: searches of its client, on a server or in the process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..context.operation import Operation
from ._search_results import argument, document, set_query
from ._wrapping import Install, TracedMethod


def _begin_search(_: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], operation: Operation) -> None:
    query, requests = argument(args, kwargs, 1, "query"), argument(args, kwargs, 1, "requests")
    is_batch = isinstance(requests, (list, tuple)) and hasattr(next(iter(requests), None), "query")
    queries = [request.query for request in requests] if is_batch else [query]
    set_query(operation, [getattr(each, "text", None) for each in queries], kwargs.get("limit"))


def _read_points(result: Any) -> Iterable[object]:
    """Yield the points of all queries of a batch."""
    for response in result if isinstance(result, list) else [result]:
        for point in response.points:
            yield document(point.id, point.payload, score=point.score)


def _locate(client: Any) -> tuple[object, str]:
    options = client.init_options
    host, port = options.get("host"), options.get("port")
    return None, options.get("url") or (f"{host}:{port or ''}" if host else "")


_SEARCH = TracedMethod(
    "qdrant",
    "retrieval",
    lambda _, args, kwargs: argument(args, kwargs, 0, "collection_name") or "",
    begin=_begin_search,
    locate=_locate,
    read_documents=_read_points,
)
_ASYNC = "qdrant_client.async_qdrant_client:AsyncQdrantClient"
install: Install = _SEARCH.installer(
    "QdrantClient.query_points",
    "QdrantClient.query_batch_points",
    f"{_ASYNC}.query_points",
    f"{_ASYNC}.query_batch_points",
)
