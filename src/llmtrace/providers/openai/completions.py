"""OpenAI legacy completions. Responses and chunks have the shape of chat's, with ``text`` in place of a message."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...model import Request
from .chat import CHAT
from .chat_content import COMPLETIONS_CONTENT

__all__ = ["COMPLETIONS"]


def read_request(body: Any) -> Request:
    return replace(CHAT.request(body), operation="text_completion", api_type=None)


COMPLETIONS = replace(CHAT, request=read_request, content=COMPLETIONS_CONTENT)
