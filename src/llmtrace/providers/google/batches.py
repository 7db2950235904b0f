"""Gemini batches: one call for each result, once per process, with the usage of its response.

The results are part of the batch, or lines of a file. Results in Cloud Storage or BigQuery do not pass the SDK.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import BytesIO
from threading import Lock
from typing import Any, BinaryIO

from ..._errors import log_internal_error
from ..._process import warn_once
from ..._read import get, get_count, get_text, iter_list
from ...capture.error_body import read_error
from ...capture.results import record_later, record_result
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
_PORTION_BYTES = 65_536
_MAX_PORTIONS = 1024
_MAX_COPIED_BYTES = 33_554_432
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
            lines = _Lines(file, name, _files.get(name, {"batch": name, "model": None}))
            record_later(services, context, lines.portions(partial(record, server, context)))
        except Exception:
            log_internal_error("read the results of a batch")

    def record(server: Any, context: Any, items: Iterable[dict[str, Any]]) -> None:
        for item in items:
            record_result(services, provider.name, _RESULT, item, provider.default_provider, server, context)

    return {"download_file": download, "async_download_file": download_async}


def _open(data: Any, destination: Any) -> BinaryIO | None:
    """Open a downloaded file if it may hold lines of JSON. Other files are media, for example."""
    if isinstance(data, bytes):
        return BytesIO(data) if data.startswith(b"{") else None
    # Reading a pipe would take what it holds, or block.
    if not isinstance(destination, (str, os.PathLike)) or not os.path.isfile(destination):
        return None
    file = open(destination, "rb")  # noqa: SIM115 - the worker closes it
    starts_with_object, size = file.read(1) == b"{", file.seek(0, os.SEEK_END)
    file.seek(0)
    if starts_with_object and size > _MAX_COPIED_BYTES:
        return file
    with file:
        # The caller may download the next file to the same path before the worker has read this one.
        return BytesIO(file.read()) if starts_with_object else None


class _Lines:
    """Lines of a downloaded file, which are read in portions."""

    __slots__ = ("_count", "_file", "_lock", "_modified", "_name", "_source")

    def __init__(self, file: BinaryIO, name: str, source: dict[str, Any]) -> None:
        self._file, self._name, self._source = file, name, source
        self._count, self._lock, self._modified = 0, Lock(), _modified(file)

    def portions(self, record: Callable[[Iterable[dict[str, Any]]], None]) -> list[Callable[[], None]]:
        """Return functions that record a portion of the results each. The last one closes the file."""
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        portion = max(_PORTION_BYTES, size // _MAX_PORTIONS)
        return [lambda: record(self._read(portion))] * (size // portion + 2)

    def _read(self, size: int) -> Iterator[dict[str, Any]]:
        """Yield the results in the next lines, which have ``size`` bytes or more together."""
        with self._lock:  # at the end of the process two threads read
            lines = [] if self._file.closed else self._file.readlines(size)
            if lines and _modified(self._file) != self._modified:
                warn_once(f"{self._name} was changed before all results in it were recorded: the rest have no cost")
                lines = []
            if not lines:
                self._file.close()
            first = self._count
            self._count += len(lines)
        for index, line in enumerate(lines, first):
            try:
                result = json.loads(line)
            except (ValueError, RecursionError):  # the caller sees it too
                continue
            if get(result, "response") is not None or get(result, "error") is not None:
                yield {**self._source, "id": f"{self._name}/{index}", "result": result}


def _modified(file: BinaryIO) -> tuple[int, int] | None:
    if isinstance(file, BytesIO):
        return None
    status = os.fstat(file.fileno())
    return status.st_mtime_ns, status.st_size
