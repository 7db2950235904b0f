"""Estimates at work: what a stream says is kept until its usage is told, and counted only if it never is."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Protocol

from ..facts import Counts, Request, Response
from .estimate import Estimate, estimate, said
from .price import Pricer

__all__ = ["Estimator", "Spoken"]

_log = logging.getLogger("llmtrace")
_DIALECT = "chat_completions"
"""The one whose streams tell no usage unless asked."""
_MOST = 1_000_000
"""Characters of an answer that are kept; beyond it there is no estimate of the output."""


class Spoken:
    """The words of one stream."""

    __slots__ = ("calls", "length", "parts")

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.calls = 0

    def add(self, chunk: Any) -> None:
        try:
            (choice,) = chunk.choices
            text = choice.delta.content
        except (AttributeError, TypeError, ValueError):
            text = None
        if type(text) is str and text:  # nearly every chunk
            self.length += len(text)
            if self.length <= _MOST:
                self.parts.append(text)
            return
        for text, name in said(chunk):
            self.calls += name
            self.length += len(text)
            if self.length <= _MOST:
                self.parts.append(text)

    @property
    def text(self) -> str | None:
        return "".join(self.parts) if self.length <= _MOST else None


class Guessed(Protocol):
    """What is needed of a call."""

    request: Request
    answer: Response
    provider: str
    server: tuple[str, int] | None
    started_ns: int
    body: Any
    spoken: Spoken | None
    estimate: Estimate | None
    asked_usage: bool
    usage_elsewhere: bool
    outcome: str


class Estimator:
    """Counts what nobody told, with ``tiktoken``, off the thread of the call."""

    def __init__(self, pricer: Pricer, mode: str = "separate") -> None:
        self._pricer = pricer
        self._as_usage = mode == "usage"
        self._hosts: set[str] = set()

    def listen(self, call: Guessed) -> Spoken | None:
        """Keep the words where the usage may never be told: asked for, it comes last, and a stream may be cut."""
        return Spoken() if call.request.api_type == _DIALECT and isinstance(call.body, dict) else None

    def wants(self, call: Guessed) -> bool:
        """Whether nothing was told of a call that must have used something."""
        return (
            not call.answer.usage
            and call.body is not None
            and (call.outcome in ("ok", "cancelled") or (call.spoken is not None and call.spoken.length > 0))
            and call.request.api_type == _DIALECT
            and call.request.stream
            and not call.usage_elsewhere
        )

    def estimate(self, call: Guessed) -> None:
        """Count, and price the counts as an estimate."""
        spoken = call.spoken
        guess = estimate(
            call.answer.model or call.request.model,
            call.body,
            None if spoken is None else spoken.text,
            0 if spoken is None else spoken.calls,
        )
        self._explain(call)
        counts: Counts = {"input": guess.input, "output": guess.output or 0}
        guessed = replace(call.answer, usage=counts)
        host = None if call.server is None else call.server[0]
        priced = self._pricer.price(call.provider, host, call.request, guessed, call.started_ns / 1e9)
        if priced is not None and priced.reason is None and guess.output is not None:
            guess = replace(guess, usd=priced.total)
        call.estimate = guess
        if self._as_usage and guess.output is not None:
            call.answer = guessed

    def forget(self) -> None:
        """Forget which hosts were explained."""
        self._hosts.clear()

    def _explain(self, call: Guessed) -> None:
        options = call.body.get("stream_options") if isinstance(call.body, dict) else None
        if call.asked_usage or (isinstance(options, dict) and options.get("include_usage") is True):
            return  # it would have been told, had the stream been read to its end
        host = "an unknown host" if call.server is None else call.server[0]
        if host not in self._hosts and len(self._hosts) < 1_000:
            self._hosts.add(host)
            _log.warning(
                "llmtrace estimates the usage of streams of %s, which does not tell it: pass "
                "stream_options={'include_usage': True}, or set LLMTRACE_STREAM_USAGE",
                host,
            )
