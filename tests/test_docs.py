"""Documentation pages: links, settings, public names, and code that compiles."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

import llmtrace
from llmtrace import Settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub generates them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_have_targets(page: Path) -> None:
    """Every link within the repository has an existing target."""
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        found = page if not path else (page.parent / path).resolve()
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_compile(page: Path) -> None:
    """Every Python block compiles."""
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        compile(block, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_settings_page_lists_every_variable() -> None:
    """The settings page has every variable, and no page has an unknown one."""
    known = {f"LLMTRACE_{field.name.upper()}" for field in fields(Settings)}
    named = {page: set(re.findall(r"LLMTRACE_[A-Z][A-Z_]*[A-Z]", page.read_text())) for page in PAGES}
    assert known <= named[ROOT / "docs" / "settings.md"]
    assert set().union(*named.values()) <= known


def test_public_names_page_lists_every_name() -> None:
    """The page of public names has exactly those of ``__all__``."""
    told = re.findall(r"^::: llmtrace\.(\w+)", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted({*llmtrace.__all__, "testing"})
