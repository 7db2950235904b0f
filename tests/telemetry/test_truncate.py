"""Truncation of messages: valid JSON within the maximum, redacted, with as much text as possible."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.model import Blob
from llmtrace.telemetry.redact import builtin
from llmtrace.telemetry.truncate import truncate


def message(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def test_nan_and_infinity_are_written_as_text() -> None:
    """NaN and infinity are written as text: strict parsers would reject the JSON."""
    items = [{"role": "assistant", "parts": [{"type": "tool_call", "name": "f", "arguments": {"a": float("nan")}}]}]
    truncated = truncate(items, 1000)
    assert json.loads(truncated.text, parse_constant=pytest.fail)[0]["parts"][0]["arguments"] == {"a": "nan"}


def test_items_within_the_maximum_stay_unchanged() -> None:
    """Items within the maximum are not changed."""
    items = [
        message("hällo"),
        {"role": "assistant", "parts": [{"type": "tool_call", "name": "f", "arguments": {"a": [1, None]}}]},
    ]
    truncated = truncate(items, 1000)
    assert json.loads(truncated.text) == items
    assert not truncated.cut


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "h\u00e4llo \U0001f600",
        "\ud800",
        "\0",
        "\\u0000",
        10**40,
        float("inf"),
        {1, 2},
        Blob("image", None, "aGk="),
        None,
    ],
    ids=repr,
)
@pytest.mark.parametrize("max_bytes", [1000, 40, 10])
def test_items_without_redaction_are_encoded_as_with_one(value: Any, max_bytes: int) -> None:
    """Items that are encoded as they are have the same JSON as those whose every text passes a redactor."""
    items = [{"type": "tool_call", "name": "f", "arguments": {"a": value}}, {"type": "text", "content": "words " * 20}]
    for count in (1, 2):
        assert truncate(items[:count], max_bytes).text == truncate(items[:count], max_bytes, str).text


def test_long_history_keeps_every_message() -> None:
    """Of 200 messages each is kept; long ones are cut to the same length."""
    items = [message("short" if number % 2 else "long " * 2000) for number in range(200)]
    truncated = truncate(items, 65536)
    kept = json.loads(truncated.text)
    assert len(kept) == 200
    assert [item["parts"][0]["content"] for item in kept[1::2]] == ["short"] * 100
    assert len({item["parts"][0]["content"] for item in kept[0::2]}) == 1
    assert 60_000 < len(truncated.text.encode()) <= 65536
    assert truncated.cut
    assert truncated.size == 100 * 5 + 100 * 10_000


@given(
    st.lists(st.text(st.characters(codec=None), max_size=300), max_size=20),
    st.integers(min_value=256, max_value=3000),
)
def test_any_texts_are_cut_to_the_maximum(texts: list[str], cap: int) -> None:
    """The JSON of any texts is valid, encodable and within the maximum."""
    truncated = truncate([message(text) for text in texts], cap)
    assert len(truncated.text.encode()) <= cap
    assert isinstance(json.loads(truncated.text), list)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=20), inner, max_size=6),
    max_leaves=60,
)


@given(json_values, st.integers(min_value=256, max_value=1500))
def test_any_arguments_are_cut_to_the_maximum(value: Any, cap: int) -> None:
    """Nested arguments are cut to the maximum too."""
    items = [{"role": "assistant", "parts": [{"type": "tool_call", "name": "f", "arguments": value}]}] * 3
    truncated = truncate(items, cap)
    assert len(truncated.text.encode()) <= cap
    for item in json.loads(truncated.text):
        assert item["role"] == "assistant"


def test_many_tool_definitions_lose_their_schemas_first() -> None:
    """Tools whose schemas do not fit keep name and description."""
    schema = {"type": "object", "properties": {f"field_{number}": {"type": "string"} for number in range(300)}}
    items = [
        {"type": "function", "name": f"tool_{number}", "description": "d", "parameters": schema} for number in range(20)
    ]
    kept = json.loads(truncate(items, 4096).text)
    assert [item["name"] for item in kept] == [f"tool_{number}" for number in range(20)]


def test_keys_and_long_numbers_are_redacted() -> None:
    """Keys of arguments and long numbers are redacted; fixed fields of the convention are not."""
    arguments = {"jane@example.com": {"card": 4111111111111111, "n": 12}}
    items = [{"role": "assistant", "parts": [{"type": "tool_call", "id": "t", "name": "f", "arguments": arguments}]}]
    (item,) = json.loads(truncate(items, 1000, builtin).text)
    assert item["parts"][0]["arguments"] == {"[EMAIL]": {"card": "[CARD]", "n": 12}}
    (item,) = json.loads(truncate(items, 1000, lambda text: "x").text)
    assert (item["role"], item["parts"][0]["type"], item["parts"][0]["id"]) == ("assistant", "tool_call", "t")


def test_binary_data_becomes_a_placeholder() -> None:
    """Binary data is replaced by its size and hash, also inside tool results."""
    data = bytes(range(256)) * 10
    for blob_data in (data, b64encode(data).decode()):
        items = [
            {
                "role": "tool",
                "parts": [{"type": "tool_call_response", "response": [Blob("image", "image/png", blob_data)]}],
            }
        ]
        (item,) = json.loads(truncate(items, 1000).text)
        assert item["parts"][0]["response"] == [
            {
                "type": "blob",
                "modality": "image",
                "mime_type": "image/png",
                "content": "",
                "bytes": len(data),
                "sha256": sha256(data).hexdigest(),
            }
        ]


@pytest.mark.parametrize(("size", "is_complete"), [(300, True), (3000, False)])
def test_inline_data_is_complete_or_absent(size: int, is_complete: bool) -> None:
    """Inline base64 is written completely if it fits, else not at all."""
    data = b64encode(bytes(size)).decode()
    items = [{"role": "user", "parts": [Blob("image", "image/png", data), {"type": "text", "content": "x" * 5000}]}]
    (item,) = json.loads(truncate(items, 2000, inline=True).text)
    assert item["parts"][0]["content"] == (data if is_complete else "")


def test_invalid_base64_has_no_size_and_hash() -> None:
    """Size and hash are absent if the data is not valid base64."""
    (item,) = json.loads(truncate([{"role": "user", "parts": [Blob("image", None, "%%%")]}], 1000).text)
    assert item["parts"][0] == {"type": "blob", "modality": "image", "mime_type": None, "content": ""}


def test_redactor_reads_only_the_beginning_of_a_long_text() -> None:
    """Of ten megabytes the redactor gets little more than the maximum."""
    seen: list[int] = []

    def redact(text: str) -> str:
        seen.append(len(text))
        return text

    truncated = truncate([message("word " * 2_000_000)], 65536, redact)
    assert sum(seen) < 80_000
    assert truncated.cut
    assert truncated.size == 10_000_000
