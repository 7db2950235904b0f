"""Responses of the responses API that no recording covers."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrace.providers.openai.responses import RESPONSES, RETRIEVE_RESPONSE


def answer(*output: dict[str, Any]) -> dict[str, Any]:
    return {"status": "completed", "output": list(output), "usage": {"input_tokens": 5, "output_tokens": 6}}


@pytest.mark.parametrize(
    ("kinds", "reason"),
    [
        (["computer_call"], "tool_call"),
        (["local_shell_call"], "tool_call"),
        (["apply_patch_call"], "tool_call"),
        (["shell_call"], "tool_call"),
        (["shell_call", "shell_call_output", "message"], "stop"),
        (["web_search_call", "message"], "stop"),
    ],
)
def test_calls_for_the_caller_end_in_tool_call(kinds: list[str], reason: str) -> None:
    """A response that waits for the caller's computer, shell or patch tool ends in a tool call."""
    ended = answer(*({"type": kind} for kind in kinds))
    assert RESPONSES.content is not None
    assert {message["finish_reason"] for message in RESPONSES.content.response(ended)} == {reason}
    made = RESPONSES.response(ended)
    assert made.normalized_finish_reasons == (reason,)
    assert made.finish_reasons == ("completed",)


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"reason": "max_output_tokens"}, "length"),
        ({"reason": "content_filter"}, "content_filter"),
        ({"reason": "max_tool_calls"}, "max_tool_calls"),
        (None, "incomplete"),
    ],
)
def test_incomplete_response_gives_its_reason(details: dict[str, str] | None, reason: str) -> None:
    """A cut response gives the reason, in the vendor's word if unknown; the status is unchanged."""
    made = RESPONSES.response({**answer(), "status": "incomplete", "incomplete_details": details})
    assert made.normalized_finish_reasons == (reason,)
    assert made.finish_reasons == ("incomplete",)


def test_images_that_failed_are_not_counted() -> None:
    """Only completed images are counted."""
    made = ({"type": "image_generation_call", "status": status} for status in ("completed", "failed"))
    assert (RESPONSES.response(answer(*made)).usage or {})["images"] == 1


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"code": "server_error"}, "server_error"),
        ({"error": {"type": "invalid_request_error", "code": "context_length_exceeded"}}, "context_length_exceeded"),
        ({"error": {"type": "server_error", "code": None}}, "server_error"),
        ({}, "error"),
    ],
)
def test_error_event_gives_the_code(event: dict[str, Any], code: str) -> None:
    """The code is read from the documented flat form and from the nested form that is sent."""
    assert RESPONSES.accumulator is not None
    events = RESPONSES.accumulator()
    events.add({"type": "error", **event})
    assert (events.result().failed, events.result().error) == (True, code)


def test_shell_output_is_kept_as_json() -> None:
    """The output of a shell, whose items have no type, is kept unchanged."""
    wrote = {"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
    assert RESPONSES.content is not None
    (_, result) = RESPONSES.content.response(
        answer({"type": "shell_call", "call_id": "c"}, {"type": "shell_call_output", "call_id": "c", "output": [wrote]})
    )
    assert result["parts"] == [{"type": "tool_call_response", "response": [wrote], "id": "c"}]


def test_resumed_stream_records_its_cursor() -> None:
    """A resumed stream records the event it continues from."""
    assert RETRIEVE_RESPONSE.request({"stream": True, "starting_after": 2}).params == {"stream_cursor": "2"}
    assert RETRIEVE_RESPONSE.request(None).params == {}
