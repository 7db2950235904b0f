"""Estimates at work: the texts of an answer are kept until its usage is reported, and counted only if it never is."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Protocol

from ..model import Counts, Request, Response
from ..model.wire_format import TextFormat, WireFormat
from .estimates import Estimate, estimate
from .price import Pricer

__all__ = ["Estimator", "OutputText"]

_log = logging.getLogger("llmtrace")
_UNFINISHED = frozenset({"queued", "in_progress"})
"""States of an answer that is made in the background: its usage is reported when it is fetched."""
_MOST = 1_000_000
"""Characters of an answer that are kept; beyond it there is no estimate of the output."""


class OutputText:
    """The words of one answer."""

    __slots__ = ("_quick", "_read", "calls", "length", "parts")

    def __init__(self, words: TextFormat) -> None:
        self._read, self._quick = words.read, words.quick
        self.parts: list[str] = []
        self.length = 0
        self.calls = 0

    def add(self, chunk: Any) -> None:
        """Take in a chunk, or a whole answer."""
        try:
            text = self._quick(chunk)
        except (AttributeError, TypeError, ValueError):
            text = None
        if type(text) is str and text:  # nearly every chunk
            self.length += len(text)
            if self.length <= _MOST:
                self.parts.append(text)
            return
        for text, name in self._read(chunk):
            self.calls += name
            self.length += len(text)
            if self.length <= _MOST:
                self.parts.append(text)

    @property
    def text(self) -> str | None:
        return "".join(self.parts) if self.length <= _MOST else None


class EstimatedCall(Protocol):
    """What is needed of a call."""

    wire_format: WireFormat
    request: Request
    response: Response
    provider: str
    server: tuple[str, int] | None
    started_ns: int
    body: Any
    output_text: OutputText | None
    estimate: Estimate | None
    injected_include_usage: bool
    usage_on_other_span: bool
    outcome: str

    @property
    def ended_early(self) -> bool: ...


class Estimator:
    """Counts what nobody told, with ``tiktoken``, off the thread of the call."""

    def __init__(self, pricer: Pricer, mode: str = "separate") -> None:
        self._pricer = pricer
        self._as_usage = mode == "usage"
        self._hosts: set[str] = set()

    def buffer_for(self, call: EstimatedCall) -> OutputText | None:
        """Return what keeps the words of a call: a stream may be cut before its usage, which comes last."""
        words = call.wire_format.words
        return OutputText(words) if words is not None and isinstance(call.body, dict) else None

    def take(self, call: EstimatedCall, answer: Any) -> None:
        """Keep the words of a whole answer that reports no usage."""
        call.output_text = self.buffer_for(call)
        if call.output_text is not None:
            call.output_text.add(answer)

    def applies_to(self, call: EstimatedCall) -> bool:
        """Return true if a call must have used more than what was reported."""
        answer, spoken = call.response, call.output_text
        if call.wire_format.words is None or call.body is None or call.usage_on_other_span or answer.stated_cost:
            return False
        spoke = spoken is not None and spoken.length > 0
        if _counted(answer):
            return call.ended_early and spoke
        return spoke or (call.outcome in ("ok", "cancelled") and answer.status not in _UNFINISHED)

    def estimate(self, call: EstimatedCall) -> None:
        """Count, and price the counts as an estimate."""
        spoken, answer = call.output_text, call.response
        guess = estimate(
            answer.model or call.request.model,
            call.body,
            None if spoken is None else spoken.text,
            0 if spoken is None else spoken.calls,
            embedding=call.request.operation == "embeddings",
        )
        partial = _counted(answer)
        counts: Counts = dict(answer.usage or {})
        if partial:
            # What was reported is a beginning: no count can be less.
            made = None if guess.output is None else max(guess.output, int(counts.get("output", 0)))
            guess = replace(guess, input=int(counts.get("input", guess.input)), output=made, partial=True)
        else:
            self._explain(call)
        counts["input"], counts["output"] = guess.input, guess.output or 0
        guessed = replace(answer, usage=counts, stated_cost=None)
        host = None if call.server is None else call.server[0]
        priced = self._pricer.price(call.provider, host, call.request, guessed, call.started_ns / 1e9)
        if priced is not None and priced.reason is None and guess.output is not None:
            guess = replace(guess, usd=priced.total)
        call.estimate = guess
        if self._as_usage and guess.output is not None and not partial:
            call.response = guessed

    def forget(self) -> None:
        """Forget which hosts were explained."""
        self._hosts.clear()

    def _explain(self, call: EstimatedCall) -> None:
        options = call.body.get("stream_options") if isinstance(call.body, dict) else None
        if call.injected_include_usage or (isinstance(options, dict) and options.get("include_usage") is True):
            return  # it would have been told, had the stream been read to its end
        host = "an unknown host" if call.server is None else call.server[0]
        if host not in self._hosts and len(self._hosts) < 1_000:
            self._hosts.add(host)
            streamed = call.request.stream and call.request.api_type == "chat_completions"
            _log.warning(_STREAMS if streamed else _ANSWERS, host)


_STREAMS = (
    "llmtrace estimates the usage of streams of %s, which does not tell it: pass "
    "stream_options={'include_usage': True}, or set LLMTRACE_STREAM_USAGE"
)
_ANSWERS = (
    "llmtrace estimates the usage of calls to %s: its answers report no token counts, so these calls have no exact "
    "cost; have the server report usage, or ignore this"
)


def _counted(answer: Response) -> bool:
    """Return true if tokens were reported."""
    usage = answer.usage
    return usage is not None and ("input" in usage or "output" in usage)
