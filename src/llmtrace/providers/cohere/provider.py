"""The ``cohere`` client library, which Fern generates."""

from __future__ import annotations

import sys
from typing import Any

from ..._errors import log_internal_error
from ...capture.call import CallState
from ...capture.http_body import SseParser
from ...capture.services import CallServices
from .. import Provider, _hooks, named
from .._deferred import DeferredStreams, Origin
from .._patches import Patches
from .._requests import call_hooks, end_with_http, open_call
from .chat import CHAT, CHAT_V1, EMBED, RERANK

_STREAMED = (
    *(("v2.client", owner) for owner in ("V2Client", "AsyncV2Client")),
    *(("base_client", owner) for owner in ("BaseCohere", "AsyncBaseCohere")),
)
"""Modules and classes with the method ``chat_stream``, which sends its request when it is read."""


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks, when all that ``module``, the library's ``client``, imports is complete."""
    patches = Patches()
    package = module.__name__.partition(".")[0]
    deferred = DeferredStreams(patches)

    def begin(
        client: Any, args: Any, kwargs: Any, origin: Origin | None = None, *, stream: bool = False
    ) -> CallState | None:
        try:
            if not patches.active or _is_hosted_elsewhere(client):
                return None
            path, body = "/" + str(args[0] if args else kwargs.get("path")), kwargs.get("json")
            if isinstance(body, dict):  # without the mark of omitted parameters
                body = {name: value for name, value in body.items() if value is not ...}
            method, base = str(kwargs.get("method")), _base_url(client, kwargs)
        except Exception:
            log_internal_error("begin a call")
            return None
        context = None if origin is None else origin.context
        return open_call(provider, services, method, path, body, base=base, stream=stream, context=context)

    def begin_request(client: Any, args: Any, kwargs: Any) -> CallState | None:
        return None if _is_retry(kwargs) else begin(client, args, kwargs)

    def stream(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        origin = deferred.find(sys._getframe())
        manager = wrapped(*args, **kwargs)
        call = begin(client, args, kwargs, origin, stream=True)
        return manager if call is None else _ObservedManager(call, manager, origin)

    for owner, hook in zip(("HttpClient", "AsyncHttpClient"), call_hooks(begin_request, end_with_http), strict=True):
        patches.wrap_in(sys.modules.get(f"{package}.core.http_client"), owner, "request", hook)
        patches.wrap_in(sys.modules.get(f"{package}.core.http_client"), owner, "stream", stream)
    for name, owner in _STREAMED:
        patches.wrap_when_imported(f"{package}.{name}", owner, chat_stream=deferred.remember)
    return patches


def _is_hosted_elsewhere(client: Any) -> bool:
    """Return true for a client of AWS or OCI, whose hooks send the requests there at other prices."""
    hooks = getattr(getattr(client, "httpx_client", None), "event_hooks", None) or {}
    return any(getattr(hook, "__module__", "").startswith("cohere.") for hook in hooks.get("request", ()))


def _base_url(client: Any, kwargs: Any) -> str:
    base = kwargs.get("base_url") or client.base_url
    return str(base() if callable(base) else base)


def _is_retry(kwargs: Any) -> bool:
    """Return true for an attempt that the library makes inside its own request method, and count it."""
    retries = kwargs.get("retries")
    if not retries:
        return False
    call = _hooks.current_call()
    if call is not None:
        call.retries = retries
        _hooks.record_failed_attempt(call, sys.exception())
    return True


class _ObservedManager:
    """Context manager of a streamed response, which begins the call when it is entered."""

    def __init__(self, call: CallState, manager: Any, origin: Origin | None) -> None:
        self._call = call
        self._manager = manager
        self._origin = origin

    def __enter__(self) -> Any:
        self._response = _hooks.drive(self._call, end_with_http, self._manager.__enter__, (), {})
        return self._response

    def __exit__(self, *raised: Any) -> Any:
        self._on_exit(raised[0])
        return self._manager.__exit__(*raised)

    async def __aenter__(self) -> Any:
        self._response = await _hooks.drive_async(self._call, end_with_http, self._manager.__aenter__, (), {})
        return self._response

    async def __aexit__(self, *raised: Any) -> Any:
        self._on_exit(raised[0])
        return await self._manager.__aexit__(*raised)

    def _on_exit(self, kind: Any) -> None:
        """Mark a stream that was dropped before the library closes the response, which then ends it on the worker."""
        try:
            body = self._response.stream
            reader = getattr(body, "_self_reader", None)
            if kind is GeneratorExit and self._origin is not None and isinstance(reader, SseParser):
                body._self_observer, body._self_holder = reader.observer, self._origin.stream
        except Exception:
            log_internal_error("end a stream")


COHERE = Provider(
    name="cohere",
    distribution="cohere",
    module="cohere.client",
    supported=">=5.16.1,<8",
    hook=patch,
    routes=named(
        "cohere",
        {
            ("POST", "/v2/chat"): ("v2.chat", CHAT),
            ("POST", "/v2/embed"): ("v2.embed", EMBED),
            ("POST", "/v2/rerank"): ("v2.rerank", RERANK),
            ("POST", "/v1/chat"): ("chat", CHAT_V1),
            ("POST", "/v1/embed"): ("embed", EMBED),
            ("POST", "/v1/rerank"): ("rerank", RERANK),
        },
    ),
)
