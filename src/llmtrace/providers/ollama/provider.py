"""The ``ollama`` client library."""

from __future__ import annotations

from typing import Any

from ..._read import get
from ...capture.call import CallState
from ...capture.services import CallServices
from ...context import state as context_state
from .. import Provider, named
from .._patches import Patches
from .._requests import call_hooks, end_with, lazy_stream, open_call
from .chat import CHAT, EMBED, GENERATE


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks in ``module``, the library's ``_client``."""
    patches = Patches()

    def begin(client: Any, args: Any, kwargs: Any, context: Any = None) -> CallState | None:
        if not is_traced(args):
            return None
        _, method, path = args
        return open_call(
            provider,
            services,
            method,
            path,
            kwargs.get("json"),
            base=str(get(get(client, "_client"), "base_url")),
            stream=kwargs.get("stream") is True,
            context=context,
        )

    def is_traced(args: Any) -> bool:
        return patches.active and len(args) == 3 and provider.route(str(args[1]), str(args[2])) is not None

    def lazily(stream: Any, client: Any, args: Any, kwargs: Any) -> Any:
        context = context_state.current()
        return lazy_stream(stream, lambda: begin(client, args, kwargs, context)) if is_traced(args) else stream

    once, once_async = call_hooks(begin, end_with)

    def request(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        if kwargs.get("stream"):
            return lazily(wrapped(*args, **kwargs), client, args, kwargs)
        return once(wrapped, client, args, kwargs)

    async def request_async(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        if kwargs.get("stream"):
            return lazily(await wrapped(*args, **kwargs), client, args, kwargs)
        return await once_async(wrapped, client, args, kwargs)

    patches.wrap_in(module, "Client", "_request", request)
    patches.wrap_in(module, "AsyncClient", "_request", request_async)
    return patches


OLLAMA = Provider(
    name="ollama",
    distribution="ollama",
    module="ollama._client",
    supported=">=0.4.5,<1",
    hook=patch,
    routes=named(
        "ollama",
        {
            ("POST", "/api/chat"): ("chat", CHAT),
            ("POST", "/api/generate"): ("generate", GENERATE),
            ("POST", "/api/embed"): ("embed", EMBED),
            ("POST", "/api/embeddings"): ("embeddings", EMBED),
        },
    ),
)
