"""Estimation of missing usage: keeps the text of a response until usage is reported, and counts it if none is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .._process import warn_once
from ..model import Counts, Request, RequestContent, Response
from ..model.call_stages import CallStart
from ..model.wire_format import ReadTexts
from .estimates import Estimate, estimate
from .price import Pricer

_UNFINISHED = frozenset({"queued", "in_progress"})
"""States of a response in the background: a later fetch reports its usage."""
_MAX_TEXT_CHARACTERS = 1_000_000
"""Maximum characters kept of a response; longer output is not estimated."""


class OutputText:
    """The text of one response, collected for counting."""

    __slots__ = ("_joined", "_length", "_read", "calls", "parts")

    def __init__(self, read: ReadTexts) -> None:
        self._read = read
        self.parts: list[str] = []
        """Texts of the latest chunks. ``join`` has to be called from time to time."""
        self._joined: list[str] = []
        self._length: int = 0
        self.calls: int = 0
        """Number of tool calls."""

    def add(self, chunk: Any) -> None:
        """Add the text of a chunk, or of a complete response."""
        for text, name in self._read(chunk):
            self.calls += name
            self.parts.append(text)

    def join(self) -> None:
        """Join the latest texts, each of which takes more memory than its characters. Drop those that are too many."""
        if self.parts:
            text = "".join(self.parts)
            self.parts.clear()
            self._length += len(text)
            if self._length <= _MAX_TEXT_CHARACTERS:
                self._joined.append(text)

    @property
    def length(self) -> int:
        """Number of characters, including those that were not kept."""
        self.join()
        return self._length

    @property
    def text(self) -> str | None:
        """The collected text, or ``None`` if the response was too long to keep."""
        return "".join(self._joined) if self.length <= _MAX_TEXT_CHARACTERS else None


class Estimator:
    """Counter of tokens that were not reported. It uses ``tiktoken``, on the worker thread."""

    def __init__(self, pricer: Pricer, mode: str = "separate") -> None:
        self._pricer = pricer
        self._as_usage = mode == "usage"

    def buffer_for(self, call: CallStart) -> OutputText | None:
        """Return a buffer for the text of a response, or ``None`` if its format has none."""
        read = call.wire_format.texts
        return None if read is None else OutputText(read)

    def applies_to(
        self, call: CallStart, response: Response, output: OutputText | None, *, outcome: str, ended_early: bool
    ) -> bool:
        """Return true if a call used tokens that were not reported."""
        if call.wire_format.texts is None or call.wire_format.content is None or response.stated_cost:
            return False
        has_text = output is not None and output.length > 0
        if _has_token_counts(response):
            return ended_early and has_text
        return has_text or (outcome in ("ok", "cancelled") and response.status not in _UNFINISHED)

    def estimate(
        self,
        call: CallStart,
        response: Response,
        content: RequestContent,
        output: OutputText | None,
        *,
        usage_expected: bool,
    ) -> tuple[Estimate, Response]:
        """Count the tokens of a call and price them, for a response without usage or with that of a broken stream.

        ``usage_expected`` is true if llmtrace requested the usage, or if the call ended before the response or chunk
        that reports it. Return the estimate, and the response: with the counts as its usage if the setting is
        ``usage``.
        """
        counted = estimate(
            response.model or call.request.model,
            content,
            None if output is None else output.text,
            0 if output is None else output.calls,
            operation=call.request.operation,
        )
        partial = _has_token_counts(response)
        counts: Counts = dict(response.usage or {})
        if partial:
            # Never go below the report: it covers a part of the response.
            tokens = None if counted.output is None else max(counted.output, int(counts.get("output", 0)))
            counted = replace(counted, input=int(counts.get("input", counted.input)), output=tokens, partial=True)
        elif not usage_expected and not _requests_usage(call.request):
            _log_once_per_host(call)
        counts["input"], counts["output"] = counted.input, counted.output or 0
        estimated = replace(response, usage=counts, stated_cost=None)
        host = None if call.server is None else call.server[0]
        priced = self._pricer.price(call.provider, host, call.request, estimated, call.started_ns / 1e9)
        if priced is not None and priced.reason is None and counted.output is not None:
            counted = replace(counted, usd=priced.total)
        as_usage = self._as_usage and counted.output is not None and not partial
        return counted, estimated if as_usage else response


def _requests_usage(request: Request) -> bool:
    options = request.vendor_params.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _log_once_per_host(call: CallStart) -> None:
    host = "an unknown host" if call.server is None else call.server[0]
    streamed = call.request.stream and call.request.api_type == "chat_completions"
    warn_once((_STREAM_MESSAGE if streamed else _RESPONSE_MESSAGE) % host, about=("estimated", host))


_STREAM_MESSAGE = (
    "llmtrace estimates the usage of streams of %s: they report no token counts, so these calls have no exact cost; "
    "pass stream_options={'include_usage': True}, or set LLMTRACE_STREAM_USAGE"
)
_RESPONSE_MESSAGE = (
    "llmtrace estimates the usage of calls to %s: its responses report no token counts, so these calls have no exact "
    "cost; have the server report usage, or ignore this"
)


def _has_token_counts(response: Response) -> bool:
    """Return true if the provider reported token counts."""
    usage = response.usage
    return usage is not None and ("input" in usage or "output" in usage)
