"""Every program on a page of the documentation runs, and prints what the page shows."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import click
import pytest
import yaml
from docs_vendor import vendors

from serving import programs
from warm_python import WarmPython

Run = Callable[[list[str], Path, dict[str, str]], str]
ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^( *)```(\w*)([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')
STARTUP = Path(__file__).with_name("startup")
"""Folder of the module that Python imports when it starts."""
COMPATIBLE = ("GROQ", "TOGETHER", "CEREBRAS", "FIREWORKS")
SERVER = "fake_openai.py"
"""A program that runs until it is stopped. It has a test of its own."""
COMMAND = re.compile(r"^(?:\$ )?((?:[A-Z_]+=\S+ )*llmtrace .*?)(?: +#.*)?$", re.MULTILINE)

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documentation is not installed")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    for _, language, rest, text in FENCE.findall(page.read_text()):
        title = TITLE.search(rest)
        yield Block(language, title.group(1) if title else "", dedent(text))


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def absent(page: Path) -> list[str]:
    """Return the modules that the programs of a page import, and that are neither on the page nor installed."""
    programs = [block for block in blocks(page) if block.language == "python"]
    nodes = [node for program in programs for node in ast.walk(ast.parse(program.text))]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    imported = {name.partition(".")[0] for name in imported} - {Path(program.title).stem for program in programs}
    return sorted(name for name in imported if find_spec(name) is None)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with vendors() as url:
        yield url


def environment(address: str, folder: Path) -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("LLMTRACE_", "OTEL_"))}
    return variables | {
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "COLUMNS": "80",
        "NO_PROXY": "127.0.0.1",
        "OPENAI_BASE_URL": f"{address}/v1",
        "OPENAI_API_KEY": "none",
        "ANTHROPIC_BASE_URL": address,
        "ANTHROPIC_API_KEY": "none",
        "GOOGLE_GEMINI_BASE_URL": address,
        "GEMINI_API_KEY": "none",
        "MISTRAL_SERVER_URL": f"{address}/mistral",
        "MISTRAL_API_KEY": "none",
        "CO_API_URL": address,
        "CO_API_KEY": "none",
        "OLLAMA_HOST": address,
        "ENDPOINT_URL": address,
        "VOYAGE_SERVER_URL": address,
        "VOYAGE_API_KEY": "none",
        "XAI_API_KEY": "none",
        **{f"{name}_BASE_URL": address for name in COMPATIBLE},
        **{f"{name}_API_KEY": "none" for name in COMPATIBLE},
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
        "LLMTRACE_FLUSH_TIMEOUT": "30",
        "PYTHONPATH": os.pathsep.join([str(folder), str(STARTUP), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }


@pytest.fixture
def run(warm_python: WarmPython) -> Run:
    """Return a function that runs Python with arguments to its end and returns what it printed."""

    def run_program(arguments: list[str], folder: Path, environ: dict[str, str]) -> str:
        process = warm_python.run(arguments, folder, environ)
        assert process.returncode == 0, f"{shlex.join(arguments)}\n{process.stdout}\n{process.stderr}"
        return process.stdout

    return run_program


def write(block: Block, folder: Path) -> Path:
    """Write a block to the file of its title, or add it to the end of that file."""
    file = folder / block.title.removeprefix("add to ")
    earlier = file.read_text() if block.title.startswith("add to ") else ""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{earlier}\n{block.text}" if earlier else block.text)
    return file


def start(file: Path) -> list[str]:
    """Return the arguments of Python that run a program, or the tests in it."""
    options = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if file.name.startswith("test_") else []
    return [*options, file.name]


def typed(block: Block) -> list[list[str]]:
    """Return the commands of a block that run a program of the page, or ``llmtrace``."""
    lines = [shlex.split(line, comments=True) for line in block.text.splitlines()] if block.language == "sh" else []
    commands = {"python": [], "llmtrace": ["-m", "llmtrace"]}
    return [[*commands[words[0]], *words[1:]] for words in lines if words and words[0] in commands]


PROGRAMS = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]


@pytest.mark.parametrize("page", PROGRAMS, ids=named)
def test_programs_of_page_run_and_print_the_shown_output(page: Path, address: str, tmp_path: Path, run: Run) -> None:
    """The files of a page are written to a folder in their order, and each program runs, as does what is added to it.

    On the pages to get started, the commands run too, and programs where the reader starts them.
    """
    if missing := absent(page):
        pytest.skip(f"not installed: {', '.join(missing)}")
    environ = environment(address, tmp_path)
    commands = {block: typed(block) for block in blocks(page)} if page.parent.name == "get-started" else {}
    waiting = {command[0] for group in commands.values() for command in group} | {SERVER}
    printed = ""
    for block in blocks(page):
        for command in commands.get(block, []):
            printed = run(command, tmp_path, environ)
        if block.title == "Output":
            lines = [line.strip() for line in block.text.splitlines() if line.strip() and "..." not in line]
            assert [line for line in lines if line not in printed] == [], printed
        elif block.title:
            file = write(block, tmp_path)
            if block.language == "python" and (file.name not in waiting or block.title != file.name):
                printed = run(start(file), tmp_path, environ)
        else:
            assert block.language != "python", f"this block has no title with its file name:\n{block.text}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_and_files_of_page_are_accepted(page: Path) -> None:
    """Every ``llmtrace`` command has existing options, and every TOML, JSON and YAML block can be read."""
    for block in blocks(page):
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language == "json":
            json.loads(block.text)
        if block.language == "yaml":
            assert yaml.safe_load(block.text)
        if block.language in ("sh", "console"):
            for line in COMMAND.findall(block.text.replace("\\\n", " ")):
                words = [word for word in shlex.split(line) if not re.match(r"[A-Z_]+=", word)]
                parse(words[1:])


def test_fake_server_of_first_trace_answers_the_first_program(tmp_path: Path, run: Run) -> None:
    """The page's own server answers the page's own program, which then has a trace with a cost."""
    files = {block.title: block.text for block in blocks(ROOT / "docs" / "get-started" / "first-trace.md")}
    (tmp_path / "first.py").write_text(files["first.py"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (tmp_path / SERVER).write_text(files[SERVER].replace("8123", port))
    environ = environment(f"http://127.0.0.1:{port}", tmp_path)
    with programs() as running:
        server = subprocess.Popen(
            [sys.executable, "-u", SERVER], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True
        )
        running.append(server)
        assert server.stdout is not None
        server.stdout.readline()
        assert "blue light" in run(["first.py"], tmp_path, environ)
    assert "chat gpt-4.1-mini" in run(["-m", "llmtrace", "trace"], tmp_path, environ)


@pytest.mark.skipif(find_spec("fastapi") is None, reason="not installed: fastapi")
def test_guide_example_passes_its_own_tests(address: str, tmp_path: Path, run: Run) -> None:
    """The larger example runs its tests in a copy of its folder."""
    folder = tmp_path / "guide"
    shutil.copytree(ROOT / "examples" / "guide", folder)
    run(["-m", "pytest", "-q", "-p", "no:cacheprovider"], folder, environment(address, folder))


def parse(words: list[str]) -> None:
    """Parse the arguments of ``llmtrace`` without running the command."""
    from llmtrace.cli.commands import _llmtrace

    group: click.Group = _llmtrace
    name, *rest = words
    context = click.Context(group, **group.context_settings)
    command = group.get_command(context, name)
    assert command is not None, name
    if isinstance(command, click.Group) and rest:
        inner = command.get_command(context, rest[0])
        if inner is not None:
            command, rest = inner, rest[1:]
    import_module(command.callback.__module__ if command.callback else "llmtrace")
    command.make_context(name, rest, parent=context, resilient_parsing=False)
