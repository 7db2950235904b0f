"""Elasticsearch: searches for vectors or by a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from ..context.operation import Operation
from ._search_results import argument, document, set_query
from ._wrapping import Install, TracedMethod

_SEMANTIC = frozenset(
    {"knn", "neural", "neural_sparse", "retriever", "semantic", "sparse_vector", "text_expansion", "weighted_tokens"}
)
_COMPOUND = frozenset({"bool", "boosting", "constant_score", "dis_max", "filter", "function_score", "hybrid", "must",
                       "nested", "positive", "queries", "query", "script_score", "should"})  # fmt: skip
_TEXTS = ("query_text", "model_text", "inference_text", "query")


def _clauses(query: object) -> Iterator[object]:
    """Yield the clauses for vectors and models, also those inside compound queries."""
    if isinstance(query, list):
        for each in query:
            yield from _clauses(each)
    elif isinstance(query, Mapping):
        for name, value in query.items():
            if name in _SEMANTIC:
                yield value
            elif name in _COMPOUND:
                yield from _clauses(value)


def _texts(value: object) -> Iterator[str]:
    """Yield the texts that a clause searches for."""
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, Mapping):
        yield from (value[name] for name in _TEXTS if isinstance(value.get(name), str))
        for each in value.values():
            yield from _texts(each)


def _index_searched(_: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Return the name of the index, or ``None`` if the request is not a search for vectors or by a model."""
    path = argument(args, kwargs, 1, "path") or kwargs.get("url")
    body = kwargs.get("body") or (args[3] if len(args) > 3 else None)
    if not isinstance(path, str) or not path.endswith("/_search") or next(_clauses(body), None) is None:
        return None
    return unquote(path.removesuffix("/_search").strip("/"))


def _set_body(_: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], operation: Operation) -> None:
    """Set what the body of a search requests."""
    body = kwargs.get("body") or args[3]
    texts = dict.fromkeys(text for clause in _clauses(body) for text in _texts(clause))
    set_query(operation, list(texts), body.get("size"))


def _read_hits(response: Any) -> Iterable[object]:
    """Yield the documents of a response."""
    hits = response.get("hits") if hasattr(response, "get") else None  # none if the caller ignores an error status
    for hit in (hits or {}).get("hits") or ():
        yield document(hit.get("_id"), hit.get("_source"), score=hit.get("_score"))


def _locate(client: Any) -> tuple[object, str]:
    nodes = client.transport.node_pool.all()
    return None, nodes[0].base_url if len(nodes) == 1 else ""


SEARCH = TracedMethod(
    "elasticsearch",
    "retrieval",
    _index_searched,
    begin=_set_body,
    locate=_locate,
    database_operation="search",
    read_documents=_read_hits,
)
install: Install = SEARCH.installer(
    "BaseClient.perform_request", "elasticsearch._async.client._base:BaseClient.perform_request"
)
