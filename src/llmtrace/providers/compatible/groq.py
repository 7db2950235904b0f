"""Groq's chat completions: built-in tools that a model used are billed apart from its tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._read import get, iter_list
from ...model import Response
from ..openai.chat import CHAT, ChatAccumulator, compatible

__all__ = ["GROQ_CHAT"]

_TOOLS = "executed_tools"


def _used_tools(body: Any, message: str) -> bool:
    return any(get(get(choice, message), _TOOLS) for choice in iter_list(body, "choices"))


def read_response(body: Any) -> Response:
    response = CHAT.response(body)
    if _used_tools(body, "message"):
        response.unmapped_counts += (_TOOLS,)
    return response


class GroqAccumulator(ChatAccumulator):
    """Accumulator of chat completion chunks, which notes the use of a tool."""

    __slots__ = ("_tools",)

    def __init__(self) -> None:
        super().__init__()
        self._tools = False

    def add(self, chunk: Any) -> bool | str:
        self._tools = self._tools or _used_tools(chunk, "delta")
        return super().add(chunk)

    def result(self) -> Response:
        response = super().result()
        if self._tools:
            response.unmapped_counts += (_TOOLS,)
        return response


GROQ_CHAT = replace(compatible(CHAT), response=read_response, accumulator=GroqAccumulator)
