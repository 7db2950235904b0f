"""Private parts of the clients of vector stores: the addresses of their servers, empty where they are not known."""

from __future__ import annotations

from typing import Any


def address_of_pinecone(index: Any) -> str:
    """Return the address of an index, also of the client of its documents."""
    return str(getattr(index, "_host", None) or getattr(index, "host", ""))


def address_of_chroma(collection: Any) -> str:
    """Return the host and port of the server of a collection, none in the process."""
    settings: Any = getattr(getattr(collection, "_client", None), "get_settings", dict)()
    host, port = (getattr(settings, f"chroma_server_{name}", None) for name in ("host", "http_port"))
    return "" if host is None else f"{host}:{port or ''}"


def address_of_milvus(handler: Any) -> str:
    """Return the address of the server of a connection, of either kind."""
    return str(getattr(handler, "_address", None) or getattr(handler, "server_address", ""))


def address_of_weaviate(connection: Any) -> str:
    """Return the host and port that searches are sent to."""
    grpc: Any = getattr(getattr(connection, "_connection_params", None), "grpc", None)
    return f"{grpc.host}:{grpc.port}" if hasattr(grpc, "host") and hasattr(grpc, "port") else ""
