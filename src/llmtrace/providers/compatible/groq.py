"""Chat completions of Groq and Cerebras, which report times of the server. Groq bills its tools apart from tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._read import get, iter_list
from ...model import Response
from .._usage import read_server_times
from ..openai.chat import CHAT, ChatAccumulator, compatible

__all__ = ["TIMED_CHAT"]

_TOOLS = "executed_tools"


def _used_tools(body: Any, message: str) -> bool:
    return any(get(get(choice, message), _TOOLS) for choice in iter_list(body, "choices"))


def _complete(response: Response, body: Any, *, used_tools: bool) -> Response:
    """Add the fields of the last chunk, or of a complete body, that OpenAI does not have."""
    if used_tools:
        response.unmapped_counts += (_TOOLS,)
    usage = get(get(body, "x_groq"), "usage") or get(body, "usage")
    response.server_times = read_server_times(usage) or read_server_times(get(body, "time_info"))
    return response


def read_response(body: Any) -> Response:
    return _complete(CHAT.response(body), body, used_tools=_used_tools(body, "message"))


class TimedChatAccumulator(ChatAccumulator):
    """Accumulator of chat completion chunks, which notes the use of a tool and the chunk with the usage."""

    __slots__ = ("_last", "_tools")

    def __init__(self) -> None:
        super().__init__()
        self._last: Any = None
        self._tools = False

    def add(self, chunk: Any) -> bool | str:
        self._tools = self._tools or _used_tools(chunk, "delta")
        if get(chunk, "x_groq") is not None or get(chunk, "usage") is not None:
            self._last = chunk
        return super().add(chunk)

    def result(self) -> Response:
        return _complete(super().result(), self._last, used_tools=self._tools)


TIMED_CHAT = replace(compatible(CHAT), response=read_response, accumulator=TimedChatAccumulator)
