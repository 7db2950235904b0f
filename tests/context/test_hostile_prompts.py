"""Hostile prompt files: each raises a ``ConfigError`` that names the file, and takes no time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from llmtrace import ConfigError, prompts
from llmtrace.context.prompts import files

pytest.importorskip("yaml")

_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
FRONT_MATTER = {
    "nested lists": "a: " + "[" * 20_000,
    "nested maps": "a: " + "{a: " * 10_000,
    "aliases that multiply": _BOMB,
    "list inside itself": "a: &a [*a]",
    "map inside itself": "a: &a {b: *a}",
    "digits": "a: " + "9" * 5000,
    "hexadecimal digits": "a: 0x" + "f" * 6000,
    "version of many digits": "version: 0x" + "f" * 6000,
    "key of many digits": "0x" + "f" * 6000 + ": a",
    "month 13": "a: 2024-13-01",
    "day 32": "a: 2024-01-32 10:00:00",
    "hour 99": "a: 2024-01-01 99:00:00",
    "unhashable key": "? [a]\n: b",
    "binary": "a: !!binary %%%",
    "no timestamp": "a: !!timestamp x",
    "no float": 'a: !!float ""',
    "no int": 'a: !!int ""',
    "no bool": "a: !!bool x",
    "python object": "a: !!python/object/apply:os.system [id]",
    "control character": "a: \x01",
    "list": "- a",
    "text": "just words",
    "too long": "a: " + "x" * 70_000,
}
LABELS = {
    "nested arrays": "a = " + "[" * 5000,
    "nested tables": "a = " + "{a = " * 3000,
    "dotted keys": ".".join("a" * 3000) + " = 1",
    "digits": "a = " + "9" * 5000,
    "hexadecimal digits": "a = 0x" + "f" * 6000,
    "date": "a = 2024-13-45",
    "weight not a number": 'a = { version = "1", weight = nan }',
    "weight infinite": 'a = { version = "1", weight = inf }',
    "weight negative": 'a = { version = "1", weight = -1 }',
    "history is text": 'a = "1"\nprevious = "1"',
    "history of text": 'a = "1"\n[previous]\na = "1"',
    "too long": "#" + "x" * 70_000,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMTRACE_PROMPTS", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("head", FRONT_MATTER.values(), ids=FRONT_MATTER)
def test_hostile_front_matter_raises_config_error(folder: Path, head: str) -> None:
    """The message is short and names the file."""
    (folder / "p.md").write_text(f"---\n{head}\n---\nHello\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"p\.md") as caught:
        prompts.load("p")
    assert len(str(caught.value)) < 1000 + len(str(folder))


@pytest.mark.parametrize("text", LABELS.values(), ids=LABELS)
def test_hostile_label_file_raises_config_error(folder: Path, text: str) -> None:
    """The same for a label file."""
    (folder / "p").mkdir()
    (folder / "p" / "1.md").write_text("Hello\n")
    (folder / "p" / "labels.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"labels\.toml"):
        prompts.load("p")


@pytest.mark.parametrize(
    "data", [b"\xff\xfe---\n", b"\x80abc", "Hello".encode("utf-16"), b"---\na: \xff\n---\n"], ids=repr
)
def test_other_encoding_raises_config_error(folder: Path, data: bytes) -> None:
    """Prompts and label files are UTF-8."""
    (folder / "p.md").write_bytes(data)
    with pytest.raises(ConfigError, match="UTF-8"):
        prompts.load("p")
    (folder / "q").mkdir()
    (folder / "q" / "1.md").write_text("Hello")
    (folder / "q" / "labels.toml").write_bytes(data)
    with pytest.raises(ConfigError, match=r"labels\.toml"):
        prompts.load("q")


def test_label_file_that_is_a_folder_raises_config_error(folder: Path) -> None:
    """The text of the system's error does not matter."""
    (folder / "p" / "labels.toml").mkdir(parents=True)
    (folder / "p" / "1.md").write_text("Hello")
    with pytest.raises(ConfigError, match=r"labels\.toml"):
        prompts.load("p")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="nothing is forbidden here")
def test_unreadable_prompt_raises_config_error(folder: Path) -> None:
    """A file of another user."""
    (folder / "p.md").write_text("Hello")
    (folder / "p.md").chmod(0)
    with pytest.raises(ConfigError, match=r"p\.md"):
        prompts.load("p")


def test_harmless_front_matter_is_kept(folder: Path) -> None:
    """Aliases, dates and nested parameters go on working."""
    (folder / "p.md").write_text("---\nbase: &b {temperature: 0.1}\nparameters: *b\ndate: 2024-02-29\n---\nHello\n")
    loaded = prompts.load("p")
    assert loaded.parameters == {"temperature": 0.1}
    assert str(loaded.metadata["date"]) == "2024-02-29"


def test_versions_of_many_digits_are_ordered() -> None:
    """A tag may have more digits than Python converts to a number."""
    versions = ["10", "9", "1" * 5000, "v2", "v10", "2" * 5000, "007", "8"]
    ordered = sorted(versions, key=files._sort_key)
    assert ordered == ["v2", "v10", "007", "8", "9", "10", "1" * 5000, "2" * 5000]
