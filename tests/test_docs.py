"""Links, settings, public names and Python code of the documentation pages."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

import llmtrace
from llmtrace import Settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub builds them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_links_resolve(page: Path) -> None:
    """Every link within the repository leads to an existing file and heading."""
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = page if not path else (page.parent / path).resolve()
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_python_blocks_compile(page: Path) -> None:
    """Every Python block can be compiled."""
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        compile(block, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_settings_page_lists_every_variable() -> None:
    """The settings page has every variable, and no page has a variable that does not exist."""
    variables = {f"LLMTRACE_{field.name.upper()}" for field in fields(Settings)}
    named = {page: set(re.findall(r"LLMTRACE_[A-Z][A-Z_]*[A-Z]", page.read_text())) for page in PAGES}
    assert variables <= named[ROOT / "docs" / "reference" / "settings.md"]
    assert set().union(*named.values()) <= variables


def test_api_page_lists_every_public_name() -> None:
    """The API reference has every public name, and no other."""
    names = re.findall(r"^::: llmtrace\.(\w+)", (ROOT / "docs" / "reference" / "api.md").read_text(), re.MULTILINE)
    assert sorted(names) == sorted({*llmtrace.__all__, "testing"})
