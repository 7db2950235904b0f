"""Pinecone: searches of an index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial, wraps
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from .._compat.vector_stores import address_of_pinecone
from ..context.operation import Operation
from ..providers._patches import Patches
from ._search_results import document, set_query
from ._wrapping import TracedMethod

_parts: list[int] = []
"""Ids of the vectors that a search of several namespaces searches for, in threads."""


def _vector_id(kwargs: Mapping[str, Any]) -> int:
    vector = kwargs.get("vector")
    return id(kwargs.get("sparse_vector") if vector is None else vector)


def _index(index: Any, _: Any, kwargs: Mapping[str, Any]) -> str | None:
    """Return the host of an index, which is its name and the id of its project, without the domain."""
    if "namespace" in kwargs and _vector_id(kwargs) in _parts:
        return None
    host = address_of_pinecone(index)
    name = urlsplit(host if "//" in host else f"//{host}").hostname or ""
    return name.partition(".svc.")[0]


def _begin_search(_: Any, __: Any, kwargs: Mapping[str, Any], operation: Operation) -> None:
    inputs = kwargs.get("inputs") or _field(kwargs.get("query"), "inputs")
    texts = [_field(inputs, "text"), *(_field(clause, "query") for clause in kwargs.get("score_by") or ())]
    set_query(operation, texts, kwargs.get("top_k") or _field(kwargs.get("query"), "top_k"))


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _read_matches(response: Any) -> Iterable[object]:
    for match in response.matches:
        yield document(match.id, match.metadata, score=match.score)


def _read_hits(response: Any) -> Iterable[object]:
    for hit in response.result.hits:
        yield document(hit.id, hit.fields, score=hit.score)


def _read_own_fields(response: Any) -> Iterable[object]:
    for match in response.matches:
        fields = {name: value for name, value in match.to_dict().items() if name not in {"_id", "_score"}}
        yield document(match.id, fields, score=match.score)


def _query_namespaces(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    @wraps(wrapped)
    def search(*args: Any, **kwargs: Any) -> Any:
        _parts.append(vector)
        try:
            return wrapped(*args, **kwargs)
        finally:
            _parts.remove(vector)

    vector = _vector_id(kwargs)
    return _QUERY.call(search, instance, args, kwargs)


def _wrap_namespaces(name: str, module: Any, patches: Patches) -> None:
    if hasattr(getattr(module, name, None), "query_namespaces"):  # in both since 10
        patches.wrap_in(module, name, "query_namespaces", _query_namespaces)


_QUERY = TracedMethod(
    "pinecone",
    "retrieval",
    _index,
    begin=_begin_search,
    locate=lambda index: (None, address_of_pinecone(index)),
    read_documents=_read_matches,
)
_SEARCH = replace(_QUERY, read_documents=_read_hits)
_DOCUMENT_SEARCH = replace(_QUERY, read_documents=_read_own_fields)
_INDEXES = "pinecone.index:Index", "pinecone.grpc:GrpcIndex", "pinecone.async_client.async_index:AsyncIndex"
_DOCUMENTS = "pinecone.client.documents:Documents", "pinecone.async_client.documents:AsyncDocuments"


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``pinecone``, which imports the classes of indexes when they are used."""
    patches = Patches()
    if find_spec("pinecone.index") is None:
        patches.missing.append("pinecone.index")
        return patches
    _QUERY.install_in(patches, module, *(f"{each}.query" for each in _INDEXES), f"{_INDEXES[2]}.query_namespaces")
    _SEARCH.install_in(patches, module, *(f"{each}.search" for each in _INDEXES))
    _DOCUMENT_SEARCH.install_in(patches, module, *(f"{each}.search" for each in _DOCUMENTS))
    for name in _INDEXES[:2]:  # they search in threads
        part, _, owner = name.partition(":")
        patches.when_imported(part, partial(_wrap_namespaces, owner))
    return patches
