"""Anthropic messages: how to read a request, an answer, and a stream of events."""

from __future__ import annotations

from typing import Any

from .._read import peek, pick, text, whole
from ..facts import Request, Response, Usage
from ._format import WireFormat

__all__ = ["COUNT_TOKENS", "MESSAGES"]

_PARAMS = ("max_tokens", "temperature", "top_p", "top_k", "stop_sequences")


def read_request(body: Any) -> Request:
    params = pick(body, *_PARAMS)
    config = peek(body, "output_config")
    effort = text(config, "effort")
    if effort:
        params["reasoning.level"] = effort
    kind = text(peek(config, "format") or peek(body, "output_format"), "type")
    return Request(
        operation="chat",
        model=text(body, "model"),
        stream=peek(body, "stream") is True,
        params=params,
        output_type="json" if kind == "json_schema" else None,
    )


class _Counts:
    """Usage as told so far: the last non-null value of each field wins."""

    __slots__ = ("_seen",)

    _FIELDS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def take(self, usage: Any) -> None:
        for name in self._FIELDS:
            self._keep(name, whole(usage, name))
        written = peek(usage, "cache_creation")
        self._keep("5m", whole(written, "ephemeral_5m_input_tokens"))
        self._keep("1h", whole(written, "ephemeral_1h_input_tokens"))
        self._keep("thinking", whole(peek(usage, "output_tokens_details"), "thinking_tokens"))
        self._keep("searches", whole(peek(usage, "server_tool_use"), "web_search_requests"))

    def _keep(self, name: str, value: int | None) -> None:
        if value is not None:
            self._seen[name] = value

    def usage(self) -> Usage | None:
        seen = self._seen
        if not seen:
            return None
        # Anthropic counts cached tokens apart from ``input_tokens``; our ``input``
        # is the total, so that every provider's input means the same thing.
        fresh, read, write = (
            seen.get("input_tokens"),
            seen.get("cache_read_input_tokens"),
            seen.get("cache_creation_input_tokens"),
        )
        return Usage(
            input=None if fresh is None else fresh + (read or 0) + (write or 0),
            output=seen.get("output_tokens"),
            cache_read=read,
            cache_write=write,
            cache_write_5m=seen.get("5m"),
            cache_write_1h=seen.get("1h"),
            reasoning=seen.get("thinking"),
            web_searches=seen.get("searches"),
        )


def read_response(answer: Any) -> Response:
    counts = _Counts()
    usage = peek(answer, "usage")
    counts.take(usage)
    reason = text(answer, "stop_reason")
    return Response(
        id=text(answer, "id"),
        model=text(answer, "model"),
        finish_reasons=(reason,) if reason else (),
        usage=counts.usage(),
        service_tier=text(usage, "service_tier"),
    )


class Events:
    """Folds messages stream events into the answer they add up to."""

    __slots__ = ("_counts", "_end", "_error", "_id", "_model", "_reason", "_spoke", "_tier")

    def __init__(self) -> None:
        self._counts = _Counts()
        self._id: str | None = None
        self._model: str | None = None
        self._tier: str | None = None
        self._reason: str | None = None
        self._error: str | None = None
        self._end = False
        self._spoke = False

    def add(self, event: Any) -> bool:
        match peek(event, "type"):
            case "content_block_delta":
                self._spoke = True
            case "content_block_start":
                kind = text(peek(event, "content_block"), "type")
                self._spoke = self._spoke or (kind is not None and kind.endswith("tool_use"))
            case "message_start":
                message = peek(event, "message")
                self._id, self._model = text(message, "id"), text(message, "model")
                usage = peek(message, "usage")
                self._tier = text(usage, "service_tier")
                self._counts.take(usage)
            case "message_delta":
                self._reason = text(peek(event, "delta"), "stop_reason") or self._reason
                self._counts.take(peek(event, "usage"))
            case "message_stop":
                self._end = True
            case "error":
                self._error = text(peek(event, "error"), "type") or "error"
        return self._spoke

    @property
    def ended(self) -> bool:
        return self._end

    def result(self) -> Response:
        return Response(
            id=self._id,
            model=self._model,
            finish_reasons=(self._reason,) if self._reason else (),
            usage=self._counts.usage(),
            service_tier=self._tier,
            error=self._error,
            failed=self._error is not None,
            complete=self._end,
        )


def read_count_request(body: Any) -> Request:
    return Request(operation="count_tokens", model=text(body, "model"))


def read_count(answer: Any) -> Response:
    return Response(counted_tokens=whole(answer, "input_tokens"))


MESSAGES = WireFormat(request=read_request, response=read_response, events=Events)
COUNT_TOKENS = WireFormat(request=read_count_request, response=read_count)
