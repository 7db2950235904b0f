"""Tags and their values: invalid, hostile, and repeated."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest

from llmtrace import current, tag
from llmtrace.model import CallContext


class Plan(StrEnum):
    PRO = "pro"


@pytest.mark.parametrize(
    ("tags", "kept", "message"),
    [
        ({"user": 42}, {"user": "42"}, ""),
        ({"user": UUID(int=1)}, {"user": str(UUID(int=1))}, ""),
        ({"user": Plan.PRO, "plan": Plan.PRO}, {"user": "pro", "metadata": {"plan": "pro"}}, ""),
        ({"user": ["x"]}, {}, "user must be text"),
        ({"user": True}, {}, "not bool"),
        ({"user": 10**5000, "session": "s"}, {"session": "s"}, "user is a number with too many digits"),
        ({"feature": "x" * 300}, {"feature": "x" * 256}, "longer than 256"),
        ({"session": "a\ud800"}, {"session": "a?"}, ""),
        ({"feature": ""}, {}, ""),
        ({"tags": "one"}, {"tags": ("one",)}, ""),
        ({"tags": 5}, {"tags": ("5",)}, ""),
        ({"tags": b"x"}, {}, "not bytes"),
        ({"tags": ["a", None, "", "a", 7]}, {"tags": ("a", "7")}, ""),
        ({"tags": range(100)}, {"tags": tuple(map(str, range(64)))}, "at most 64 values"),
        ({f"k{n}": n for n in range(65)}, {"metadata": {f"k{n}": n for n in range(64)}}, "at most 64 keys"),
        ({"x" * 257: 1, "": 2, "k": 3}, {"metadata": {"k": 3}}, "longer than 256"),
        ({"k": None, "no": False, "n": 2, "x": 0.5}, {"metadata": {"no": False, "n": 2, "x": 0.5}}, ""),
        ({"k": UUID(int=1)}, {"metadata": {"k": str(UUID(int=1))}}, ""),
        ({"k": "x" * 5000}, {"metadata": {"k": "x" * 4096}}, "longer than 4096"),
        ({"k": 2**63}, {}, "does not fit 64 bits"),
        ({"k": float("inf")}, {}, "not a finite number"),
        ({"k": []}, {}, "not list"),
        ({"capture_content": "maybe"}, {"capture_content": "no_content"}, "no content is recorded"),
    ],
)
def test_invalid_tags_are_dropped_with_a_warning(
    tags: dict[str, Any], kept: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A value of a wrong type or length is dropped or cut, with a warning that states the reason and no exception."""
    with tag(**tags):
        assert current() == replace(CallContext(), **kept)
    assert [message in record.message for record in caplog.records] == [True] * bool(message)


def test_repeated_invalid_value_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning names the value and the accepted types, however often the value is passed."""
    with caplog.at_level(logging.WARNING, "llmtrace"):
        for _ in range(3):
            with tag(user=object(), big=2**70, nan=float("nan")):  # type: ignore[arg-type]
                assert current().metadata == {}
    messages = [record.message for record in caplog.records]
    assert len(messages) == 3
    assert "user must be text" in messages[0]


def test_number_of_warnings_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """A program that creates new keys, each with a wrong value, fills neither the memory nor the log."""
    for number in range(1200):
        tag(**{f"k{number}": object()})
    assert len(caplog.records) < 1100


def test_key_with_a_lone_surrogate_is_exported() -> None:
    """A lone surrogate in a key, as in a value, does not lose the batch that the span is exported with."""
    with tag(**{"k\ud800": "v\ud800"}):
        assert current().metadata == {"k?": "v?"}


class _Hostile:
    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("hostile")


@pytest.mark.faulty
def test_tags_that_raise_are_dropped() -> None:
    """Tags that fail while they are read do not reach the caller, and the content mode still holds."""
    with tag(feature="f", tags=_Hostile(), capture_content=False, k=1):
        assert current() == replace(CallContext(), feature="f", capture_content="no_content", metadata={"k": 1})
