"""Prompts: files in a real Git repository, labels, rendering, and the attributes of their spans."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest
from loopback_vendor import Vendor, only
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmtrace import ConfigError, collect, current, prompt, prompts, tag
from llmtrace.cli import main
from llmtrace.cli.prompts import run
from llmtrace.context.prompts import _environment, _parts
from llmtrace.context.prompts.files import HISTORY, digest

FIRST = """---
model: gpt-4.1-mini
parameters: {temperature: 0.2}
owner: support
---
# system
Be {{ tone }}.
# user
{{ question }}
"""


def body(text: str) -> str:
    """A prompt without its front matter."""
    return text.partition("\n---\n")[2]


def git(folder: Path, *words: str) -> str:
    """Git, with nothing of the developer's own configuration."""
    identity = {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    identity |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *words], cwd=folder, env={**os.environ, **identity}, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of prompts that is in force."""
    place = tmp_path / "repository" / "prompts"
    place.mkdir(parents=True)
    monkeypatch.setenv("LLMTRACE_PROMPTS", str(place))
    return place


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
        timeout=60,
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
