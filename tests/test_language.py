"""The rules of docs/glossary.md that a program can check, over every module of the package."""

from __future__ import annotations

import ast
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmtrace

PACKAGE = Path(llmtrace.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = Path(__file__).parent

BANNED = frozenset(
    {
        *("told", "tell", "tells", "said", "say", "says", "asked", "heard", "spoken"),
        *("given", "beside", "around", "whole", "somebody", "nobody", "whoever"),
    }
)
"""Words that do not name what they stand for. In prose and in names an engineer cannot search for them."""
LITERAL_ONLY = frozenset({"found", "known", "made"})
"""Accepted as the whole name of a local variable, in the literal sense, and in prose."""
MAX_FUNCTION_LINES = 60
OPENINGS = re.compile(r"(What|Whether|Where|How|Whoever|Whose|As|Is)\b")


def words(identifier: str) -> set[str]:
    """Return the lower-case words of a snake_case or CamelCase identifier."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


def definitions(tree: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """Yield the line, the identifier and whether it is a local variable, for every name that a module defines."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name, False
            case ast.arg():
                yield node.lineno, node.arg, False
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr, False
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id, True
            case ast.alias(asname=str(name)):
                yield 0, name, False


def prose(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield every docstring and comment of a module with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_uses_plain_names_and_prose(path: Path) -> None:
    """Names, docstrings and comments use the field's terms, not words that only their author understands."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    faults = []
    for line, name, local in definitions(tree):
        banned = words(name) & (BANNED | LITERAL_ONLY)
        if banned and not (local and name in LITERAL_ONLY):
            faults.append(f"{line}: the name {name!r} uses {sorted(banned)}")
    for line, text in prose(path, tree):
        plain = re.sub(r"``[^`]*``|`[^`]*`|\"[^\"]*\"|'[^'\s]*'", "", text)
        banned = set(re.findall(r"[a-z]+", plain.lower())) & BANNED
        if banned:
            faults.append(f"{line}: the text uses {sorted(banned)}: {text.strip()[:80]!r}")
        if not text.startswith("#") and OPENINGS.match(text.strip()):
            faults.append(f"{line}: the docstring opens with {text.strip().split()[0]!r}: {text.strip()[:80]!r}")
    assert not faults, "\n" + "\n".join(faults)


def test_tests_use_plain_names() -> None:
    """Names in tests use the field's terms too."""
    faults = []
    for path in TESTS.rglob("*.py"):
        for line, name, _ in definitions(ast.parse(path.read_text(encoding="utf-8"))):
            if banned := words(name) & BANNED:
                faults.append(f"{path.relative_to(TESTS)}:{line}: the name {name!r} uses {sorted(banned)}")
    assert faults == []


def test_class_names_are_defined_once() -> None:
    """One name has one meaning in the whole package: no class name is defined in two modules."""
    homes: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(str(path.relative_to(PACKAGE)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_functions_are_short() -> None:
    """No function is longer than 60 lines, its docstring not counted: that of ``instrument()`` lists every setting."""
    faults = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                documented = ast.get_docstring(node) is not None
                lines = last_line(node) - node.lineno + 1 - (last_line(first) - first.lineno + 1 if documented else 0)
                if lines > MAX_FUNCTION_LINES:
                    faults.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.name} has {lines} lines")
    assert faults == []


def test_environment_is_read_in_one_place() -> None:
    """Only the settings read environment variables; one command sets one for numpy before it is imported."""
    readers = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if re.search(r"\b(os\.environ|getenv)\b", path.read_text(encoding="utf-8"))
    }
    assert {name for name in readers if not name.startswith("_settings/")} == {"cli/commands.py"}


def last_line(node: ast.stmt) -> int:
    """Return the number of the last line of a statement."""
    assert node.end_lineno is not None
    return node.end_lineno
