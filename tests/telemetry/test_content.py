"""What of the content of a call may leave, and in which size."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmtrace.model import Blob, RequestContent
from llmtrace.telemetry.content import describe_content
from llmtrace.telemetry.content_policy import load_policy

PICTURE = {"type": "uri", "modality": "image", "uri": "https://p/a.png"}


def words(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


def told(
    asked: RequestContent, said: list[Any] | None = None, *, max_bytes: int = 65536, **environ: str
) -> dict[str, Any]:
    gate = load_policy(capture_content=environ.pop("mode", "span_only"), max_bytes=max_bytes, environ=environ)
    return dict(describe_content(asked, said or [], gate).attributes)


def test_a_variable_of_a_kept_prompt_is_cut() -> None:
    """One beyond the cap is cut, and the span says that it is and how much there was; none leaves unasked."""
    asked = RequestContent(variables={"city": "Bern", "text": "x" * 2000})
    found = told(asked, max_bytes=300)
    assert found["gen_ai.prompt.variable.city"] == "Bern"
    cut = found["gen_ai.prompt.variable.text"]
    assert 0 < len(cut.encode()) <= 300
    assert cut.startswith("xx")
    assert found["llmtrace.content.truncated"] is True
    assert found["llmtrace.content.original_size"] >= 2000
    assert told(asked, mode="no_content") == {}


@pytest.mark.parametrize(
    ("name", "there", "gone"),
    [
        ("OPENINFERENCE_HIDE_INPUT_IMAGES", ["hi"], ["https://p/a.png", "aGk="]),
        ("OPENINFERENCE_HIDE_EMBEDDINGS_TEXT", ["hi", "https://p/a.png"], ["embedded"]),
        (None, ["hi", "https://p/a.png", "embedded"], []),
    ],
)
def test_what_is_hidden(name: str | None, there: list[str], gone: list[str]) -> None:
    """OpenInference's variables leave out pictures, by address or by data, or the texts that are embedded."""
    parts = ["hi", PICTURE, Blob("image", "image/png", "aGk=")]
    asked = RequestContent(messages=[{"role": "user", "parts": parts}], texts=["embedded"])
    found = json.dumps(told(asked, **({} if name is None else {name: "true"})))
    assert all(each in found for each in there)
    assert not any(each in found for each in gone)
