"""Searches: what was found goes on a span of its own and is named by the calls that come after."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from numbers import Integral
from typing import Any, TypeVar, overload
from uuid import UUID

from .._errors import log_internal_error
from ..model import CallContext, Document
from . import state
from .blocks import Activation, CallArguments, F
from .documents import current_path
from .operation import Operation
from .operations import OperationBlock
from .validation import clean_label, warn_once

__all__ = ["Rerank", "Search", "read_documents", "rerank", "retrieval"]

_VECTORS = frozenset({"embedding", "embeddings", "vector", "vectors", "values", "sparse_values"})
_IDS = (str, Integral, UUID)

S_co = TypeVar("S_co", bound="Search", covariant=True)


class Search:
    """One search, as long as its block is open."""

    __slots__ = ("_alone", "_frame", "_work")

    def __init__(self, work: Operation, frame: Activation | None, *, alone: bool = False) -> None:
        self._work = work
        self._frame = frame
        self._alone = alone

    def add(self, documents: Iterable[object]) -> None:
        """Say what was found: ``Document``s, mappings, ``(id, score)`` or ``(document, score)`` pairs, or objects with
        the attributes ``id``, ``page_content`` (or ``content``, ``text``) and ``metadata``.

        Calls made later in the same block, or else the same trace, name these documents. Vectors are never kept.
        """
        try:
            found = list(read_documents(documents))
            self._work.documents += found
            if self._frame is not None and found:
                first = self._alone and len(self._work.documents) == len(found)
                self._frame.shelf.add(current_path(), state.trace_of(self._frame.outer), found, replace=first)
        except Exception:
            log_internal_error("read the documents of a search")

    def query(self, text: str) -> None:
        """Say what was asked for, where it was not known before."""
        self._work.query = text


class Rerank(Search):
    """One reranking, as long as its block is open."""

    __slots__ = ()

    def set_input_documents(self, documents: Iterable[object]) -> None:
        """Say which documents were to be ranked; ``add`` says which were kept."""
        try:
            self._work.given += read_documents(documents)
        except Exception:
            log_internal_error("read the documents of a search")


class _SearchBlock(OperationBlock[S_co]):
    _unnamed = None

    def __init__(self, name: object, query: object, top_k: object) -> None:
        super().__init__(name)
        self._query = query if isinstance(query, str) else None
        self._top_k = top_k if type(top_k) is int and 0 <= top_k < 2**63 else None

    def _describe(self, work: Operation, function: CallArguments | None) -> None:
        work.query = self._query
        work.top_k = self._top_k

    def _returned(self, frame: Activation, value: Any) -> None:
        # What a decorated search returns is what it found, unless it has said so itself.
        if isinstance(value, (list, tuple)) and not frame.work[0].documents and all(map(_is_document_like, value)):
            self._value(frame).add(value)


class _Retrieval(_SearchBlock[Search]):
    _kind = "retrieval"

    def _value(self, frame: Activation) -> Search:
        if frame.work is None:
            return Search(Operation(self._kind, self._name, CallContext()), None)
        return Search(frame.work[0], frame)


class _Rerank(_SearchBlock[Rerank]):
    _kind = "rerank"

    def _value(self, frame: Activation) -> Rerank:
        if frame.work is None:
            return Rerank(Operation(self._kind, self._name, CallContext()), None)
        return Rerank(frame.work[0], frame, alone=True)


@overload
def retrieval(data_source: F, /) -> F: ...


@overload
def retrieval(
    data_source: str | None = None, *, query: str | None = None, top_k: int | None = None
) -> OperationBlock[Search]: ...


def retrieval(data_source: object = None, *, query: str | None = None, top_k: int | None = None) -> Any:
    """Record a search as a span ``retrieval <data_source>``: ``with retrieval("manuals", query=q) as r: r.add(hits)``.

    Calls made later in the block around, or else in the same trace, say which document ids they were given. Query,
    texts and metadata are recorded only when content capture is on. As a decorator it takes the returned list as what
    was found.

    Args:
        data_source: What is searched: an index, a table, a collection. A decorator may leave it out, with or without
            parentheses.
        query: What is asked for.
        top_k: How many documents are asked for.

    Raises:
        TypeError: The data source is neither text nor a function, or a class is decorated.
    """
    return _Retrieval.made(data_source, query, top_k)


@overload
def rerank(model: F, /) -> F: ...


@overload
def rerank(
    model: str | None = None, *, query: str | None = None, top_k: int | None = None
) -> OperationBlock[Rerank]: ...


def rerank(model: object = None, *, query: str | None = None, top_k: int | None = None) -> Any:
    """Record a reranking as a span ``rerank <model>``: ``with rerank("cross-encoder", query=q) as r: r.add(best)``.

    ``r.given(hits)`` says what was to be ranked. What is kept takes the place of what was found before:
    later calls name only these documents.

    Args:
        model: What ranks. A decorator may leave it out, with or without parentheses.
        query: What the documents are ranked by.
        top_k: How many are kept.

    Raises:
        TypeError: The model is neither text nor a function, or a class is decorated.
    """
    return _Rerank.made(model, query, top_k)


def _is_document_like(item: object) -> bool:
    return isinstance(item, (Document, Mapping, tuple)) or _content(item) is not None


def read_documents(items: object) -> Iterator[Document]:
    """The documents in what searches return, in order. What cannot be told apart is left out with one warning."""
    if items is None:
        return  # nothing was found
    if isinstance(items, (Document, Mapping, *_IDS)) or not isinstance(items, Iterable):
        items = (items,)
    for item in items:
        found = _document(item, None)
        if found is None:
            warn_once(
                "documents",
                f"a {type(item).__name__} is no document: give Document, a mapping with an id, or an (id, score) pair",
            )
        else:
            yield found


def _document(item: Any, score: float | None) -> Document | None:
    read: Document | None
    match item:
        case Document():
            read = _build_document(item.id, item.score, _text(item.content), item.metadata)
        case _ if (name := _name(item)) is not None:
            return Document(name, score)
        case (inner, second) if not isinstance(inner, tuple):
            return _document(inner, _score(second))
        case Mapping():
            content = _text(item.get("content"), item.get("text"), item.get("page_content"))
            read = _build_document(item.get("id"), item.get("score"), content, item.get("metadata"))
        case _:
            metadata = getattr(item, "metadata", None)
            read = _build_document(getattr(item, "id", None), getattr(item, "score", None), _content(item), metadata)
    if read is None or score is None or read.score is not None:
        return read
    return replace(read, score=score)


def _name(value: Any) -> str | None:
    """The id that ``value`` is, if it is one."""
    if isinstance(value, bool) or not isinstance(value, _IDS):
        return None
    # An integer may also be one of NumPy's.
    return clean_label("the id of a document", int(value) if isinstance(value, Integral) else value)


def _build_document(id_: object, score: object, content: str | None, metadata: object) -> Document | None:
    name = _name(id_)
    if name is None:
        if content is None:
            return None
        # Nothing else tells it apart from others.
        name = "sha256:" + sha256(content.encode("utf-8", "replace")).hexdigest()[:12]
    told = metadata if isinstance(metadata, Mapping) else {}
    kept = {str(key): value for key, value in told.items() if str(key).lower() not in _VECTORS}
    return Document(name, _score(score), content, kept)


def _content(item: object) -> str | None:
    return _text(*(getattr(item, name, None) for name in ("page_content", "content", "text")))


def _text(*candidates: object) -> str | None:
    return next((text for text in candidates if isinstance(text, str)), None)


def _score(value: Any) -> float | None:
    if value is None or isinstance(value, (str, bytes, bool)):
        return None
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return score if math.isfinite(score) else None
