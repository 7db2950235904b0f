"""JSON under a cap: whole, redacted, and with nothing dropped that can be kept."""

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


def test_numbers_that_json_lacks_are_words() -> None:
    """Not a number, or infinite, is told in words: a reader that knows JSON alone would drop the whole list."""
    items = [{"role": "assistant", "parts": [{"type": "tool_call", "name": "f", "arguments": {"a": float("nan")}}]}]
    fitted = truncate(items, 1000)
    assert json.loads(fitted.text, parse_constant=pytest.fail)[0]["parts"][0]["arguments"] == {"a": "nan"}


def test_what_fits_is_as_it_was() -> None:
    """Nothing is changed under the cap."""
    items = [
        message("hällo"),
        {"role": "assistant", "parts": [{"type": "tool_call", "name": "f", "arguments": {"a": [1, None]}}]},
    ]
    fitted = truncate(items, 1000)
    assert json.loads(fitted.text) == items
    assert not fitted.cut


def test_a_long_history_keeps_every_message() -> None:
    """Of 200 messages each is kept, short ones whole; the long are cut to one length."""
    items = [message("short" if number % 2 else "long " * 2000) for number in range(200)]
    fitted = truncate(items, 65536)
    kept = json.loads(fitted.text)
    assert len(kept) == 200
    assert [item["parts"][0]["content"] for item in kept[1::2]] == ["short"] * 100
    assert len({item["parts"][0]["content"] for item in kept[0::2]}) == 1
    assert 60_000 < len(fitted.text.encode()) <= 65536
    assert fitted.cut
    assert fitted.size == 100 * 5 + 100 * 10_000


@given(
    st.lists(st.text(st.characters(codec=None), max_size=300), max_size=20),
    st.integers(min_value=256, max_value=3000),
)
def test_any_texts_fit(texts: list[str], cap: int) -> None:
    """Whatever the texts hold, the JSON is valid, encodable and within the cap."""
    fitted = truncate([message(text) for text in texts], cap)
    assert len(fitted.text.encode()) <= cap
    assert isinstance(json.loads(fitted.text), list)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=20), inner, max_size=6),
    max_leaves=60,
)


@given(json_values, st.integers(min_value=256, max_value=1500))
def test_any_arguments_fit(value: Any, cap: int) -> None:
    """Structures of the user's are cut to fit as well."""
    items = [{"role": "assistant", "parts": [{"type": "tool_call", "name": "f", "arguments": value}]}] * 3
    fitted = truncate(items, cap)
    assert len(fitted.text.encode()) <= cap
    for item in json.loads(fitted.text):
        assert item["role"] == "assistant"


def test_many_definitions_lose_their_schemas_first() -> None:
    """Tools whose schemas do not fit keep name and description."""
    schema = {"type": "object", "properties": {f"field_{number}": {"type": "string"} for number in range(300)}}
    items = [
        {"type": "function", "name": f"tool_{number}", "description": "d", "parameters": schema} for number in range(20)
    ]
    kept = json.loads(truncate(items, 4096).text)
    assert [item["name"] for item in kept] == [f"tool_{number}" for number in range(20)]


def test_names_and_numbers_of_the_users_are_redacted_too() -> None:
    """Keys of arguments and long numbers pass the redactor; the convention's own words do not."""
    arguments = {"jane@example.com": {"card": 4111111111111111, "n": 12}}
    items = [{"role": "assistant", "parts": [{"type": "tool_call", "id": "t", "name": "f", "arguments": arguments}]}]
    (item,) = json.loads(truncate(items, 1000, builtin).text)
    assert item["parts"][0]["arguments"] == {"[EMAIL]": {"card": "[CARD]", "n": 12}}
    (item,) = json.loads(truncate(items, 1000, lambda text: "x").text)
    assert (item["role"], item["parts"][0]["type"], item["parts"][0]["id"]) == ("assistant", "tool_call", "t")


def test_binary_data_becomes_a_placeholder() -> None:
    """Of an image the size and the hash of its bytes are told, wherever it stands."""
    data = bytes(range(256)) * 10
    for given_data in (data, b64encode(data).decode()):
        items = [
            {
                "role": "tool",
                "parts": [{"type": "tool_call_response", "response": [Blob("image", "image/png", given_data)]}],
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


@pytest.mark.parametrize(("size", "whole"), [(300, True), (3000, False)])
def test_inline_data_is_whole_or_not_there(size: int, whole: bool) -> None:
    """Inline base64 is written whole where it fits, and never a part of it."""
    data = b64encode(bytes(size)).decode()
    items = [{"role": "user", "parts": [Blob("image", "image/png", data), {"type": "text", "content": "x" * 5000}]}]
    (item,) = json.loads(truncate(items, 2000, inline=True).text)
    assert item["parts"][0]["content"] == (data if whole else "")


def test_data_that_is_no_base64_says_nothing_of_its_size() -> None:
    """A size or a hash that would be wrong is absent."""
    (item,) = json.loads(truncate([{"role": "user", "parts": [Blob("image", None, "%%%")]}], 1000).text)
    assert item["parts"][0] == {"type": "blob", "modality": "image", "mime_type": None, "content": ""}


def test_a_text_far_beyond_the_cap_is_not_read_to_its_end() -> None:
    """The redactor sees no more of ten megabytes than can remain, and what it saw last is not written."""
    seen: list[int] = []

    def redact(text: str) -> str:
        seen.append(len(text))
        return text

    fitted = truncate([message("word " * 2_000_000)], 65536, redact)
    assert sum(seen) < 80_000
    assert fitted.cut
    assert fitted.size == 10_000_000
