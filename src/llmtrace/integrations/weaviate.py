"""Weaviate: searches of a collection over gRPC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .._compat.vector_stores import address_of_weaviate
from ..context.operation import Operation
from ._search_results import argument, document, set_query
from ._wrapping import Install, TracedMethod

_SEARCHES = frozenset({"bm25_search", "hybrid_search"})


def _searches(request: Any) -> list[Any]:
    """Return the searches of a request: none if it only fetches objects."""
    return [value for field, value in request.ListFields() if field.name in _SEARCHES or field.name.startswith("near_")]


def _collection(_: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> object:
    request = argument(args, kwargs, 0, "request")
    return request.collection if _searches(request) else None


def _begin_search(_: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], operation: Operation) -> None:
    request = argument(args, kwargs, 0, "request")
    queries = [getattr(search, "query", None) for search in _searches(request)]
    texts = [text for query in queries for text in ([query] if isinstance(query, str) else query or ())]
    set_query(operation, texts, request.limit or None)


def _read_objects(reply: Any) -> Iterable[object]:
    """Yield the objects, also those in groups. A number is absent unless the field ``..._present`` is true."""
    groups = [group.objects for group in reply.group_by_results]
    for result in (each for results in (reply.results, *groups) for each in results):
        metadata = result.metadata
        fields = result.properties.non_ref_props.fields
        texts = {name: value.text_value for name, value in fields.items() if value.WhichOneof("kind") == "text_value"}
        yield document(
            metadata.id or None,
            texts,
            score=metadata.score if metadata.score_present else None,
            distance=metadata.distance if metadata.distance_present else None,
        )


_SEARCH = TracedMethod(
    "weaviate",
    "retrieval",
    _collection,
    begin=_begin_search,
    locate=lambda connection: (None, address_of_weaviate(connection)),
    database_operation="search",
    read_documents=_read_objects,
)
install: Install = _SEARCH.installer("ConnectionSync.grpc_search", "ConnectionAsync.grpc_search")
