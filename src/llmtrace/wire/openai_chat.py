"""OpenAI chat completions: how to read a request, an answer, and a stream of chunks.

Spoken by OpenAI, Azure, Groq, DeepSeek, Together, OpenRouter, vLLM and every other server of that dialect.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

from .._read import each, fields, number, peek, pick, tell_all, text, whole
from ..facts import Counts, Request, Response
from ._errors import read_error
from ._format import WireFormat
from .openai_chat_content import CHAT_CONTENT

__all__ = ["CHAT", "read_usage"]

_PARAMS = frozenset({"max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed"})
_RARE = frozenset(
    {"max_completion_tokens", "stop", "n", "reasoning_effort", "response_format", "modalities", "service_tier"}
)
_JSON = ("json_object", "json_schema")


def read_request(body: Any) -> Request:
    request = Request(
        "chat", text(body, "model"), peek(body, "stream") is True, pick(body, _PARAMS), api_type="chat_completions"
    )
    if type(body) is not dict or not _RARE.isdisjoint(body):
        _read_rare(body, request)
    return request


def _read_rare(body: Any, request: Request) -> None:
    params = request.params
    limit = whole(body, "max_completion_tokens")
    if limit is not None:
        params["max_tokens"] = limit
    stop = peek(body, "stop")
    if stop is not None:
        if isinstance(stop, str):
            params["stop_sequences"] = [stop]
        elif isinstance(stop, list) and all(isinstance(item, str) for item in stop):
            params["stop_sequences"] = list(stop)  # the caller may change its list
    choices = whole(body, "n")
    if choices is not None and choices != 1:
        params["choice.count"] = choices
    effort = text(body, "reasoning_effort")
    if effort:
        params["reasoning.level"] = effort
    request.output_type = _output_type(body)
    request.service_tier = text(body, "service_tier")


def _output_type(body: Any) -> str | None:
    form = peek(body, "response_format")
    if form is not None and (kind := text(form, "type")) is not None:
        return "json" if kind in _JSON else "text" if kind == "text" else None
    return "speech" if "audio" in each(body, "modalities") else None


_COUNTS = {
    "prompt_tokens": "input",
    "completion_tokens": "output",
    # DeepSeek, Mistral and Moonshot have names of their own for the cached part.
    "prompt_cache_hit_tokens": "cache_read",
    "num_cached_tokens": "cache_read",
    "cached_tokens": "cache_read",
    # Perplexity tells these beside the totals, for research.
    "reasoning_tokens": "reasoning",
    "citation_tokens": "citation_output",
    "num_search_queries": "web_searches",
}
_GIVEN = {
    "cached_tokens": "cache_read",
    "cache_write_tokens": "cache_write",
    "audio_tokens": "audio_input",
    "image_tokens": "image_input",
    "video_tokens": "video_input",
}
_MADE = {"reasoning_tokens": "reasoning", "audio_tokens": "audio_output", "image_tokens": "image_output"}


def _getter(told: Any) -> Callable[[str], Any]:
    return told.get if type(told) is dict else partial(peek, told)


def read_usage(usage: Any) -> Counts | None:
    told = usage if type(usage) is dict else fields(usage)
    if told is None:
        return None
    found: Counts = {}
    tell_all(found, told, _COUNTS)
    get = _getter(told)
    given, made = get("prompt_tokens_details"), get("completion_tokens_details")
    if given is not None:
        tell_all(found, given, _GIVEN)
    if made is not None:
        tell_all(found, made, _MADE)
    if "citation_output" in found:
        found["output"] = found.get("output", 0) + found["citation_output"] + found.get("reasoning", 0)
    elif found.get("reasoning"):
        _take_in_reasoning(found, whole(told, "total_tokens"))
    return found or None


def _take_in_reasoning(found: Counts, total: int | None) -> None:
    """Have ``output`` hold the reasoning where a server (xAI) counts it apart, which the total tells."""
    apart = found.get("output", 0) + found["reasoning"]
    if total == found.get("input", 0) + apart:
        found["output"] = apart


def _unexplained(usage: Any, counts: Counts | None) -> dict[str, str]:
    """A total beyond its parts: Gemini bills thoughts that its OpenAI dialect tells nowhere else."""
    total = whole(usage, "total_tokens")
    if total is None or counts is None or total <= counts.get("input", 0) + counts.get("output", 0):
        return {}
    return {"unexplained": "tokens"}


_TICKS = 10**10
"""In a dollar."""


def read_stated_cost(usage: Any) -> float | Decimal | None:
    """USD, where a gateway says itself what the call cost."""
    told = peek(usage, "cost")
    if told is None:
        ticks = whole(usage, "cost_in_usd_ticks")  # xAI, with its tools
        return None if ticks is None else Decimal(ticks) / _TICKS
    if not isinstance(told, (int, float)):
        return number(told, "total_cost")
    cost = number(usage, "cost")
    if cost is None or peek(usage, "is_byok") is not True:
        return cost
    # The gateway's fee only: the model's own price is billed by its vendor.
    upstream = number(peek(usage, "cost_details"), "upstream_inference_cost")
    return None if upstream is None or min(cost, upstream) < 0 else Decimal(str(cost)) + Decimal(str(upstream))


def read_response(answer: Any) -> Response:
    told = fields(answer)
    get = _getter(told)
    usage, choices = fields(get("usage")), get("choices")
    counts = read_usage(usage)
    reasons, refused, error = [], False, None
    for choice in choices if isinstance(choices, (list, tuple)) else ():
        said = fields(choice)
        if reason := text(said, "finish_reason"):
            reasons.append(reason)
            if reason == "error":
                error = read_error(said) or "error"
        if peek(peek(said, "message"), "refusal"):
            refused = True
    if get("error"):
        # A gateway may answer 200 and report in the body that its provider failed.
        error = read_error(told)
    return Response(
        id=text(told, "id"),
        model=text(told, "model"),
        finish_reasons=tuple(reasons),
        usage=counts,
        stated_cost=read_stated_cost(usage),
        service_tier=text(told, "service_tier"),
        price_context=_unexplained(usage, counts),
        fingerprint=text(told, "system_fingerprint"),
        error=error,
        failed=error is not None,
        refused=refused,
    )


_CONTENT = ("content", "tool_calls", "reasoning_content", "reasoning", "refusal", "function_call", "audio", "images")


class Chunks:
    """Folds chat completion chunks; also those of the legacy completions dialect."""

    __slots__ = ("_context", "_error", "_finish", "_first", "_named", "_refused", "_spoke", "_stated", "_summed",
                 "_usage", "spoken")  # fmt: skip

    def __init__(self) -> None:
        self._first: Response | None = None
        self._named = False
        self._finish: dict[int, str] = {}
        self._usage: Counts | None = None
        self._context: dict[str, str] = {}
        self._stated: float | Decimal | None = None
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
            usage, choices = peek(chunk, "usage"), peek(chunk, "choices")
        if usage is not None:
            self._usage = counts = read_usage(usage) or self._usage
            self._context = _unexplained(usage, counts)
            self._stated = read_stated_cost(usage)
            # Usage on a chunk of its own is the last there is.
            self._summed = not choices
        if not self._named or self._summed:
            self._begin(chunk)  # tier and fingerprint may be told with the usage only
        if not choices and usage is None:
            # An SDK raises for the error event of OpenAI; other shapes, and those in a body read as bytes, come here.
            self._error = read_error(chunk) or self._error
        for choice in choices if isinstance(choices, list) else ():
            reason = peek(choice, "finish_reason")
            if reason is not None and isinstance(reason, str):
                self._finish[whole(choice, "index") or 0] = reason
                error = read_error(chunk) or (read_error(choice) or reason if reason == "error" else None)
                self._error = error or self._error
                if self._usage is None:
                    self._own_usage(chunk, choice)
            if not self._spoke and _speaks(choice):
                self._spoke = True
            if not self._refused:
                self._refused = bool(peek(peek(choice, "delta"), "refusal"))
        self.spoken = self._spoke and self._named
        return self._spoke

    def _begin(self, chunk: Any) -> None:
        known = self._first or Response()
        self._first = Response(
            id=known.id or text(chunk, "id"),
            model=known.model or text(chunk, "model"),
            service_tier=text(chunk, "service_tier") or known.service_tier,
            fingerprint=text(chunk, "system_fingerprint") or known.fingerprint,
        )
        self._named = self._first.id is not None and self._first.model is not None

    def _own_usage(self, chunk: Any, choice: Any) -> None:
        # On the chunk with the finish reason Groq tells the usage under a key of its own, Moonshot within the choice.
        self._usage = read_usage(peek(peek(chunk, "x_groq"), "usage") or peek(choice, "usage"))

    @property
    def ended(self) -> bool:
        # The end mark ``[DONE]`` is not a chunk, and many servers leave it out.
        return self._summed and bool(self._finish)

    def result(self) -> Response:
        first = self._first or Response()
        return Response(
            id=first.id,
            model=first.model,
            service_tier=first.service_tier,
            fingerprint=first.fingerprint,
            finish_reasons=tuple(self._finish[index] for index in sorted(self._finish)),
            usage=self._usage,
            stated_cost=self._stated,
            price_context=self._context,
            error=self._error,
            failed=self._error is not None,
            refused=self._refused,
            # Some servers never say a finish reason.
            complete=bool(self._finish) or self._summed,
        )


def _speaks(choice: Any) -> bool:
    delta = peek(choice, "delta")
    if delta is None:
        return bool(peek(choice, "text"))
    return any(peek(delta, name) for name in _CONTENT)


CHAT = WireFormat(request=read_request, response=read_response, events=Chunks, content=CHAT_CONTENT)
