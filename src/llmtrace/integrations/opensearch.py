"""OpenSearch: searches for vectors or by a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ._wrapping import Install
from .elasticsearch import SEARCH


def _locate(transport: Any) -> tuple[object, str]:
    hosts = transport.hosts
    return None, f"{hosts[0]['host']}:{hosts[0].get('port', '')}" if len(hosts) == 1 else ""


install: Install = replace(SEARCH, client="opensearch", locate=_locate).installer(
    "Transport.perform_request", "opensearchpy._async.transport:AsyncTransport.perform_request"
)
