"""Chroma: searches of a collection, on a server or in the process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, repeat
from typing import Any

from ..context.operation import Operation
from ..providers._patches import Patches
from ._wrapping import TracedMethod

__all__ = ["install"]


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``chromadb.api.models.Collection``."""
    patches = Patches()
    patches.wrap_in(module, "Collection", "query", _SEARCH.call)
    patches.when_imported("chromadb.api.models.AsyncCollection", _wrap_async)
    return patches


def _wrap_async(module: Any, patches: Patches) -> None:
    patches.wrap_in(module, "AsyncCollection", "query", _SEARCH.call_async)


def _begin_search(_: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], operation: Operation) -> None:
    texts = args[1] if len(args) > 1 else kwargs.get("query_texts")
    operation.query = "\n".join(texts) if isinstance(texts, list) else texts if isinstance(texts, str) else None
    limit = kwargs.get("n_results")
    operation.top_k = limit if type(limit) is int else None


def _read_rows(result: Mapping[str, Any]) -> Iterable[object]:
    """Yield the documents of all queries. A distance is metadata: for a score, more would have to be better."""
    columns = [chain.from_iterable(result.get(key) or ()) for key in ("ids", "documents", "metadatas", "distances")]
    ids, *others = columns
    padded = [chain(column, repeat(None)) for column in others]
    for id_, text, metadata, distance in zip(ids, *padded, strict=False):
        more = {} if distance is None else {"distance": distance}
        yield {"id": id_, "content": text, "metadata": {**(metadata or {}), **more}}


_SEARCH = TracedMethod(
    "chroma",
    "retrieval",
    lambda collection, *_: collection.name,
    begin=_begin_search,
    read_documents=_read_rows,
)
