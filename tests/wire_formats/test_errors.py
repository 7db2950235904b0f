"""Errors that a response body reports are read in every form that servers use."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrace.capture.error_body import error_code, read_error
from llmtrace.model.wire_format import WireFormat
from llmtrace.providers.anthropic.messages import COMPLETE, MESSAGES
from llmtrace.providers.google.generate import GENERATE
from llmtrace.providers.google.interactions import INTERACTIONS
from llmtrace.providers.openai.assistants import RUN
from llmtrace.providers.openai.chat import CHAT, COMPLETIONS
from llmtrace.providers.openai.media import IMAGES, SPEECH, TRANSCRIPTIONS
from llmtrace.providers.openai.responses import RESPONSES

SHAPES = {
    "openai": ({"error": {"message": "m", "type": "server_error", "code": "overloaded"}}, "overloaded"),
    "openai-type": ({"error": {"message": "m", "type": "server_error", "code": None}}, "server_error"),
    "openrouter": ({"error": {"message": "no credits", "code": 402}, "user_id": "u"}, "402"),
    "litellm": ({"error": {"message": "m", "type": None, "param": None, "code": "500"}}, "500"),
    "anthropic": ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, "overloaded_error"),
    "gemini": ({"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}, "UNAVAILABLE"),
    "message-only": ({"error": {"message": "m"}}, "error"),
    "ollama": ({"error": "model not found"}, "error"),
    "tgi": ({"error": "m", "error_type": "overloaded"}, "overloaded"),
    "groq": ({"x_groq": {"id": "r", "error": "over capacity"}}, "error"),
    "vllm": ({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}, "BadRequestError"),
    "mistral": ({"object": "error", "message": "m", "type": "invalid_model", "code": 1500}, "invalid_model"),
    "minimax": ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}, "choices": None}, "1008"),
    "dashscope": ({"code": "InvalidParameter", "message": "m", "request_id": "r"}, "InvalidParameter"),
    "spark": ({"code": 10013, "message": "m", "sid": "s"}, "10013"),
    "baidu": ({"error_code": 336003, "error_msg": "m"}, "336003"),
    "z.ai": ({"code": 500, "msg": "404 NOT_FOUND", "success": False}, "500"),
    "cloudflare": ({"success": False, "errors": [{"code": 7009, "message": "m"}], "result": None}, "7009"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_error_in_a_body_gives_the_vendors_code(shape: str) -> None:
    """Each form of an error gives the vendor's code, or ``error`` if it has none."""
    body, code = SHAPES[shape]
    assert read_error(body) == code


def test_error_in_a_list_is_read() -> None:
    """Gemini's dialect of OpenAI wraps the object in a list."""
    assert read_error([{"error": {"status": "UNAVAILABLE"}}]) == "UNAVAILABLE"
    assert read_error([]) is None


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"error": None},
        {"error": {}},
        {"error": ""},
        {"error": {"code": "", "message": ""}},
        {"choices": [{}], "base_resp": {"status_code": 0, "status_msg": "success"}},
        {"code": 0, "message": "Success", "choices": [{}]},
        {"code": "", "message": "", "output": {"text": "x"}},
        {"code": 200, "msg": "success"},
        {"object": "chat.completion", "choices": [{"code": "x", "message": "m"}]},
        {"id": "x", "type": "message", "content": [], "message": "m"},
    ],
)
def test_body_without_error_gives_no_code(body: Any) -> None:
    """Empty and null errors and codes of success are not errors."""
    assert read_error(body) is None


def test_error_status_without_code_gives_none() -> None:
    """The body of an error response may have no code; the word ``error`` is not a code."""
    assert error_code({"message": "m"}) is None
    assert error_code({"object": "error", "message": "m"}) is None
    assert error_code({"error": {"code": 402}}) == "402"
    assert error_code({"detail": "x", "type": "invalid_request"}) == "invalid_request"


STREAMED: dict[str, WireFormat] = {
    "chat": CHAT,
    "completions": COMPLETIONS,
    "responses": RESPONSES,
    "messages": MESSAGES,
    "complete": COMPLETE,
    "run": RUN,
    "images": IMAGES,
    "speech": SPEECH,
    "transcriptions": TRANSCRIPTIONS,
    "generate": GENERATE,
    "interactions": INTERACTIONS,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("wire", STREAMED)
def test_error_chunk_fails_the_stream(wire: str, shape: str) -> None:
    """An event that reports an error in any form fails the stream, in every wire format."""
    body, code = SHAPES[shape]
    events = STREAMED[wire].accumulator
    assert events is not None
    folded = events()
    folded.add(body)
    found = folded.result()
    assert (found.failed, found.error) == (True, code)


@pytest.mark.parametrize(
    ("choice", "code"),
    [
        ({"finish_reason": "error", "error": {"code": 502, "message": "m"}}, "502"),
        ({"finish_reason": "error"}, "error"),
    ],
)
def test_choice_that_ended_with_an_error_fails_the_call(choice: dict[str, Any], code: str) -> None:
    """A gateway reports in the choice that its provider failed midway, plain and streamed."""
    plain = CHAT.response({"choices": [{"index": 0, "message": {"content": "par"}, **choice}], "usage": None})
    assert (plain.failed, plain.error) == (True, code)
    assert CHAT.accumulator is not None
    events = CHAT.accumulator()
    events.add({"id": "c", "choices": [{"index": 0, "delta": {"content": "par"}, **choice}]})
    assert (events.result().failed, events.result().error) == (True, code)


def test_error_with_partial_choice_fails_the_call() -> None:
    """The tokens that are reported together with the error are kept."""
    answer = CHAT.response({**SHAPES["openrouter"][0], "choices": [{"index": 0}], "usage": {"prompt_tokens": 3}})
    assert (answer.failed, answer.error, answer.usage) == (True, "402", {"input": 3})


def test_error_with_usage_and_empty_choice_is_read() -> None:
    """OpenRouter reports an error in the last chunk, together with usage and a choice without finish reason."""
    chunks = CHAT.accumulator()
    chunks.add({"choices": [{"index": 0, "delta": {"content": "w"}, "finish_reason": "length"}]})
    chunks.add(
        {
            "error": {"code": 400, "message": "limit"},
            "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": None}],
            "usage": {"prompt_tokens": 43, "completion_tokens": 10},
        }
    )
    found = chunks.result()
    assert (found.error, found.failed, found.usage) == ("400", True, {"input": 43, "output": 10})
