"""What Gemini interactions and Vertex AI's ``predict`` say, where no recording shows it."""

from __future__ import annotations

from typing import Any

from llmtrace.facts import Blob
from llmtrace.wire.google_interactions_content import INTERACTIONS_CONTENT
from llmtrace.wire.google_predict_content import PREDICT_CONTENT, PREDICT_LONG_CONTENT


def test_interaction_of_many_steps() -> None:
    """Turns, media, function calls and results, and tools of Google's own are messages and parts of the convention."""
    asked = INTERACTIONS_CONTENT.request(
        {
            "system_instruction": "Be kind.",
            "input": [
                {"type": "user_input", "content": [{"type": "text", "text": "hello"}]},
                {"type": "function_call", "id": "c1", "name": "find", "arguments": {"q": "x"}},
                {"type": "function_result", "call_id": "c1", "result": {"found": 1}},
                {"type": "image", "mime_type": "image/png", "data": "aGk="},
                {"type": "video", "uri": "gs://v", "mime_type": "video/mp4"},
            ],
            "tools": [{"type": "function", "name": "find", "parameters": {}}, {"type": "google_search"}],
        }
    )
    assert [message["role"] for message in asked.messages] == ["user", "assistant", "tool", "user"]
    assert asked.messages[2]["parts"] == [{"type": "tool_call_response", "response": {"found": 1}, "id": "c1"}]
    video = {"type": "uri", "modality": "video", "uri": "gs://v", "mime_type": "video/mp4"}
    assert asked.messages[3]["parts"] == [Blob("image", "image/png", "aGk="), video]
    assert asked.tools[1] == {"type": "google_search", "name": "google_search"}
    assert asked.system == [{"type": "text", "content": "Be kind."}]
    single = INTERACTIONS_CONTENT.request({"input": {"type": "text", "text": "hello"}})
    assert single.messages == [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}]


def test_interaction_that_calls_tools_in_a_stream() -> None:
    """Arguments that come in pieces are joined; a search of Google's is a tool of the server."""
    assert INTERACTIONS_CONTENT.joiner is not None
    joiner = INTERACTIONS_CONTENT.joiner()
    events: list[dict[str, Any]] = [
        {"event_type": "step.start", "index": 0, "step": {"type": "function_call", "id": "c1", "name": "find"}},
        {"event_type": "step.delta", "index": 0, "delta": {"type": "arguments_delta", "arguments": '{"q"'}},
        {"event_type": "step.delta", "index": 0, "delta": {"type": "arguments_delta", "arguments": ": 1}"}},
        {"event_type": "step.start", "index": 1, "step": {"type": "google_search_call", "id": "s1"}},
        {
            "event_type": "step.delta",
            "index": 1,
            "delta": {"type": "google_search_call", "arguments": {"queries": ["x"]}},
        },
        {"event_type": "step.start", "index": 2, "step": {"type": "model_output"}},
        {"event_type": "step.delta", "index": 2, "delta": {"type": "image", "data": "aGk=", "mime_type": "image/png"}},
        {"event_type": "interaction.completed", "interaction": {"status": "requires_action"}},
    ]
    for event in events:
        joiner.add(event)
    (message,) = joiner.messages()
    assert message["parts"] == [
        {"type": "tool_call", "name": "find", "arguments": {"q": 1}, "id": "c1"},
        {
            "type": "server_tool_call",
            "name": "google_search",
            "server_tool_call": {"type": "google_search", "arguments": {"queries": ["x"]}},
            "id": "s1",
        },
        Blob("image", "image/png", "aGk="),
    ]


def test_predict() -> None:
    """Texts to embed, prompts with their pictures, and the pictures made."""
    asked = PREDICT_CONTENT.request({"instances": [{"content": "one"}, {"content": "two"}]})
    assert asked.texts == ["one", "two"]
    image = {"bytesBase64Encoded": "aGk=", "mimeType": "image/png"}
    asked = PREDICT_LONG_CONTENT.request({"instances": [{"prompt": "a cat", "image": image}]})
    assert asked.messages[0]["parts"] == [{"type": "text", "content": "a cat"}, Blob("image", "image/png", "aGk=")]
    said = PREDICT_CONTENT.response({"predictions": [image, {"raiFilteredReason": "no"}, {"gcsUri": "gs://i"}]})
    assert [message["parts"] for message in said] == [
        [Blob("image", "image/png", "aGk=")],
        [{"type": "uri", "modality": "image", "uri": "gs://i"}],
    ]
