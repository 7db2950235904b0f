"""Arguments and results of searches, as vector stores have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..context.operation import Operation

_TEXT_FIELDS = ("text", "content", "page_content", "chunk_text", "document")


def argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], position: int, name: str) -> Any:
    """Return an argument by its position or name, or ``None``."""
    return args[position] if len(args) > position else kwargs.get(name)


def set_query(operation: Operation, query: object, limit: object) -> None:
    """Set the query, if it is one text or a list of texts, and the requested number of documents, if it is a number."""
    texts = [text for text in (query if isinstance(query, list) else [query]) if isinstance(text, str)]
    operation.query = "\n".join(texts) or None
    operation.top_k = limit if type(limit) is int else None


def document(id_: object, fields: object, *, score: object = None, distance: object = None) -> dict[str, object]:
    """Return one result as a document. A distance is metadata: for a score, more would have to be better."""
    metadata = dict(fields) if isinstance(fields, Mapping) else {}
    text = None
    for name in _TEXT_FIELDS:
        if isinstance(metadata.get(name), str):
            text = metadata.pop(name)
            break
    if distance is not None:
        metadata["distance"] = distance
    return {"id": id_, "content": text, "score": score, "metadata": metadata}
