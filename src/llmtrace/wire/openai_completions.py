"""OpenAI legacy completions. Answers and chunks have the shape of chat's, with ``text`` for a message."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..facts import Request
from ._format import WireFormat
from .openai_chat import CHAT
from .openai_chat_content import COMPLETIONS_CONTENT

__all__ = ["COMPLETIONS"]


def read_request(body: Any) -> Request:
    return replace(CHAT.request(body), operation="text_completion", api_type=None)


COMPLETIONS = WireFormat(request=read_request, response=CHAT.response, events=CHAT.events, content=COMPLETIONS_CONTENT)
