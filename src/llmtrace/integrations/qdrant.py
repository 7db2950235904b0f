"""Qdrant: searches of its client, on a server or in the process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..context.operation import Operation
from ..providers._patches import Patches
from ._wrapping import TracedMethod

__all__ = ["install"]


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``qdrant_client.qdrant_client``."""
    patches = Patches()
    patches.wrap_in(module, "QdrantClient", "query_points", _SEARCH.call)
    patches.when_imported("qdrant_client.async_qdrant_client", _wrap_async)
    return patches


def _wrap_async(module: Any, patches: Patches) -> None:
    patches.wrap_in(module, "AsyncQdrantClient", "query_points", _SEARCH.call_async)


def _begin_search(_: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], operation: Operation) -> None:
    text = getattr(args[1] if len(args) > 1 else kwargs.get("query"), "text", None)
    operation.query = text if isinstance(text, str) else None
    limit = kwargs.get("limit")
    operation.top_k = limit if type(limit) is int else None


def _read_points(response: Any) -> Iterable[object]:
    for point in response.points:
        yield {"id": point.id, "score": point.score, "metadata": point.payload}


_SEARCH = TracedMethod(
    "qdrant",
    "retrieval",
    lambda _, args, kwargs: args[0] if args else kwargs.get("collection_name", ""),
    begin=_begin_search,
    read_documents=_read_points,
)
