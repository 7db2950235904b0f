"""OpenSearch: searches for vectors or by a model."""

from __future__ import annotations

from typing import Any

from ._wrapping import Install, TracedMethod
from .elasticsearch import index_searched, read_hits, set_body


def _locate(transport: Any) -> tuple[object, str]:
    hosts = transport.hosts
    return None, f"{hosts[0]['host']}:{hosts[0].get('port', '')}" if len(hosts) == 1 else ""


_SEARCH = TracedMethod(
    "opensearch",
    "retrieval",
    index_searched,
    begin=set_body,
    locate=_locate,
    database_operation="search",
    read_documents=read_hits,
)
install: Install = _SEARCH.installer(
    "Transport.perform_request", "opensearchpy._async.transport:AsyncTransport.perform_request"
)
