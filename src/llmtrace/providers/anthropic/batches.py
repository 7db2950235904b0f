"""Results of message batches: one span for each result that the caller reads, with the usage of its message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..._compat.http_clients import request_of
from ..._errors import attempt, log_internal_error
from ..._read import get, get_text
from ...capture.call import CallState
from ...capture.error_body import read_error
from ...capture.services import CallServices
from ...context import state as context_state
from ...model import Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import WireFormat
from .._patches import Patches
from ..contract import Provider, stainless
from ..hosts import provider_of, server_of
from .messages import MESSAGES
from .messages_content import MESSAGES_CONTENT

__all__ = ["hook"]

_STATUSES = {"succeeded": "completed", "errored": "failed", "canceled": "cancelled"}
"""Statuses in the convention's spelling. Another one, such as ``expired``, is kept."""
_PATH = "/messages/batches/"
_CONTEXT = "_llmtrace_context"
"""Attribute of a decoder: the context in which it was created. It may be read in another one."""


def read_request(item: Any) -> Request:
    return Request(operation="fetch_response", background=True, custom_id=get_text(item, "custom_id"))


def read_response(item: Any) -> Response:
    result = get(item, "result")
    kind = get_text(result, "type")
    if kind == "succeeded":
        response = MESSAGES.response(get(result, "message"))
        response.finish_reasons = response.finish_reasons or ("completed",)
    elif kind == "canceled":
        response = Response()
    else:
        # The error of an errored result is inside the body of an error response. An expired one has none.
        response = Response(error=read_error(get(result, "error")) or kind or "error", failed=True)
    response.status = None if kind is None else _STATUSES.get(kind, kind)
    response.service_tier = "batch"
    response.background = True
    return response


_RESULT = WireFormat(
    request=read_request,
    response=read_response,
    content=ContentFormat(
        lambda _: RequestContent(), lambda item: MESSAGES_CONTENT.response(get(get(item, "result"), "message"))
    ),
    api="anthropic.messages.batches.results",
)


def hook(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks in ``module``, the SDK's ``_base_client``, and in the decoders of results."""
    patches = stainless(provider, module, services)

    def decode(wrapped: Callable[[], Any], decoder: Any, args: Any, kwargs: Any) -> Any:
        items = wrapped(*args, **kwargs)
        try:
            url = _url(decoder.http_response)
            if url is None or _PATH not in url.path or not patches.active:
                return items
            results = _Results(provider, services, patches, url, getattr(decoder, _CONTEXT, None))
        except Exception:
            log_internal_error("observe the results of a batch")
            return items
        return (_observe_async if hasattr(items, "__anext__") else _observe)(items, results)

    def install(decoders: Any, part: Patches) -> None:
        for name in ("JSONLDecoder", "AsyncJSONLDecoder"):
            part.wrap_in(decoders, name, "__init__", _keep_context)
            part.wrap_in(decoders, name, "__decode__", decode)

    patches.when_imported(f"{provider.package}._decoders.jsonl", install)
    return patches


def _keep_context(wrapped: Callable[..., None], decoder: Any, args: Any, kwargs: Any) -> None:
    try:
        setattr(decoder, _CONTEXT, context_state.current())
    except Exception:
        log_internal_error("keep the context of a batch")
    wrapped(*args, **kwargs)


def _url(http: Any) -> Any:
    """Return the URL of the request for the results, which may have been redirected."""
    request = request_of(http.history[0] if getattr(http, "history", None) else http)
    return getattr(request, "url", None)


def _observe(items: Iterator[Any], results: _Results) -> Iterator[Any]:
    for item in items:
        results.record(item)
        yield item


async def _observe_async(items: AsyncIterator[Any], results: _Results) -> AsyncIterator[Any]:
    async for item in items:
        results.record(item)
        yield item


@dataclass(frozen=True, slots=True)
class _Results:
    """Recorder of the results of one batch."""

    provider: Provider
    services: CallServices
    patches: Patches
    url: Any
    context: Any

    def record(self, item: Any) -> None:
        """Record a result that the caller reads. Never raises."""
        attempt("read a result of a batch", self._record, item)

    def _record(self, item: Any) -> None:
        if not self.patches.active or get(item, "result") is None:
            return
        request, url, batch_id = read_request(item), self.url, self.url.path.rpartition(_PATH)[2].partition("/")[0]
        if request.custom_id is not None:
            # Not the id of the message: only a result that succeeded has one.
            request.batch_id, request.response_id = batch_id, f"{batch_id}/{request.custom_id}"
        vendor, server = provider_of(None, url.host, self.provider.default_provider), server_of(url)
        call = CallState(
            self.services, self.provider.name, _RESULT, request, vendor, server, parent_context=self.context
        )
        response = call.read_response(item)
        if response.status != "completed":
            call.request_sent = False  # nothing was billed
        if response.status == "cancelled":
            call.outcome = "cancelled"
        call.end(response)
