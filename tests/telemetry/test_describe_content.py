"""Content of a call: truncation, and what the variables of OpenInference hide."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmtrace.model import Blob, RequestContent
from llmtrace.telemetry.content import describe_content
from llmtrace.telemetry.content_policy import load_policy

PICTURE = {"type": "uri", "modality": "image", "uri": "https://p/a.png"}


def text_part(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


def content_attributes(
    request: RequestContent, output: list[Any] | None = None, *, max_bytes: int = 65536, **environ: str
) -> dict[str, Any]:
    policy = load_policy(capture_content=environ.pop("mode", "span_only"), max_bytes=max_bytes, environ=environ)
    return dict(describe_content(request, output or [], policy).attributes)


def test_prompt_variable_beyond_the_maximum_is_truncated() -> None:
    """A long prompt variable is truncated and the span reports it; with content off no variable is recorded."""
    request = RequestContent(variables={"city": "Bern", "text": "x" * 2000})
    recorded = content_attributes(request, max_bytes=300)
    assert recorded["gen_ai.prompt.variable.city"] == "Bern"
    cut = recorded["gen_ai.prompt.variable.text"]
    assert 0 < len(cut.encode()) <= 300
    assert cut.startswith("xx")
    assert recorded["llmtrace.content.truncated"] is True
    assert recorded["llmtrace.content.original_size"] >= 2000
    assert content_attributes(request, mode="no_content") == {}


@pytest.mark.parametrize(
    ("name", "kept", "removed"),
    [
        ("OPENINFERENCE_HIDE_INPUT_IMAGES", ["hi"], ["https://p/a.png", "aGk="]),
        ("OPENINFERENCE_HIDE_EMBEDDINGS_TEXT", ["hi", "https://p/a.png"], ["embedded"]),
        (None, ["hi", "https://p/a.png", "embedded"], []),
    ],
)
def test_hide_variables_remove_images_or_embedded_texts(name: str | None, kept: list[str], removed: list[str]) -> None:
    """OpenInference's variables remove images, given by URL or as data, or the texts to embed."""
    parts = ["hi", PICTURE, Blob("image", "image/png", "aGk=")]
    request = RequestContent(messages=[{"role": "user", "parts": parts}], texts=["embedded"])
    recorded = json.dumps(content_attributes(request, **({} if name is None else {name: "true"})))
    assert all(text in recorded for text in kept)
    assert not any(text in recorded for text in removed)
