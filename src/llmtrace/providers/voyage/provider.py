"""The ``voyageai`` client library."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ..._read import get, get_count, iter_list
from ...capture.call import CallState
from ...capture.services import CallServices
from .. import EMBEDDINGS, RERANK, Provider, Request, Response, _hooks, named
from .._patches import Patches
from .._requests import call_hooks, end_with, open_call

__all__ = ["VOYAGE"]

_METHODS = ("embed", "multimodal_embed", "contextualized_embed", "rerank")


def read_request(body: Any) -> Request:
    request = EMBEDDINGS.request(body)
    dimensions = get_count(body, "output_dimension")
    if dimensions is not None:
        request.params["dimensions"] = dimensions
    return request


def read_response(response: Any) -> Response:
    read = EMBEDDINGS.response(response)
    if isinstance(get(next(iter_list(response, "data"), None), "embedding"), str):
        read.dimensions = None  # base64 of numbers of a size that only the request may state
    return read


def _settle(call: CallState, result: Any) -> None:
    end_with(call, result.data)


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks in ``module``, the library's ``api_requestor``, and in its clients when they are imported."""
    patches = Patches()

    def begin(requestor: Any, args: Any, kwargs: Any) -> CallState | None:
        return _hooks.begin_repeated(partial(begin_first, requestor, args, kwargs)) if patches.active else None

    def begin_first(requestor: Any, args: Any, kwargs: Any) -> CallState | None:
        arguments = dict(zip(("method", "url", "params"), args, strict=False)) | kwargs
        method, path, body = (arguments.get(name) for name in ("method", "url", "params"))
        base = str(get(requestor, "base_url") or get(requestor, "api_base"))  # the name in the first releases
        return open_call(provider, services, str(method), str(path), body, base=base)

    request, request_async = call_hooks(begin, _settle)
    patches.wrap_in(module, "APIRequestor", "request", request)
    patches.wrap_in(module, "APIRequestor", "arequest", request_async)
    package = module.__name__.partition(".")[0]
    for name, owner, hook in (
        ("client", "Client", _hooks.repeat),
        ("client_async", "AsyncClient", _hooks.repeat_async),
    ):
        patches.when_imported(f"{package}.{name}", partial(_hook_methods, owner, hook))
    return patches


def _hook_methods(owner: str, hook: Any, module: Any, patches: Patches) -> None:
    cls = getattr(module, owner, None)
    for name in _METHODS:
        if hasattr(cls, name):  # not all releases have all of them
            patches.wrap(cls, name, hook)


_EMBEDDINGS = replace(EMBEDDINGS, request=read_request, response=read_response)
VOYAGE = Provider(
    name="voyage",
    distribution="voyageai",
    module="voyageai.api_resources.api_requestor",
    supported=">=0.3,<1",
    hook=patch,
    routes=named(
        "voyage",
        {
            ("POST", "/embeddings"): ("embed", _EMBEDDINGS),
            ("POST", "/multimodalembeddings"): ("multimodal_embed", _EMBEDDINGS),
            ("POST", "/contextualizedembeddings"): ("contextualized_embed", _EMBEDDINGS),
            ("POST", "/rerank"): ("rerank", RERANK),
        },
    ),
    serves="voyage_ai",
)
