"""Text generation and feature extraction of Hugging Face's own servers, and of the providers behind its router."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._read import get, get_count, get_text, select
from ...model import Message, Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import Accumulator, Texts, WireFormat
from .. import COMPLETIONS
from .._messages import iter_items, text_part
from .._texts import chat_texts, no_texts
from .._usage import Names, Reported

__all__ = ["FEATURE_EXTRACTION", "TEXT_GENERATION"]

_PARAMS = frozenset({"temperature", "top_p", "top_k", "frequency_penalty", "seed"})
_NAMES: Names = {"generated_tokens": "output", "input_length": "input"}


def read_request(body: Any) -> Request:
    parameters = get(body, "parameters")
    if parameters is None:
        return replace(COMPLETIONS.request(body), api_type=None)
    params = select(parameters, _PARAMS)
    if (limit := get_count(parameters, "max_new_tokens")) is not None:
        params["max_tokens"] = limit
    return Request("text_completion", get_text(body, "model"), params=params)


def _generation(response: Any) -> Any:
    return response[0] if isinstance(response, list) and response else response


def read_response(response: Any) -> Response:
    response = _generation(response)
    if get(response, "choices") is not None:
        return COMPLETIONS.response(response)
    details = get(response, "details")
    reported = Reported({name: get(details, name) for name in _NAMES}, _NAMES)
    reason = get_text(details, "finish_reason")
    return reported.fill(Response(finish_reasons=(reason,) if reason else ()), reported.counts or None)


class GenerationAccumulator:
    """Accumulator of the events of a stream: of tokens, the last of which has the text, or of completion chunks."""

    __slots__ = ("_completion", "_last", "_saw_content")

    def __init__(self) -> None:
        self._completion: Accumulator | None = None
        self._last: Any = None
        self._saw_content = False

    def add(self, event: Any) -> bool | str:
        if self._completion is None and get(event, "choices") is not None and COMPLETIONS.accumulator is not None:
            self._completion = COMPLETIONS.accumulator()
        if self._completion is not None:
            return self._completion.add(event)
        self._last = event
        self._saw_content = self._saw_content or bool(get_text(get(event, "token"), "text"))
        return self._saw_content

    @property
    def ended(self) -> bool:
        return self._completion.ended if self._completion is not None else get(self._last, "generated_text") is not None

    def result(self) -> Response:
        if self._completion is not None:
            return self._completion.result()
        return replace(read_response(self._last), complete=self.ended)


def read_texts(response: Any) -> Texts:
    response = _generation(response)
    token = get(response, "token")
    if text := get_text(response, "generated_text") if token is None else get_text(token, "text"):
        yield text, False
    yield from chat_texts(response)


def read_content(body: Any) -> RequestContent:
    prompt = get_text(body, "inputs") or get_text(body, "prompt")
    messages: list[Message] = [] if prompt is None else [{"role": "user", "parts": [text_part(prompt)]}]
    return RequestContent(messages=messages)


def read_messages(response: Any) -> list[Message]:
    text = "".join(text for text, _ in read_texts(response))
    reason = get_text(get(_generation(response), "details"), "finish_reason")
    return [{"role": "assistant", "parts": [text_part(text)], "finish_reason": reason}] if text else []


class GenerationContentAccumulator:
    """Joins the tokens of a stream."""

    __slots__ = ("_details", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._details: Any = None

    def add(self, event: Any) -> None:
        self._pieces += [text for text, _ in read_texts(event)]
        self._details = get(event, "details") or self._details

    def messages(self) -> list[Message]:
        return read_messages({"generated_text": "".join(self._pieces), "details": self._details})


def read_extraction_request(body: Any) -> Request:
    return Request("embeddings", get_text(body, "model"))


def read_vectors(response: Any) -> Response:
    while isinstance(response, list) and response and isinstance(response[0], list):
        response = response[0]
    numbers = isinstance(response, list) and response and isinstance(response[0], (int, float))
    return Response(dimensions=len(response) if numbers else None)


def read_extraction_content(body: Any) -> RequestContent:
    request, value = RequestContent(), get(body, "inputs")
    texts = [value] if isinstance(value, str) else iter_items(body, "inputs", request)
    request.texts += [text for text in texts if isinstance(text, str)]
    return request


TEXT_GENERATION = WireFormat(
    request=read_request,
    response=read_response,
    accumulator=GenerationAccumulator,
    content=ContentFormat(read_content, read_messages, GenerationContentAccumulator),
    texts=read_texts,
)
FEATURE_EXTRACTION = WireFormat(
    request=read_extraction_request,
    response=read_vectors,
    content=ContentFormat(read_extraction_content),
    texts=no_texts,
)
