"""Gemini batches: one span for each result, once per process, with the usage of its response.

The results are part of the batch, or lines of a file. Results in Cloud Storage or BigQuery do not pass the SDK.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from ..._errors import log_internal_error
from ..._read import get, get_count, get_text, iter_list
from ...capture import background, worker
from ...capture.call import CallState
from ...capture.error_body import read_error
from ...capture.services import CallServices
from ...context import state as context_state
from ...model import Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import WireFormat
from .._common import read_fetch
from .._patches import Patches
from ..contract import Provider
from ..hosts import server_of
from .generate import GENERATE
from .generate_content import GENERATE_CONTENT

__all__ = ["BATCH", "BatchResults"]

_STATUSES = {"succeeded": "completed", "pending": "queued", "queued": "queued", "running": "in_progress"}
"""Statuses in the convention's spelling. Another one, such as ``expired``, is kept."""
_UNFINISHED = frozenset({"unspecified", "queued", "in_progress", "cancelling", "paused", "updating"})
_MAX_FILES = 4096


def _batch_response(batch: Any) -> Response:
    details = get(batch, "metadata") or batch  # an operation of the Gemini API, or a job of Vertex AI
    state = (get_text(details, "state") or "").rpartition("STATE_")[2].lower()
    status = _STATUSES.get(state, state) or None
    return Response(
        id=get_text(batch, "name"),
        model=_model(details),
        finish_reasons=(status,) if status is not None and status not in _UNFINISHED else (),
        status=status,
        service_tier="batch",
        background=True,
    )


def _model(details: Any) -> str | None:
    return (get_text(details, "model") or "").rpartition("models/")[2] or None


BATCH = WireFormat(request=read_fetch, response=_batch_response)


def _result_request(item: Any) -> Request:
    key = get_text(item, "key") or get_text(get(item, "metadata"), "key")
    return Request(operation="fetch_response", custom_id=key)


def _result_response(item: Any) -> Response:
    body = get(item, "response")
    if body is None:
        response = Response(error=read_error(item) or "error", failed=True, status="failed")
    elif get(body, "embedding") is not None:
        count = get_count(body, "tokenCount")
        if count is None:
            count = get_count(get(body, "usageMetadata"), "promptTokenCount")
        response = Response(usage=None if count is None else {"input": count}, status="completed")
    else:
        response = GENERATE.response(body)
        response.status = "failed" if response.failed else "completed"
    response.service_tier = "batch"
    return response


_RESULT = WireFormat(
    request=_result_request,
    response=_result_response,
    content=ContentFormat(lambda _: RequestContent(), lambda item: GENERATE_CONTENT.response(get(item, "response"))),
    api="google_genai.batches.results",
)


class BatchResults:
    """Recorder of the results of batches, in the batches themselves and in downloaded files."""

    def __init__(self, provider: Provider, services: CallServices, patches: Patches) -> None:
        self._provider = provider
        self._services = services
        self._patches = patches
        self._batches: dict[str, tuple[str, str | None]] = {}
        """Name and model of the batch, by the name of the file with its results."""

    def read(self, call: CallState, batch: Any, response: Response) -> None:
        """Record the results in a batch that ``call`` has fetched, if it has ended. Never raises."""
        try:
            name = response.id
            if call.start.wire_format.response is not _batch_response or name is None or not response.finish_reasons:
                return
            output = get(get(batch, "metadata"), "output") or get(batch, "response")
            file_name = get_text(output, "responsesFile")
            if file_name is not None:
                while len(self._batches) >= _MAX_FILES:
                    self._batches.pop(next(iter(self._batches)), None)
                self._batches[file_name] = name, response.model
            items = [
                item
                for field in ("inlinedResponses", "inlinedEmbedContentResponses")
                for item in iter_list(get(output, field), "inlinedResponses")
            ]
            if items and background.claim(name):
                record = partial(self._record, name, response.model, call.start.server, call.parent_context)
                _record_each(record, items)
        except Exception:
            log_internal_error("read the results of a batch")

    def download(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        """Download a file, and record the results in it."""
        data = wrapped(*args, **kwargs)
        self._read_file(client, data, *args, **kwargs)
        return data

    async def download_async(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        """Download a file asynchronously, and record the results in it."""
        data = await wrapped(*args, **kwargs)
        self._read_file(client, data, *args, **kwargs)
        return data

    def _read_file(self, client: Any, data: Any, path: Any, *_: Any, destination: Any = None, **__: Any) -> None:
        """Record the results in a downloaded file on the worker thread: it may be large. Never raises."""
        try:
            if not self._patches.active:
                return
            name = path.partition(":")[0]
            file: BinaryIO
            if isinstance(data, bytes):
                file = BytesIO(data)
            elif isinstance(destination, (str, os.PathLike)):
                file = open(destination, "rb")  # noqa: SIM115 - the worker closes it
            else:
                return
            if file.read(1) != b"{" or not background.claim(name):  # a video, for example
                file.close()
                return
            file.seek(0)
            batch, model = self._batches.get(name, (name, None))
            context = context_state.current()
            url = get(get(client, "_http_options"), "base_url")
            server = server_of(urlsplit(url)) if isinstance(url, str) else None
            record = partial(self._record, batch, model, server, context)
            worker.start()
            done = worker.submit(partial(_read_lines, record, file))
            for calls in (*context_state.call_context_of(context).collectors, *self._services.recorders):
                calls.expect(done)
        except Exception:
            log_internal_error("read the results of a batch")

    def _record(self, batch: str, model: str | None, server: Any, context: Any, index: int, item: Any) -> None:
        if get(item, "response") is None and get(item, "error") is None:
            return
        request = _result_request(item)
        request.batch_id = batch
        # An embedding has no id of its own, nor has an error.
        request.response_id = f"{batch}/{request.custom_id or index}"
        provider = self._provider
        call = CallState(
            self._services, provider.name, _RESULT, request, provider.default_provider, server, parent_context=context
        )
        response = call.read_response(item)
        response.model = response.model or model
        if response.status != "completed":
            call.request_sent = False  # nothing was billed
        call.end(response)


def _read_lines(record: Callable[[int, Any], None], file: BinaryIO) -> None:
    with file:
        _record_each(record, map(_parse, file))


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # the caller sees it too
        return None


def _record_each(record: Callable[[int, Any], None], items: Iterable[Any]) -> None:
    for index, item in enumerate(items):
        try:
            record(index, item)
        except Exception:
            log_internal_error("read a result of a batch")
