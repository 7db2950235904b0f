"""Values in message parts are copies that hold JSON only."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import BaseModel

from llmtrace.model import Blob
from llmtrace.model.content_format import ContentFormat
from llmtrace.providers._messages import to_json
from llmtrace.providers.anthropic.messages_content import MESSAGES_CONTENT
from llmtrace.providers.openai.chat_content import CHAT_CONTENT
from llmtrace.providers.openai.responses_content import RESPONSES_CONTENT


class Colour(Enum):
    RED = "red"


class Word(StrEnum):
    STOP = "stop"


@dataclass
class Point:
    x: int
    colour: Colour = Colour.RED


class Novel(BaseModel):
    type: str = "novel"
    of: int = 1


@pytest.mark.parametrize(
    ("value", "copy"),
    [
        (None, None),
        (1.5, 1.5),
        (Word.STOP, "stop"),
        (Colour.RED, "red"),
        (Point, "Point"),
        (Point(1), {"x": 1, "colour": "red"}),
        (Novel(of=2), {"of": 2}),
        (MappingProxyType({1: OrderedDict(a=(1, 2))}), {"1": {"a": [1, 2]}}),
        ({"signature": "long", "a": b"hi"}, {"a": Blob("document", None, b"hi")}),
        (deque([{"a"}, {"b": 1}.keys()]), [["a"], ["b"]]),
        (iter([1]), "<list_iterator>"),
        (PurePosixPath("/a"), "/a"),
    ],
)
def test_values_of_every_type_become_json(value: Any, copy: Any) -> None:
    """Models, dataclasses, enumerations and collections become JSON; an iterator is not consumed."""
    found = to_json(value)
    assert found == copy
    assert type(found) is type(copy)
    if hasattr(value, "__next__"):
        assert list(value) == [1]


def test_recursive_value_is_cut() -> None:
    """A value that contains itself is cut at a maximum depth."""
    endless: list[Any] = []
    endless.append(endless)
    assert str(to_json(endless)).count("[") < 100
    assert "..." in str(to_json(endless))


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (CHAT_CONTENT, lambda content: {"messages": [{"role": "user", "content": content}]}),
        (MESSAGES_CONTENT, lambda content: {"messages": [{"role": "user", "content": content}]}),
        (RESPONSES_CONTENT, lambda content: {"input": [{"role": "user", "content": content}]}),
    ],
    ids=["chat", "messages", "responses"],
)
def test_content_of_models_and_iterators_is_read(wire: ContentFormat, body: Callable[[Any], dict[str, Any]]) -> None:
    """A model whose type was not set keeps its type; an iterator is left to the SDK and makes content incomplete."""
    requested = wire.request(body([Novel(of=2)]))
    assert requested.messages == [{"role": "user", "parts": [{"type": "generic", "generic_type": "novel", "of": 2}]}]
    assert requested.complete
    blocks = iter([{"type": "text", "text": "hi"}])
    requested = wire.request(body(blocks))
    assert (requested.messages, requested.complete) == ([{"role": "user", "parts": []}], False)
    assert len(list(blocks)) == 1
    for scalar in (5, {"a": 1}, b"x", Novel()):
        assert wire.request(body(scalar)).complete
