"""Retrieval and reranking blocks. Later calls record the ids of the documents that they received."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from numbers import Integral
from typing import Any, TypeVar, cast, overload
from uuid import UUID

from .._errors import log_internal_error
from ..model import CallContext, Document
from . import state
from .blocks import Activation, CallArguments, F
from .documents import current_path
from .operation import Operation
from .operations import OperationBlock
from .validation import clean_label, warn_invalid

_VECTOR_KEYS = frozenset({"embedding", "embeddings", "vector", "vectors", "values", "sparse_values"})
_ID_TYPES = (str, Integral, UUID)

S_co = TypeVar("S_co", bound="Search", covariant=True)


class Search:
    """One search, as long as its block is open."""

    __slots__ = ("_activation", "_operation", "_replace", "_with_content")

    def __init__(
        self,
        operation: Operation,
        activation: Activation | None,
        *,
        replace: bool = False,
        with_content: bool = True,
    ) -> None:
        self._operation = operation
        self._activation = activation
        self._replace = replace
        self._with_content = with_content
        """False to keep ids and scores only."""

    def add(self, documents: Iterable[object]) -> None:
        """Add retrieved documents, or the documents that a reranker kept.

        Later calls in the enclosing block, or else in the same trace, record the ids of these documents. Embedding
        vectors in metadata are dropped. Items of another type are dropped with one warning in the log.

        Args:
            documents: ``Document`` objects, mappings, ``(id, score)`` or ``(document, score)`` pairs, or objects with
                the attributes ``id``, ``page_content`` (or ``content``, ``text``) and ``metadata``.
        """
        try:
            added = list(read_documents(documents, with_content=self._with_content))
            self._operation.documents += added
            self._operation.inner_documents = None
            if self._activation is not None and added:
                replaces = self._replace and len(self._operation.documents) == len(added)
                trace = state.trace_of(self._activation.outer)
                self._activation.documents.add(current_path(), trace, added, replace=replaces)
        except Exception:
            log_internal_error("read the documents of a search")

    def query(self, text: str) -> None:
        """Set the query of the search, if it was not known when the block was created.

        Args:
            text: The query.
        """
        self._operation.query = text


class Rerank(Search):
    """One reranking, as long as its block is open."""

    __slots__ = ()

    def set_input_documents(self, documents: Iterable[object]) -> None:
        """Add the documents that are ranked; ``add`` records those that are kept.

        Args:
            documents: The same types as for ``add``.
        """
        try:
            self._operation.input_documents += read_documents(documents)
        except Exception:
            log_internal_error("read the documents of a search")


class _SearchBlock(OperationBlock[S_co]):
    _unnamed = None
    _handle: type[S_co]
    """Class of the value of the block."""

    def __init__(self, name: object, query: object, top_k: object) -> None:
        super().__init__(name)
        self._query = query if isinstance(query, str) else None
        self._top_k = top_k if type(top_k) is int and 0 <= top_k < 2**63 else None

    def _describe(self, operation: Operation, function: CallArguments | None) -> None:
        operation.query = self._query
        operation.top_k = self._top_k

    def _value(self, activation: Activation) -> S_co:
        if activation.payload is None:
            return self._handle(Operation(self._kind, self._name, CallContext()), None)
        return self._handle(activation.payload[0], activation, replace=self._kind == "rerank")

    def _returned(self, activation: Activation, value: Any) -> None:
        # Record the returned list of a decorated function, unless it has called ``add`` itself.
        if (
            isinstance(value, (list, tuple))
            and not activation.payload[0].documents
            and all(map(_is_document_like, value))
        ):
            self._value(activation).add(value)


class _Retrieval(_SearchBlock[Search]):
    _kind = "retrieval"
    _handle = Search

    def _leave(self, activation: Activation, error: BaseException | None) -> None:
        inner = activation.payload[0].inner_documents
        if inner:
            self._value(activation).add(inner)
        super()._leave(activation, error)


class _Rerank(_SearchBlock[Rerank]):
    _kind = "rerank"
    _handle = Rerank


@overload
def retrieval(data_source: F, /) -> F: ...


@overload
def retrieval(
    data_source: str | None = None, *, query: str | None = None, top_k: int | None = None
) -> OperationBlock[Search]: ...


def retrieval(data_source: object = None, *, query: str | None = None, top_k: int | None = None) -> Any:
    """Record a search as a span ``retrieval``: context manager and decorator.

    Example: ``with retrieval("manuals", query=question) as r: r.add(hits)``.

    Later calls in the enclosing block, or else in the same trace, record the ids of the retrieved documents. Query,
    texts and metadata are recorded only when content capture is on. A decorator records the returned list of documents.

    Args:
        data_source: The index, table or collection that is searched. Optional for a decorator, with or without
            parentheses.
        query: The search query.
        top_k: The requested number of documents.

    Returns:
        The decorated function, or a block whose value is a ``Search`` with ``add`` and ``query``.

    Raises:
        TypeError: The data source is neither text nor a function, or a class is decorated.
    """
    return _Retrieval.create(data_source, query, top_k)


@overload
def rerank(model: F, /) -> F: ...


@overload
def rerank(
    model: str | None = None, *, query: str | None = None, top_k: int | None = None
) -> OperationBlock[Rerank]: ...


def rerank(model: object = None, *, query: str | None = None, top_k: int | None = None) -> Any:
    """Record a reranking as a span ``rerank <model>``: context manager and decorator.

    Example: ``with rerank("cross-encoder", query=question) as r: r.add(best)``.

    ``r.set_input_documents(hits)`` records the documents that are ranked. The documents passed to ``r.add`` replace
    those retrieved before: later calls record only these ids.

    Args:
        model: The name of the reranking model. Optional for a decorator, with or without parentheses.
        query: The query that the documents are ranked by.
        top_k: The number of documents to keep.

    Returns:
        The decorated function, or a block whose value is a ``Rerank`` with ``add`` and ``set_input_documents``.

    Raises:
        TypeError: The model is neither text nor a function, or a class is decorated.
    """
    return _Rerank.create(model, query, top_k)


def _is_document_like(item: object) -> bool:
    return isinstance(item, (Document, Mapping, tuple)) or _content(partial(getattr, item)) is not None


def read_documents(items: object, *, with_content: bool = True) -> Iterator[Document]:
    """Yield the documents in the return value of a search, in order. Items without an id or text are dropped."""
    if items is None:
        return
    if type(items) is not list and (
        isinstance(items, (Document, Mapping, *_ID_TYPES)) or not isinstance(items, Iterable)
    ):
        items = (items,)
    for item in cast("Iterable[Any]", items):
        document = _document(item, None, with_content)
        if document is None:
            warn_invalid(
                "documents",
                f"an object of type {type(item).__name__} is not a valid document; it is not recorded; "
                "pass a Document, a mapping with an id, or an (id, score) pair",
            )
        else:
            yield document


def _document(item: Any, score: float | None, with_content: bool) -> Document | None:
    """Return ``item`` as a document; ``score`` is used unless the item has a score of its own."""
    if type(item) is dict or isinstance(item, Mapping):
        get: Callable[[str, None], Any] = item.get
    elif (document_id := _document_id(item)) is not None:
        return Document(document_id, score)
    elif isinstance(item, (tuple, list)) and len(item) == 2 and not isinstance(item[0], tuple):
        return _document(item[0], _score(item[1]), with_content)
    else:
        get = partial(getattr, item)
    own_score = _score(get("score", None))
    document_id = _document_id(get("id", None))
    score = score if own_score is None else own_score
    if document_id is not None and not with_content:
        return Document(document_id, score)
    content = _content(get)
    if document_id is None:
        if content is None:
            return None
        # Derive an id from the text, so that the same text always has the same id.
        document_id = "sha256:" + sha256(content.encode("utf-8", "replace")).hexdigest()[:12]
    metadata = get("metadata", None)
    mapping = metadata if isinstance(metadata, Mapping) else {}
    kept = {str(key): value for key, value in mapping.items() if str(key).lower() not in _VECTOR_KEYS}
    return Document(document_id, score, content, kept)


def _document_id(value: Any) -> str | None:
    """Return ``value`` as the id of a document, if it is text, an integer or a UUID."""
    if type(value) is not str and type(value) is not int:
        if value is None or isinstance(value, bool) or not isinstance(value, _ID_TYPES):
            return None
        value = int(value) if isinstance(value, Integral) else value  # also NumPy's types
    return clean_label("the id of a document", value)


def _content(get: Callable[[str, None], Any]) -> str | None:
    for name in ("page_content", "content", "text"):  # one by one: objects of Pydantic look long for what they lack
        if isinstance(text := get(name, None), str):
            return text
    return None


def _score(value: Any) -> float | None:
    if value is None or isinstance(value, (str, bytes, bool)):
        return None
    try:
        score = value if type(value) is float else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return score if math.isfinite(score) else None
