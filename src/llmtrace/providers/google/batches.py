"""Gemini batches: one call for each result, once per process, with the usage of its response.

The results are part of the batch, or lines of a file. Results in Cloud Storage or BigQuery do not pass the SDK.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO

from ..._errors import log_internal_error
from ..._read import get, get_count, get_text, iter_list
from ...capture import worker
from ...capture.error_body import read_error
from ...capture.results import record_result
from ...capture.services import CallServices
from ...context import state as context_state
from ...model import Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import WireFormat
from .._common import read_fetch, remember
from .._patches import Patches
from ..contract import Provider
from ..hosts import server_of
from .generate import GENERATE
from .generate_content import GENERATE_CONTENT

__all__ = ["BATCH", "hook_downloads"]

_STATUSES = {"succeeded": "completed", "pending": "queued", "queued": "queued", "running": "in_progress"}
"""Statuses in the convention's spelling. Another one, such as ``expired``, is kept."""
_UNFINISHED = frozenset({"unspecified", "queued", "in_progress", "cancelling", "paused", "updating"})
_MAX_FILES = 4096
_files: dict[str, dict[str, Any]] = {}
"""Name and model of the batch, by the name of the file with its results."""


def read_batch(batch: Any) -> Response:
    details = get(batch, "metadata") or batch  # an operation of the Gemini API, or a job of Vertex AI
    state = (get_text(details, "state") or "").rpartition("STATE_")[2].lower()
    status = _STATUSES.get(state, state) or None
    ended = status is not None and status not in _UNFINISHED
    name, model = get_text(batch, "name"), (get_text(details, "model") or "").rpartition("models/")[2] or None
    return Response(
        id=name,
        model=model,
        finish_reasons=(status,) if status is not None and ended else (),
        status=status,
        service_tier="batch",
        background=True,
        results=tuple(_results(batch, {"batch": name, "model": model})) if ended and name else (),
    )


def _results(batch: Any, source: dict[str, Any]) -> list[dict[str, Any]]:
    output = get(get(batch, "metadata"), "output") or get(batch, "response")
    file_name = get_text(output, "responsesFile")
    if file_name is not None:
        remember(_files, file_name, source, _MAX_FILES)
    lists = (get(output, name) for name in ("inlinedResponses", "inlinedEmbedContentResponses"))
    items = [item for each in lists for item in iter_list(each, "inlinedResponses")]
    return [{**source, "id": f"{source['batch']}/{index}", "result": item} for index, item in enumerate(items)]


def read_request(item: Any) -> Request:
    result = get(item, "result")
    key = get_text(result, "key") or get_text(get(result, "metadata"), "key")
    return Request(operation="fetch_response", batch_id=get(item, "batch"), custom_id=key, response_id=get(item, "id"))


def read_result(item: Any) -> Response:
    result = get(item, "result")
    body = get(result, "response")
    if body is None:
        response = Response(error=read_error(result) or "error", failed=True, status="failed")
    elif get(body, "embedding") is not None:
        count = get_count(body, "tokenCount")
        if count is None:
            count = get_count(get(body, "usageMetadata"), "promptTokenCount")
        response = Response(usage=None if count is None else {"input": count}, status="completed")
    else:
        response = GENERATE.response(body)
        response.status = "failed" if response.failed else "completed"
    response.model = response.model or get(item, "model")
    response.service_tier = "batch"
    return response


_RESULT = WireFormat(
    request=read_request,
    response=read_result,
    content=ContentFormat(
        lambda _: RequestContent(), lambda item: GENERATE_CONTENT.response(get(get(item, "result"), "response"))
    ),
    api="google_genai.batches.results",
)
BATCH = WireFormat(request=read_fetch, response=read_batch, results=_RESULT)


def hook_downloads(provider: Provider, services: CallServices, patches: Patches) -> dict[str, Callable[..., Any]]:
    """Return the hooks of the methods that download a file, which may hold the results of a batch."""

    def download(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        data = wrapped(*args, **kwargs)
        read(client, data, *args, **kwargs)
        return data

    async def download_async(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        data = await wrapped(*args, **kwargs)
        read(client, data, *args, **kwargs)
        return data

    def read(client: Any, data: Any, path: Any, *_: Any, destination: Any = None, **__: Any) -> None:
        """Record the results in a downloaded file on the worker thread: it may be large. Never raises."""
        try:
            file = _open(data, destination) if patches.active else None
            if file is None:
                return
            name, context = path.partition(":")[0], context_state.current()
            url = get(get(client, "_http_options"), "base_url")
            server = server_of(url) if isinstance(url, str) else None
            lines = _read_lines(file, name, _files.get(name, {"batch": name, "model": None}))
            worker.start()
            done = worker.submit(partial(record, lines, server, context))
            for calls in (*context_state.call_context_of(context).collectors, *services.recorders):
                calls.expect(done)
        except Exception:
            log_internal_error("read the results of a batch")

    def record(items: Iterator[dict[str, Any]], server: Any, context: Any) -> None:
        for item in items:
            record_result(services, provider.name, _RESULT, item, provider.default_provider, server, context)

    return {"download_file": download, "async_download_file": download_async}


def _open(data: Any, destination: Any) -> BinaryIO | None:
    """Open a downloaded file if it may hold lines of JSON. Other files are media, for example."""
    if isinstance(data, bytes):
        return BytesIO(data) if data.startswith(b"{") else None
    if not isinstance(destination, (str, os.PathLike)):
        return None
    file = open(destination, "rb")  # noqa: SIM115 - the worker closes it
    if file.read(1) == b"{":
        file.seek(0)
        return file
    file.close()
    return None


def _read_lines(file: BinaryIO, name: str, source: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the results in a file, which is then closed."""
    with file:
        for index, line in enumerate(file):
            try:
                result = json.loads(line)
            except (ValueError, RecursionError):  # the caller sees it too
                continue
            if get(result, "response") is not None or get(result, "error") is not None:
                yield {**source, "id": f"{name}/{index}", "result": result}
