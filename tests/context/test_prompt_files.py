"""Prompt files: what they may contain, and how their labels are chosen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prompt_folder import FIRST, body

from llmtrace import ConfigError, prompts, tag
from llmtrace.context.prompts import _environment, _parts


def test_prompt_file_gives_front_matter_and_template(folder: Path) -> None:
    """Front matter gives model, parameters and free keys; the rest is the template."""
    (folder / "deep").mkdir()
    (folder / "deep" / "answer.md").write_text(FIRST.replace("\n", "\r\n"), newline="")
    found = prompts.load("deep/answer")
    assert (found.model, found.parameters, found.metadata) == (
        "gpt-4.1-mini",
        {"temperature": 0.2},
        {"owner": "support"},
    )
    assert found.template == body(FIRST)
    assert found.commit is None
    assert found.render(tone="kind", question="why?")[1] == {"role": "user", "content": "why?"}


def test_versions_are_ordered_by_number(folder: Path) -> None:
    """Without labels the latest version is loaded, and 10 is later than 9."""
    (folder / "p").mkdir()
    for version in ("9", "10", "2"):
        (folder / "p" / f"{version}.txt").write_text(version)
    assert prompts.load("p").version == "10"
    (folder / "p" / "labels.toml").write_text("production = 9\n")  # a number is as good as its digits
    assert prompts.load("p").version == "9"


@pytest.mark.parametrize(
    ("files", "label", "message"),
    [
        ({}, None, "there is no prompt 'p'"),
        ({"p/1.md": "x", "p/labels.toml": 'production = "2"'}, None, "has no version '2'"),
        ({"p/1.md": "x", "p/labels.toml": 'production = "1"'}, "beta", "no label 'beta'; its labels are: production"),
        ({"p/1.md": "x", "p/labels.toml": "production = ["}, None, "labels.toml"),
        ({"p/1.md": "x", "p/labels.toml": "a = {version = '1', weight = 60}\nb = {version = '1', weight = 60}"}, None,
         "add up to 120"),
        ({"p/1.md": "x", "p/labels.toml": "a = {version = '1', weight = 'x'}"}, None, "weight"),
        ({"p/1.md": "x", "p/labels.toml": "production = true"}, None, "'production' needs a version"),
        ({"p/1.md": "x", "p/labels.toml": b"# \xff"}, None, "labels.toml.*utf-8"),
        ({"p.md": b"\xff"}, None, "p.md is not UTF-8"),
        ({"p.md": "x"}, "canary", "is a single file and has no label"),
        ({"p.md": "---\n- a\n---\nx"}, None, "keys and values"),
        ({"p.md": "---\na: [\n---\nx"}, None, "not valid YAML"),
    ],
)  # fmt: skip
def test_invalid_prompt_files_raise_config_error(
    folder: Path, files: dict[str, Any], label: str | None, message: str
) -> None:
    """A wrong folder, label file or front matter raises an error that names the file and the reason."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message):
        prompts.load("p", label=label)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../b", "", "a//b", ".hidden", "a\0b", "x" * 300, None, 5]
)
def test_prompt_name_cannot_leave_the_folder(folder: Path, name: Any) -> None:
    """No name reaches a file outside the folder of prompts."""
    (folder.parent / "secret.md").write_text("x")
    with pytest.raises(ConfigError, match="not a valid prompt name"):
        prompts.load(name)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ missing }}", "'missing' is undefined"),
        ("{% if %}", "version"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{% include 'other' %}", "version"),
        ("{% for x in range(10000000) %}.{% endfor %}", "range"),
        ("before\n# user\nx", "before the first heading"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "recursion"),
    ],
)
def test_hostile_template_raises_config_error(folder: Path, template: str, message: str) -> None:
    """A wrong or hostile template raises an error that names the prompt, and reaches nothing."""
    (folder / "p.md").write_text(template)
    with pytest.raises(ConfigError, match=message) as caught:
        prompts.load("p").render()
    assert "prompt 'p'" in str(caught.value)


@pytest.mark.parametrize("missing", ["yaml", "jinja2"])
def test_missing_extra_is_named_in_the_error(folder: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Neither front matter nor a template is ignored where its library is not installed."""
    _parts.cache_clear()
    _environment.cache_clear()
    monkeypatch.setitem(sys.modules, missing, None)
    (folder / "p.md").write_text(FIRST)
    with pytest.raises(ConfigError, match=r"pip install 'llmtrace-otel\[prompts\]'"):
        prompts.load("p").render(tone="kind", question="q")


def test_variable_may_have_any_name(folder: Path) -> None:
    """A variable may also have the name of a parameter of llmtrace's own functions."""
    (folder / "p.md").write_text("{{ self_ }}{{ name }}")
    assert prompts.load("p").render(self_="a", name="b", self="c")[0]["content"] == "ab"


@pytest.fixture
def split(folder: Path) -> Path:
    """A prompt in three versions: 10 % canary, 25 % beta, the rest production."""
    (folder / "ab").mkdir()
    for version in "123":
        (folder / "ab" / f"{version}.md").write_text(version)
    labels = 'production = "1"\ncanary = { version = "2", weight = 10 }\nbeta = { version = "3", weight = 25 }\n'
    (folder / "ab" / "labels.toml").write_text(labels)
    return folder


def test_weights_split_sessions(split: Path) -> None:
    """100,000 sessions are split within half a percent of the weights."""
    from llmtrace.context.prompts import files as prompt_files
    from llmtrace.context.prompts import label_for_key

    labels = prompt_files.labels_of(split / "ab")
    total = 100_000
    chosen = [label_for_key("ab", f"session-{number}", labels) for number in range(total)]
    for label, weight in (("production", 0.65), ("canary", 0.10), ("beta", 0.25)):
        assert abs(chosen.count(label) / total - weight) < 0.005
    assert [label_for_key("ab", f"session-{number}", labels) for number in range(1000)] == chosen[:1000]


def test_session_gets_the_same_label_in_every_process(split: Path) -> None:
    """Another process, with another hash seed, chooses the same label; without a session, the user decides."""
    program = (
        "import json\nfrom llmtrace import prompts, tag\nfound = []\n"
        "for number in range(300):\n"
        "    with tag(session=f'session-{number}', user='u'): found.append(prompts.load('ab').label)\n"
        "print(json.dumps(found))"
    )
    source = str(Path(prompts.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": source, "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
        timeout=180,
    )
    here = []
    for number in range(300):
        with tag(session=f"session-{number}"):
            here.append(prompts.load("ab").label)
        with tag(user=f"session-{number}"):
            assert prompts.load("ab").label == here[-1]
    assert json.loads(done.stdout) == here
    assert set(here) == {"production", "canary", "beta"}


def test_prompt_without_session_or_user_is_production(split: Path) -> None:
    """Without a key nothing is drawn at random; a requested label is loaded."""
    assert prompts.load("ab").label == "production"
    with tag(session="session-1"):
        assert prompts.load("ab", label="canary").version == "2"
