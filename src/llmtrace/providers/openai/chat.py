"""OpenAI chat completions: readers of requests, responses and stream chunks.

Used by OpenAI, Azure, Groq, DeepSeek, Together, OpenRouter, vLLM and every other server of that dialect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ..._read import as_mapping, get, get_count, get_text, iter_list, put, select
from ...capture.error_body import read_error
from ...model import Request, Response
from ...model.wire_format import WireFormat
from .._texts import chat_texts
from .._usage import Reported
from .chat_content import CHAT_CONTENT, COMPLETIONS_CONTENT

__all__ = ["CHAT", "COMPLETIONS", "compatible"]

_PARAMS = frozenset({"max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed"})
_RARE_PARAMS = frozenset(
    {"max_completion_tokens", "stop", "n", "reasoning_effort", "response_format", "modalities", "service_tier"}
)
_JSON = ("json_object", "json_schema")


def read_request(body: Any) -> Request:
    request = Request("chat", get_text(body, "model"), get(body, "stream") is True, select(body, _PARAMS))
    request.api_type = "chat_completions"
    if type(body) is not dict or not _RARE_PARAMS.isdisjoint(body):
        _read_rare(body, request)
    return request


def _read_rare(body: Any, request: Request) -> None:
    stop, choices = select(body, frozenset({"stop"})).get("stop"), get_count(body, "n")
    values = {
        "max_tokens": get_count(body, "max_completion_tokens"),
        "stop_sequences": [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else None,
        "choice.count": None if choices == 1 else choices,
        "reasoning.level": get_text(body, "reasoning_effort"),
    }
    put(request.params, values)
    request.output_type = _output_type(body)
    request.service_tier = get_text(body, "service_tier")


def _output_type(body: Any) -> str | None:
    form = get(body, "response_format")
    if form is not None and (kind := get_text(form, "type")) is not None:
        return "json" if kind in _JSON else "text" if kind == "text" else None
    return "speech" if "audio" in iter_list(body, "modalities") else None


def _field_getter(source: Any) -> Callable[[str], Any]:
    """Return a function that reads a field of ``source`` by its name."""
    return source.get if type(source) is dict else partial(get, source)


def read_response(response: Any) -> Response:
    fields = as_mapping(response)
    read = _field_getter(fields)
    choices, reported = read("choices"), Reported(read("usage"))
    reasons, refused, error = [], False, None
    for choice in choices if isinstance(choices, (list, tuple)) else ():
        choice_fields = as_mapping(choice)
        if reason := get_text(choice_fields, "finish_reason"):
            reasons.append(reason)
            if reason == "error":
                error = read_error(choice_fields) or "error"
        if get(get(choice_fields, "message"), "refusal"):
            refused = True
    if read("error"):
        # A gateway may respond with 200 and report in the body that its provider failed.
        error = read_error(fields)
    read_fields = Response(get_text(fields, "id"), get_text(fields, "model"), tuple(reasons))
    read_fields.service_tier = get_text(fields, "service_tier")
    read_fields.fingerprint = get_text(fields, "system_fingerprint")
    read_fields.error, read_fields.failed, read_fields.refused = error, error is not None, refused
    return reported.fill_openai(read_fields)


_CONTENT = ("content", "tool_calls", "reasoning_content", "reasoning", "refusal", "function_call", "audio", "images")


@dataclass(slots=True, eq=False)
class ChatAccumulator:
    """Accumulator of chat completion chunks, including those of legacy completions."""

    _response: Response = field(default_factory=Response)
    _identified: bool = False
    _finish: dict[int, str] = field(default_factory=dict)
    _reported: Reported = field(default_factory=Reported)
    _saw_content: bool = False
    _has_final_usage: bool = False
    skips_text: bool = False

    def add(self, chunk: Any) -> bool | str:
        try:
            fields = chunk.__dict__  # a model of the SDK
            usage, choices = fields["usage"], fields["choices"]
            if usage is None and self.skips_text:
                (choice,) = choices
                delta = choice.__dict__["delta"].__dict__
                if choice.__dict__["finish_reason"] is None and delta.get("refusal") is None:
                    return delta["content"] or True  # only text, like the chunks before it
        except (AttributeError, KeyError, TypeError, ValueError):
            usage, choices = get(chunk, "usage"), get(chunk, "choices")
        if usage is not None:
            self._reported.add(usage)
            # A chunk with usage and no choice is the last one.
            self._has_final_usage = not choices
        if not self._identified or self._has_final_usage:
            self._identify(chunk)  # tier and fingerprint may be sent with the usage only
        if usage is not None or not choices:
            # The SDK raises for OpenAI's own error event only, and not for a body that is read as bytes.
            # OpenRouter sends its error together with the usage and an empty choice.
            self._response.error = read_error(chunk) or self._response.error
        for choice in choices if isinstance(choices, list) else ():
            reason = get(choice, "finish_reason")
            if reason is not None and isinstance(reason, str):
                self._finish[get_count(choice, "index") or 0] = reason
                error = read_error(chunk) or (read_error(choice) or reason if reason == "error" else None)
                self._response.error = error or self._response.error
                if not self._reported.counts:
                    # On the last chunk Groq reports the usage under ``x_groq``, Moonshot inside the choice.
                    self._reported.add(get(get(chunk, "x_groq"), "usage") or get(choice, "usage"))
            if not self._saw_content and _has_content(choice):
                self._saw_content = True
            if not self._response.refused:
                self._response.refused = bool(get(get(choice, "delta"), "refusal"))
        self.skips_text = self._saw_content and self._identified
        return self._saw_content

    def _identify(self, chunk: Any) -> None:
        response = self._response
        response.id = response.id or get_text(chunk, "id")
        response.model = response.model or get_text(chunk, "model")
        response.service_tier = get_text(chunk, "service_tier") or response.service_tier
        response.fingerprint = get_text(chunk, "system_fingerprint") or response.fingerprint
        self._identified = response.id is not None and response.model is not None

    @property
    def ended(self) -> bool:
        # The end mark ``[DONE]`` is not a chunk, and many servers omit it.
        return self._has_final_usage and bool(self._finish)

    def result(self) -> Response:
        response = replace(
            self._response,
            finish_reasons=tuple(self._finish[index] for index in sorted(self._finish)),
            price_context={},
            failed=self._response.error is not None,
            # Some servers never send a finish reason.
            complete=bool(self._finish) or self._has_final_usage,
        )
        return self._reported.fill_openai(response)


def _has_content(choice: Any) -> bool:
    delta = get(choice, "delta")
    if delta is None:
        return bool(get(choice, "text"))
    return any(get(delta, name) for name in _CONTENT)


CHAT = WireFormat(read_request, read_response, ChatAccumulator, CHAT_CONTENT, chat_texts)


def read_completions_request(body: Any) -> Request:
    return replace(read_request(body), operation="text_completion", api_type=None)


COMPLETIONS = replace(CHAT, request=read_completions_request, content=COMPLETIONS_CONTENT)
"""Legacy completions. Responses and chunks have the shape of chat's, with ``text`` in place of a message."""


def compatible(wire_format: WireFormat) -> WireFormat:
    """Return the wire format without what only OpenAI's own API has.

    Streams of the other vendors report their usage without ``stream_options``, which some of them reject.
    """

    def read(body: Any) -> Request:
        request = wire_format.request(body)
        request.api_type = None
        return request

    return replace(wire_format, request=read)
