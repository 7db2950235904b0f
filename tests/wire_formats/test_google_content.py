"""Content of Gemini interactions and Vertex AI's ``predict`` that no recording covers."""

from __future__ import annotations

from typing import Any

from llmtrace.model import Blob
from llmtrace.providers.google.generate_content import EMBED_CONTENT, GENERATE_CONTENT
from llmtrace.providers.google.interactions import INTERACTIONS, RETRIEVE_INTERACTION
from llmtrace.providers.google.predict import PREDICT, PREDICT_LONG


def test_interaction_steps_become_messages() -> None:
    """Turns, media, function calls and results, and Google's own tools become messages and parts."""
    requested = INTERACTIONS.content.request(
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
    assert [message["role"] for message in requested.messages] == ["user", "assistant", "tool", "user"]
    assert requested.messages[2]["parts"] == [{"type": "tool_call_response", "response": {"found": 1}, "id": "c1"}]
    video = {"type": "uri", "modality": "video", "uri": "gs://v", "mime_type": "video/mp4"}
    assert requested.messages[3]["parts"] == [Blob("image", "image/png", "aGk="), video]
    assert requested.tools[1] == {"type": "google_search", "name": "google_search"}
    assert requested.system == [{"type": "text", "content": "Be kind."}]
    single = INTERACTIONS.content.request({"input": {"type": "text", "text": "hello"}})
    assert single.messages == [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}]


def test_streamed_interaction_tool_calls_are_joined() -> None:
    """Arguments in pieces are joined; a Google search is a server tool."""
    assert INTERACTIONS.content.accumulator is not None
    joiner = INTERACTIONS.content.accumulator()
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


def test_predict_content_is_read() -> None:
    """Texts to embed, prompts with their images, and generated images are read."""
    requested = PREDICT.content.request({"instances": [{"content": "one"}, {"content": "two"}]})
    assert requested.texts == ["one", "two"]
    image = {"bytesBase64Encoded": "aGk=", "mimeType": "image/png"}
    requested = PREDICT_LONG.content.request({"instances": [{"prompt": "a cat", "image": image}]})
    assert requested.messages[0]["parts"] == [{"type": "text", "content": "a cat"}, Blob("image", "image/png", "aGk=")]
    text = PREDICT.content.response({"predictions": [image, {"raiFilteredReason": "no"}, {"gcsUri": "gs://i"}]})
    assert [message["parts"] for message in text] == [
        [Blob("image", "image/png", "aGk=")],
        [{"type": "uri", "modality": "image", "uri": "gs://i"}],
    ]


def test_steps_of_older_releases_are_read() -> None:
    """Turns with a role, bare texts and ``outputs`` are read; unknown types are skipped."""
    requested = INTERACTIONS.content.request(
        {
            "input": [
                {"role": "user", "content": "hello"},
                {"role": "model", "content": [{"type": "text", "text": "hi"}, {"type": "novel"}]},
                "more",
                {"type": "google_search_result", "call_id": "s1", "result": [{"title": "x"}]},
                {"type": "text", "text": ""},
                {"kind": "none"},
            ]
        }
    )
    found = {"type": "google_search", "result": [{"title": "x"}]}
    assert [(message["role"], message["parts"]) for message in requested.messages] == [
        ("user", [{"type": "text", "content": "hello"}]),
        ("assistant", [{"type": "text", "content": "hi"}]),
        ("user", [{"type": "text", "content": "more"}]),
        (
            "assistant",
            [{"type": "server_tool_call_response", "server_tool_call_response": found, "id": "s1"}],
        ),
    ]
    (text,) = INTERACTIONS.content.response({"status": "completed", "outputs": [{"type": "text", "text": "hi"}]})
    assert text["parts"] == [{"type": "text", "content": "hi"}]
    assert RETRIEVE_INTERACTION.content.request({"input": "of the first request"}).messages == []


def test_generate_content_variants_are_read() -> None:
    """Bare text contents, functions without parameters and every form of embedding request are read."""
    requested = GENERATE_CONTENT.request(
        {"contents": ["hello"], "tools": [{"functionDeclarations": [{"name": "now", "description": "the time"}]}]}
    )
    assert [message["parts"] for message in requested.messages] == [[{"type": "text", "content": "hello"}]]
    assert requested.tools == [{"type": "function", "name": "now", "description": "the time"}]
    (message,) = GENERATE_CONTENT.request({"contents": [{"parts": [{"novel": 1}, {"text": "a"}]}]}).messages
    assert message["parts"] == [{"type": "text", "content": "a"}]
    texts = [{"content": {"parts": [{"text": "a"}, {"text": "b"}]}}, {"content": {"parts": [{"inlineData": {}}]}}]
    assert EMBED_CONTENT.request({"requests": texts}).texts == ["ab"]
    assert EMBED_CONTENT.request({"instances": [{"content": "c"}, {}]}).texts == ["c"]


def test_predict_video_without_prompt_is_read() -> None:
    """A video request may have only an image or reference images."""
    image = {"gcsUri": "gs://i", "mimeType": "image/png"}
    requested = PREDICT_LONG.content.request({"instances": [{"referenceImages": [{"referenceImage": image}]}, {}]})
    uri = {"type": "uri", "modality": "image", "uri": "gs://i", "mime_type": "image/png"}
    assert requested.messages == [{"role": "user", "parts": [uri]}]
