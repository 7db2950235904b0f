"""A failure that a body reports is read in whatever shape the server has for it."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrace.capture.error_body import error_code, read_error
from llmtrace.model.wire_format import WireFormat
from llmtrace.providers.anthropic.messages import COMPLETE, MESSAGES
from llmtrace.providers.google.generate import GENERATE
from llmtrace.providers.google.interactions import INTERACTIONS
from llmtrace.providers.openai.assistants import RUN
from llmtrace.providers.openai.chat import CHAT
from llmtrace.providers.openai.completions import COMPLETIONS
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
    """Each shape of a failure gives the code that the vendor names, or ``error`` where it names none."""
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
def test_body_without_a_failure_gives_no_code(body: Any) -> None:
    """Empty and null errors, and codes of success, are no failures."""
    assert read_error(body) is None


def test_code_of_a_refusal_is_absent_where_none_is_named() -> None:
    """The body of an answer with an error status may name no code; the word ``error`` is not one."""
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
def test_error_among_the_chunks_fails_the_stream(wire: str, shape: str) -> None:
    """An event that reports a failure in any shape fails the stream, in every format."""
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
    """A gateway says in the choice that its provider failed half-way, plain and streamed."""
    plain = CHAT.response({"choices": [{"index": 0, "message": {"content": "par"}, **choice}], "usage": None})
    assert (plain.failed, plain.error) == (True, code)
    assert CHAT.accumulator is not None
    events = CHAT.accumulator()
    events.add({"id": "c", "choices": [{"index": 0, "delta": {"content": "par"}, **choice}]})
    assert (events.result().failed, events.result().error) == (True, code)


def test_error_beside_a_partial_choice_fails_the_call() -> None:
    """The tokens that were reported with it are kept."""
    answer = CHAT.response({**SHAPES["openrouter"][0], "choices": [{"index": 0}], "usage": {"prompt_tokens": 3}})
    assert (answer.failed, answer.error, answer.usage) == (True, "402", {"input": 3})


def test_error_beside_usage_and_an_empty_choice_is_read() -> None:
    """OpenRouter reports a failure in the last chunk, which holds the usage and a choice without an end too."""
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
