"""Ollama's own API: chat, generation and embeddings. Each chunk of a stream has the form of a complete response."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._read import get, get_count, get_text, iter_list, put, select
from ...model import Blob, Message, Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import Texts, WireFormat
from .._messages import (
    function_tool,
    iter_items,
    reasoning_part,
    text_part,
    text_parts,
    tool_call_part,
    tool_result_part,
)
from .._texts import no_texts, tool_call_texts
from .._usage import Names, Reported, read_server_times

__all__ = ["CHAT", "EMBED", "GENERATE"]

_PARAMS = frozenset({"temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed"})
_TEXTS = ("thinking", "content", "response")
_NAMES: Names = {"prompt_eval_count": "input", "eval_count": "output"}
_STAGES = {
    "load_duration": "load",
    "prompt_eval_duration": "prompt",
    "eval_duration": "completion",
    "total_duration": "total",
}


def read_request(body: Any) -> Request:
    options = get(body, "options")
    params = select(options, _PARAMS)
    put(params, {"max_tokens": get_count(options, "num_predict"), "reasoning.level": get_text(body, "think")})
    stop = get(options, "stop")
    if isinstance(stop, (str, list)) and stop:
        params["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    request = Request("chat", get_text(body, "model"), params=params)
    request.output_type = "json" if get(body, "format") else None
    return request


def read_generate_request(body: Any) -> Request:
    return replace(read_request(body), operation="text_completion")


def read_embed_request(body: Any) -> Request:
    dimensions = get_count(body, "dimensions")
    params = {} if dimensions is None else {"dimensions": dimensions}
    return Request("embeddings", get_text(body, "model"), params=params)


def read_response(response: Any) -> Response:
    reported = Reported({name: get(response, name) for name in _NAMES}, _NAMES)
    reason, ended = get_text(response, "done_reason"), get(response, "done") is True
    vectors = next(iter_list(response, "embeddings"), None) or get(response, "embedding")
    read = Response(
        model=get_text(response, "model"),
        finish_reasons=(reason,) if reason else ("stop",) if ended else (),
        dimensions=len(vectors) if isinstance(vectors, (list, tuple)) else None,
        complete=ended,
        server_times=read_server_times(response, _STAGES, per_second=1_000_000_000),
    )
    return reported.fill(read, reported.counts or None)


class OllamaAccumulator:
    """Accumulator of the chunks of a stream, the last of which has the usage."""

    __slots__ = ("_last", "_saw_content")

    def __init__(self) -> None:
        self._last: Any = None
        self._saw_content = False

    def add(self, chunk: Any) -> bool:
        self._last = chunk
        self._saw_content = self._saw_content or any(text for text, _ in read_texts(chunk))
        return self._saw_content

    @property
    def ended(self) -> bool:
        return get(self._last, "done") is True

    def result(self) -> Response:
        return read_response(self._last)


def read_texts(response: Any) -> Texts:
    message = _message(response)
    for name in _TEXTS:
        if text := get_text(message, name):
            yield text, False
    for call in iter_list(message, "tool_calls"):
        yield from tool_call_texts(get_text(get(call, "function"), "name"), get(get(call, "function"), "arguments"))


def _message(response: Any) -> Any:
    """Return what holds the text: the message of a chat, or a generation itself."""
    message = get(response, "message")
    return response if message is None else message


def _parts(message: Any) -> list[Any]:
    parts: list[Any] = []
    if thinking := get_text(message, "thinking"):
        parts.append(reasoning_part(thinking))
    text = get_text(message, "content") or get_text(message, "response") or get_text(message, "prompt")
    if text is not None:
        parts.append(text_part(text))
    parts += [Blob("image", None, image) for image in iter_items(message, "images") if isinstance(image, (str, bytes))]
    for call in iter_items(message, "tool_calls"):
        function = get(call, "function")
        parts.append(tool_call_part(None, get_text(function, "name"), get(function, "arguments")))
    return parts


def read_content(body: Any) -> RequestContent:
    request = RequestContent(system=text_parts(body, "system"))
    for message in iter_items(body, "messages", request):
        role = get_text(message, "role") or "user"
        parts = [tool_result_part(None, get(message, "content"))] if role == "tool" else _parts(message)
        request.messages.append({"role": role, "parts": parts})
    if get_text(body, "prompt") is not None:
        request.messages.append({"role": "user", "parts": _parts(body)})
    request.tools += [function_tool(get(tool, "function"), "parameters") for tool in iter_items(body, "tools", request)]
    return request


def read_embed_content(body: Any) -> RequestContent:
    request = RequestContent()
    value = get(body, "input") or get(body, "prompt")
    texts = [value] if isinstance(value, str) else iter_items(body, "input", request)
    request.texts += [text for text in texts if isinstance(text, str)]
    return request


def read_messages(response: Any) -> list[Message]:
    parts = _parts(_message(response))
    return [{"role": "assistant", "parts": parts, "finish_reason": get_text(response, "done_reason")}] if parts else []


class OllamaContentAccumulator:
    """Joins the chunks of a stream into one message."""

    __slots__ = ("_calls", "_reason", "_texts")

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {name: [] for name in _TEXTS}
        self._calls: list[Any] = []
        self._reason: str | None = None

    def add(self, chunk: Any) -> None:
        message = _message(chunk)
        for name, pieces in self._texts.items():
            if text := get_text(message, name):
                pieces.append(text)
        self._calls += iter_list(message, "tool_calls")
        self._reason = get_text(chunk, "done_reason") or self._reason

    def messages(self) -> list[Message]:
        joined = {name: "".join(pieces) for name, pieces in self._texts.items()}
        return read_messages({"message": {**joined, "tool_calls": self._calls}, "done_reason": self._reason})


CHAT = WireFormat(
    request=read_request,
    response=read_response,
    accumulator=OllamaAccumulator,
    content=ContentFormat(read_content, read_messages, OllamaContentAccumulator),
    texts=read_texts,
)
GENERATE = replace(CHAT, request=read_generate_request)
EMBED = WireFormat(
    request=read_embed_request, response=read_response, content=ContentFormat(read_embed_content), texts=no_texts
)
