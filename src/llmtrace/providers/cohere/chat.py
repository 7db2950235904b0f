"""Cohere's own API: chat of both versions, embeddings and reranking. Billed units, not tokens, decide the cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._read import as_mapping, get, get_count, get_text, iter_list, select
from ...model import Request, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import Texts, WireFormat
from .. import RERANK as PLAIN_RERANK
from .._texts import no_texts, tool_call_texts
from .._usage import Names, Reported
from ..rerank import read_ranking
from .content import CHAT_CONTENT, CHAT_V1_CONTENT, read_embed_content

__all__ = ["CHAT", "CHAT_V1", "EMBED", "RERANK"]

_PARAMS = frozenset({"max_tokens", "temperature", "seed", "frequency_penalty", "presence_penalty", "stop_sequences"})
_RENAMED = {"p": "top_p", "k": "top_k"}
_NAMES: Names = {
    "input_tokens": "input",
    "output_tokens": "output",
    "search_units": "search_units",
    "text_tokens": "text_input",
    "image_tokens": "image_input",
}


def read_request(body: Any) -> Request:
    params = select(body, _PARAMS)
    params |= {_RENAMED[name]: value for name, value in select(body, frozenset(_RENAMED)).items()}
    request = Request("chat", get_text(body, "model"), params=params)
    kind = get_text(get(body, "response_format"), "type")
    request.output_type = {"json_object": "json", "text": "text"}.get(kind or "")
    return request


def read_embed_request(body: Any) -> Request:
    params: dict[str, Any] = {}
    if types := [kind for kind in iter_list(body, "embedding_types") if isinstance(kind, str)]:
        params["encoding_formats"] = types
    if (dimensions := get_count(body, "output_dimension")) is not None:
        params["dimensions"] = dimensions
    return Request("embeddings", get_text(body, "model"), params=params)


def _with_usage(response: Response, usage: Any) -> Response:
    """Set the billed units. Tokens, which include those of Cohere's own prompts, are not what is paid."""
    billed = as_mapping(get(usage, "billed_units"))
    counts = billed or as_mapping(get(usage, "tokens"))
    if counts and not billed:
        response.price_context["billed_units"] = "unreported"
    reported = Reported()
    if isinstance(counts, dict):
        integers = {name: int(n) if isinstance(n, float) and n.is_integer() else n for name, n in counts.items()}
        reported.add(integers, _NAMES)
    return reported.fill(response, reported.counts or None)


def read_response(response: Any) -> Response:
    reason = get_text(response, "finish_reason")
    identifier = get_text(response, "response_id") or get_text(response, "id")
    read = Response(identifier, finish_reasons=(reason,) if reason else ())
    if reason and reason.startswith("ERROR"):
        read.error, read.failed = reason, True
    return _with_usage(read, get(response, "usage") or get(response, "meta"))


def read_embeddings(response: Any) -> Response:
    vectors = get(response, "embeddings")
    if isinstance(vectors := as_mapping(vectors), dict):
        vectors = next((value for value in vectors.values() if isinstance(value, list)), None)
    first = vectors[0] if isinstance(vectors, list) and vectors else None
    read = Response(get_text(response, "id"), dimensions=len(first) if isinstance(first, list) else None)
    return _with_usage(read, get(response, "meta"))


class CohereAccumulator:
    """Accumulator of the events of a chat stream of either version."""

    __slots__ = ("_end", "_ended", "_id", "_saw_content")

    def __init__(self) -> None:
        self._id: str | None = None
        self._end: Any = None
        self._ended = self._saw_content = False

    def add(self, event: Any) -> bool:
        match get_text(event, "type") or get_text(event, "event_type"):
            case "message-start" | "stream-start":
                self._id = get_text(event, "id") or get_text(event, "generation_id")
            case "message-end":
                self._ended, self._end = True, get(event, "delta")
            case "stream-end":
                self._ended, self._end = True, get(event, "response")
            case _:
                self._saw_content = self._saw_content or any(text for text, _ in read_texts(event))
        return self._saw_content

    @property
    def ended(self) -> bool:
        return self._ended

    def result(self) -> Response:
        response = read_response(self._end)
        return replace(response, id=response.id or self._id, complete=self._ended)


def read_texts(response: Any) -> Texts:
    """Read the texts of a response or of an event, of either version."""
    message = get(get(response, "delta"), "message") or get(response, "message") or response
    for name in ("text", "tool_plan"):
        if text := get_text(message, name):
            yield text, False
    content = get(message, "content")
    for part in content if isinstance(content, list) else (content,):
        for name in ("text", "thinking"):
            if text := get_text(part, name):
                yield text, False
    calls = get(message, "tool_calls")
    for call in calls if isinstance(calls, list) else (calls,):
        function = get(call, "function") or call
        arguments = get(function, "arguments") or get(function, "parameters")
        yield from tool_call_texts(get_text(function, "name"), arguments)
        if get_text(function, "name") is None and isinstance(arguments, str):
            yield arguments, False


CHAT = WireFormat(
    request=read_request,
    response=read_response,
    accumulator=CohereAccumulator,
    content=CHAT_CONTENT,
    texts=read_texts,
)
CHAT_V1 = replace(CHAT, content=CHAT_V1_CONTENT)
EMBED = WireFormat(
    request=read_embed_request,
    response=read_embeddings,
    content=ContentFormat(read_embed_content),
    texts=no_texts,
)


def read_reranked(response: Any) -> Response:
    return replace(read_response(response), documents=read_ranking(response))


RERANK = replace(PLAIN_RERANK, response=read_reranked)
