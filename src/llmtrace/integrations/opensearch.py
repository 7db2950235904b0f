"""OpenSearch: searches for vectors or by a model."""

from __future__ import annotations

from ._wrapping import TracedMethod
from .elasticsearch import index_searched, read_hits, set_body

__all__ = ["install"]

_SEARCH = TracedMethod("opensearch", "retrieval", index_searched, begin=set_body, read_documents=read_hits)
install = _SEARCH.installer("Transport.perform_request", "opensearchpy._async.transport:AsyncTransport.perform_request")
