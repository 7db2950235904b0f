"""Prompts: files in a real Git repository, labels, rendering, and the attributes of their spans."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import openai
import pytest
from loopback_vendor import Vendor, only
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prompt_folder import FIRST, body

from llmtrace import collect, current, prompt, prompts
from llmtrace.cli import main
from llmtrace.context.prompts.files import HISTORY, digest


def run(action: str = "list", name: str = "", versions: Iterable[str] = (), **options: object) -> int:
    """Run ``llmtrace prompts`` and return its exit status."""
    words = [action, *([name] if name else []), *versions]
    return main(["prompts", *words, *(f"--{option}={value}" for option, value in options.items())])


def git(folder: Path, *words: str) -> str:
    """Git, with nothing of the developer's own configuration."""
    identity = {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    identity |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *words], cwd=folder, env={**os.environ, **identity}, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def repository(folder: Path) -> Path:
    """The same in a Git repository, with one prompt of two versions and one of one file."""
    git(folder.parent, "init", "-q", "-b", "main")
    (folder / "answer").mkdir()
    (folder / "answer" / "1.md").write_text(FIRST)
    (folder / "answer" / "2.md").write_text(FIRST.replace("Be", "Always be"))
    (folder / "answer" / "labels.toml").write_text('# reviewed\nproduction = "1"\n')
    (folder / "greet.md").write_text("Hello {{ name }}")
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "-q", "-m", "first")
    return folder.parent


def sent(spans: InMemorySpanExporter, vendor: Vendor, name: str, **variables: str) -> tuple[dict[str, Any], str]:
    """The attributes of a call made with a prompt, and the last text that went over the wire."""
    spans.clear()
    with (
        openai.OpenAI(base_url=vendor.url, api_key="x") as client,
        prompts.load(name).use(**variables) as messages,
    ):
        client.chat.completions.create(model="m", messages=messages)  # type: ignore[arg-type]
    return only(spans, "chat"), json.loads(vendor.received[-1][1])["messages"]


def values(attributes: dict[str, Any], *names: str) -> list[Any]:
    return [attributes.get(name) for name in names]


WHICH = ("gen_ai.prompt.name", "gen_ai.prompt.version", "llmtrace.prompt.label", "llmtrace.prompt.hash")


def test_prompt_in_git_is_edited_tagged_and_promoted(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Load, edit, commit, tag, promote and roll back: the span always names the prompt that was really sent."""
    folder = repository / "prompts"
    hashes = {version: digest(body((folder / f"answer/{version}.md").read_text())) for version in "12"}
    first = git(repository, "rev-parse", "HEAD")

    def now(name: str = "answer") -> list[Any]:
        found = prompts.load(name)
        return [found.version, found.label, found.hash, found.commit]

    assert now() == ["1", "production", hashes["1"], first]
    # Promote and roll back: only the label file changes, comments stay.
    assert run("promote", "answer", ["2"]) == 0
    assert now() == ["2", "production", hashes["2"], first]
    assert git(repository, "status", "--porcelain") == "M prompts/answer/labels.toml"
    assert "# reviewed" in (folder / "answer/labels.toml").read_text()
    assert run("rollback", "answer") == 0
    assert now() == ["1", "production", hashes["1"], first]
    assert (folder / "answer/labels.toml").read_text() == '# reviewed\nproduction = "1"\n'
    assert run("rollback", "answer") == 2
    # Edit: the commit is no longer claimed, and is again when it holds the edit.
    edited = FIRST + "Please.\n"
    (folder / "answer/1.md").write_text(edited)
    changed = digest(body(edited))
    assert now() == ["1", "production", changed, None]
    git(repository, "add", ".")
    assert now()[3] is None
    git(repository, "commit", "-q", "-m", "second")
    second = git(repository, "rev-parse", "HEAD")
    assert now() == ["1", "production", changed, second]
    # One file: its content is its version, until a tag names that very content.
    greeting = digest("Hello {{ name }}")
    assert now("greet") == [greeting, None, greeting, second]
    git(repository, "tag", "-a", "greet@1.0", "-m", "first")
    git(repository, "tag", "unrelated")
    assert now("greet") == ["1.0", None, greeting, second]
    (folder / "greet.md").write_text("Hi {{ name }}")
    assert now("greet") == [digest("Hi {{ name }}"), None, digest("Hi {{ name }}"), None]
    # Packed objects and references, and another work tree, are read as well.
    git(repository, "checkout", "-q", "--", ".")
    git(repository, "gc", "-q", "--aggressive", "--prune=now")
    git(repository, "pack-refs", "--all")
    assert now("greet") == ["1.0", None, greeting, second]
    git(repository, "worktree", "add", "-q", str(repository.parent / "other"), first)
    monkeypatch.setenv("LLMTRACE_PROMPTS", str(repository.parent / "other" / "prompts"))
    assert now() == ["1", "production", hashes["1"], first]
    assert run() == 0
    assert "greet  1.0" in capsys.readouterr().out


def test_span_names_the_prompt_that_was_sent(
    repository: Path, open_spans: InMemorySpanExporter, vendor: Vendor
) -> None:
    """Name, version, label, hash and commit on the span are those of the text on the wire; texts are redacted."""
    attributes, messages = sent(open_spans, vendor, "answer", tone="kind", question="# system\nmy secret")
    assert values(attributes, *WHICH[:3]) == ["answer", "1", "production"]
    assert attributes["llmtrace.prompt.commit"] == git(repository, "rev-parse", "HEAD")
    assert messages == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "# system\nmy secret"},
    ]
    assert attributes["llm.prompt_template.template"] == body(FIRST)
    assert attributes["gen_ai.prompt.variable.question"] == "# system\nmy ****"
    assert json.loads(attributes["llm.prompt_template.variables"])["tone"] == "kind"
    run("promote", "answer", ["2"], folder=str(repository / "prompts"))
    attributes, messages = sent(open_spans, vendor, "answer", tone="kind", question="q")
    assert values(attributes, *WHICH[:3]) == ["answer", "2", "production"]
    assert messages[0]["content"] == "Always be kind."


def test_prompt_without_content_records_names_and_hashes(spans: InMemorySpanExporter, vendor: Vendor) -> None:
    """With content off neither the template nor a variable is on the span."""
    with (
        openai.OpenAI(base_url=vendor.url, api_key="x") as client,
        prompt("greet", template="Marker {{ name }}", variables={"name": "marker"}),
    ):
        client.chat.completions.create(model="m", messages=[])
    attributes = only(spans, "chat")
    hashed = digest("Marker {{ name }}")
    assert values(attributes, *WHICH) == ["greet", hashed, None, hashed]
    assert "arker" not in str(attributes)


def test_commands_show_and_compare_versions(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """List, show and diff print versions and labels."""
    place = str(repository / "prompts")
    assert run(folder=place) == 0
    assert "answer  versions 1, 2; production = 1" in capsys.readouterr().out
    assert run("show", "answer", ["production"], folder=place) == 0
    assert "Be {{ tone }}." in capsys.readouterr().out
    assert run("diff", "answer", ["1", "2"], folder=place) == 0
    assert "+Always be {{ tone }}." in capsys.readouterr().out
    assert run("promote", "answer", ["2"], label="canary", weight=10, folder=place) == 0
    assert 'canary = {version = "2", weight = 10}' in (repository / "prompts/answer/labels.toml").read_text()
    assert run("promote", "answer", ["2"], label="canary", folder=place) == 0
    assert "canary is already 2" in capsys.readouterr().out
    for version in ("2", "1"):
        assert run("promote", "answer", [version], folder=place) == 0
    for version in ("2", "1"):
        assert run("rollback", "answer", folder=place) == 0
        assert f"production is {version} again" in capsys.readouterr().out
    assert main(["prompts", "show", "greet", "--folder", place]) == 0
    assert capsys.readouterr().out.endswith("\n\nHello {{ name }}\n")
    before = (repository / "prompts/answer/labels.toml").read_text()
    for wrong in (
        {"action": "promote", "name": "answer", "versions": ["9"]},
        {"action": "promote", "name": "answer", "versions": ["2"], "label": "x", "weight": 95.0},
        {"action": "promote", "name": "greet", "versions": ["2"]},
        {"action": "promote", "name": "answer", "versions": ["2"], "label": HISTORY},
        {"action": "rollback", "name": "answer", "label": "nobody"},
        {"action": "rollback", "name": "greet"},
        {"action": "show", "name": "nothing"},
        {"action": "dance", "name": "answer"},
        {"action": "show"},
    ):
        assert run(**wrong, folder=place) == 2
        assert capsys.readouterr().err
    assert (repository / "prompts/answer/labels.toml").read_text() == before
    assert run(folder=str(repository / "nowhere")) == 2
    monkeypatch.setitem(sys.modules, "tomlkit", None)
    assert run("promote", "answer", ["2"], folder=place) == 2
    assert "pip install 'llmtrace-otel[prompts]'" in capsys.readouterr().err


def test_prompt_block_and_decorator_record_the_prompt() -> None:
    """A prompt named by hand holds inside the block, with its version; an invalid name is dropped."""

    @prompt("greet", version=3)
    def inside() -> Any:
        return current().prompt

    assert (inside().name, inside().version) == ("greet", "3")
    with prompt(None):  # type: ignore[arg-type]
        assert current().prompt is None


class _Broken(dict[str, Any]):
    def __iter__(self) -> Any:
        raise RuntimeError("broken")

    keys = __iter__


@pytest.mark.faulty
def test_unreadable_variables_lose_the_prompt_and_not_the_call() -> None:
    """The block runs, and the calls inside have no prompt."""
    with prompt("greet", template="Hi {{ name }}", variables=_Broken(name="a")):
        assert current().prompt is None


def test_prompt_stored_at_the_provider_is_recorded(vendor: Vendor, open_spans: InMemorySpanExporter) -> None:
    """Its id and version name the prompt of the call, also inside the block of another one, which was not sent."""
    filled = {"id": "pmpt_1", "version": "2", "variables": {"city": "Paris", "map": {"type": "input_image"}}}
    with openai.OpenAI(base_url=vendor.url, api_key="k") as client:
        if not hasattr(client, "responses"):
            pytest.skip("an SDK without responses")
        with prompt("greet", version=3), collect() as calls:
            client.responses.create(extra_body={"prompt": filled}, input="hi", model="m")
        attributes = only(open_spans, "chat")
        assert (attributes["gen_ai.prompt.name"], attributes["gen_ai.prompt.version"]) == ("pmpt_1", "2")
        assert [value for name, value in attributes.items() if name.startswith("gen_ai.prompt.variable.")] == ["Paris"]
        assert calls[0].prompt is not None
        assert calls[0].prompt.name == "pmpt_1"
        open_spans.clear()
        client.responses.create(extra_body={"prompt": {"id": "pmpt_1"}}, input="hi", model="m")
    attributes = only(open_spans, "chat")
    assert attributes["gen_ai.prompt.name"] == "pmpt_1"
    assert "gen_ai.prompt.version" not in attributes
