"""OpenAI chat completions: how to read a request, an answer, and a stream of chunks.

Spoken by OpenAI, Azure, Groq, DeepSeek, Together, OpenRouter, vLLM and every other server of that dialect.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..._read import as_mapping, get, get_count, get_text, iter_list, select
from ...capture.error_body import read_error
from ...model import Request, Response
from ...model.wire_format import WireFormat
from .._texts import CHAT_WORDS
from .._usage import Reported
from .chat_content import CHAT_CONTENT

__all__ = ["CHAT"]

_PARAMS = frozenset({"max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed"})
_RARE = frozenset(
    {"max_completion_tokens", "stop", "n", "reasoning_effort", "response_format", "modalities", "service_tier"}
)
_JSON = ("json_object", "json_schema")


def read_request(body: Any) -> Request:
    request = Request(
        "chat", get_text(body, "model"), get(body, "stream") is True, select(body, _PARAMS), api_type="chat_completions"
    )
    if type(body) is not dict or not _RARE.isdisjoint(body):
        _read_rare(body, request)
    return request


def _read_rare(body: Any, request: Request) -> None:
    params = request.params
    limit = get_count(body, "max_completion_tokens")
    if limit is not None:
        params["max_tokens"] = limit
    stop = get(body, "stop")
    if stop is not None:
        if isinstance(stop, str):
            params["stop_sequences"] = [stop]
        elif isinstance(stop, list) and all(isinstance(item, str) for item in stop):
            params["stop_sequences"] = list(stop)  # the caller may change its list
    choices = get_count(body, "n")
    if choices is not None and choices != 1:
        params["choice.count"] = choices
    effort = get_text(body, "reasoning_effort")
    if effort:
        params["reasoning.level"] = effort
    request.output_type = _output_type(body)
    request.service_tier = get_text(body, "service_tier")


def _output_type(body: Any) -> str | None:
    form = get(body, "response_format")
    if form is not None and (kind := get_text(form, "type")) is not None:
        return "json" if kind in _JSON else "text" if kind == "text" else None
    return "speech" if "audio" in iter_list(body, "modalities") else None


def _has_content_getter(told: Any) -> Callable[[str], Any]:
    return told.get if type(told) is dict else partial(get, told)


def read_response(answer: Any) -> Response:
    told = as_mapping(answer)
    read = _has_content_getter(told)
    choices, reported = read("choices"), Reported()
    reported.add(read("usage"))
    reasons, refused, error = [], False, None
    for choice in choices if isinstance(choices, (list, tuple)) else ():
        said = as_mapping(choice)
        if reason := get_text(said, "finish_reason"):
            reasons.append(reason)
            if reason == "error":
                error = read_error(said) or "error"
        if get(get(said, "message"), "refusal"):
            refused = True
    if read("error"):
        # A gateway may answer 200 and report in the body that its provider failed.
        error = read_error(told)
    return reported.fill_openai(
        Response(
            id=get_text(told, "id"),
            model=get_text(told, "model"),
            finish_reasons=tuple(reasons),
            service_tier=get_text(told, "service_tier"),
            fingerprint=get_text(told, "system_fingerprint"),
            error=error,
            failed=error is not None,
            refused=refused,
        )
    )


_CONTENT = ("content", "tool_calls", "reasoning_content", "reasoning", "refusal", "function_call", "audio", "images")


class ChatAccumulator:
    """Folds chat completion chunks; also those of the legacy completions dialect."""

    __slots__ = ("_error", "_finish", "_first", "_named", "_refused", "_reported", "_spoke", "_summed", "spoken")

    def __init__(self) -> None:
        self._first: Response | None = None
        self._named = False
        self._finish: dict[int, str] = {}
        self._reported = Reported()
        self._spoke = self._refused = self._summed = False
        self.spoken = False
        self._error: str | None = None

    def add(self, chunk: Any) -> bool:
        try:
            told = chunk.__dict__  # a model of the SDK
            usage, choices = told["usage"], told["choices"]
            if usage is None and self.spoken:
                (choice,) = choices
                said = choice.__dict__["delta"].__dict__
                if choice.__dict__["finish_reason"] is None and said["refusal"] is None:
                    return True  # a word like the one before
        except (AttributeError, KeyError, TypeError, ValueError):
            usage, choices = get(chunk, "usage"), get(chunk, "choices")
        if usage is not None:
            self._reported.add(usage)
            # Usage on a chunk of its own is the last there is.
            self._summed = not choices
        if not self._named or self._summed:
            self._begin(chunk)  # tier and fingerprint may be told with the usage only
        if usage is not None or not choices:
            # An SDK raises for the error event of OpenAI; other shapes, and those in a body read as bytes, come here.
            # OpenRouter sends its error beside the usage and an empty choice.
            self._error = read_error(chunk) or self._error
        for choice in choices if isinstance(choices, list) else ():
            reason = get(choice, "finish_reason")
            if reason is not None and isinstance(reason, str):
                self._finish[get_count(choice, "index") or 0] = reason
                error = read_error(chunk) or (read_error(choice) or reason if reason == "error" else None)
                self._error = error or self._error
                if not self._reported.counts:
                    # On this chunk Groq reports the usage under a key of its own, Moonshot within the choice.
                    self._reported.add(get(get(chunk, "x_groq"), "usage") or get(choice, "usage"))
            if not self._spoke and _has_content(choice):
                self._spoke = True
            if not self._refused:
                self._refused = bool(get(get(choice, "delta"), "refusal"))
        self.spoken = self._spoke and self._named
        return self._spoke

    def _begin(self, chunk: Any) -> None:
        known = self._first or Response()
        self._first = Response(
            id=known.id or get_text(chunk, "id"),
            model=known.model or get_text(chunk, "model"),
            service_tier=get_text(chunk, "service_tier") or known.service_tier,
            fingerprint=get_text(chunk, "system_fingerprint") or known.fingerprint,
        )
        self._named = self._first.id is not None and self._first.model is not None

    @property
    def ended(self) -> bool:
        # The end mark ``[DONE]`` is not a chunk, and many servers leave it out.
        return self._summed and bool(self._finish)

    def result(self) -> Response:
        first = self._first or Response()
        return self._reported.fill_openai(
            Response(
                id=first.id,
                model=first.model,
                service_tier=first.service_tier,
                fingerprint=first.fingerprint,
                finish_reasons=tuple(self._finish[index] for index in sorted(self._finish)),
                error=self._error,
                failed=self._error is not None,
                refused=self._refused,
                # Some servers never say a finish reason.
                complete=bool(self._finish) or self._summed,
            )
        )


def _has_content(choice: Any) -> bool:
    delta = get(choice, "delta")
    if delta is None:
        return bool(get(choice, "text"))
    return any(get(delta, name) for name in _CONTENT)


CHAT = WireFormat(
    request=read_request, response=read_response, accumulator=ChatAccumulator, content=CHAT_CONTENT, words=CHAT_WORDS
)
