"""Links, settings and public names of the documentation pages."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name

import pytest

import llmtrace
from llmtrace import Settings
from llmtrace.telemetry import names as telemetry_names

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(llmtrace.__file__).parent
TELEMETRY_NAMES = [
    name
    for value in vars(telemetry_names).values()
    for name in (value.values() if isinstance(value, dict) else [value])
    if isinstance(name, str) and name.startswith("llmtrace.")
]
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_mentions_existing_code(page: Path) -> None:
    """Every module, attribute and source file that a page names exists."""
    text = page.read_text()
    names = set(re.findall(r"\bllmtrace\.[a-z_]\w*(?:\.\w+)*", text))
    assert {name for name in names if not (is_telemetry_name(name) or is_importable(name))} == set()
    assert missing_files(text) == set()


def test_sources_mention_existing_files() -> None:
    """Every source file that a docstring or a comment of the package names exists."""
    sources = {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert {name: missing for name, text in sources.items() if (missing := missing_files(text))} == {}


def missing_files(text: str) -> set[str]:
    """Return the paths of Python files in a text that do not exist."""
    names = set(re.findall(r"(?<![\w/.])(?:[\w-]+/)+[\w-]+\.py\b", text))
    return {name for name in names if not any((folder / name).is_file() for folder in (ROOT, PACKAGE, PACKAGE.parent))}


def is_telemetry_name(name: str) -> bool:
    """Return True for an attribute or metric that llmtrace writes, or for the beginning of one."""
    beginnings = tuple(value for value in TELEMETRY_NAMES if value.endswith("."))
    return name.startswith(beginnings) or any(value.startswith(name) for value in TELEMETRY_NAMES)


def is_importable(name: str) -> bool:
    """Return True for a module, or for a name in one."""
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_comparison_of_readme_is_that_of_the_benchmarks() -> None:
    """The README compares tracers by the date and the figures that the page of benchmarks has."""
    readme, benchmarks = (ROOT / "README.md").read_text(), (ROOT / "docs" / "benchmarks.md").read_text()
    compared = readme[readme.index("## Compared") : readme.index("## Documentation")]
    (date,) = re.findall(r"in one run on (\d{4}-\d\d-\d\d)", compared)
    assert f"on {date} " in benchmarks
    measured = {row[0]: row for row in table_rows(benchmarks) if len(row) == 13}
    shown = table_rows(compared)
    assert len(shown) == len(measured)
    for name, call, chunk, *_ in shown:
        label = re.sub(r" [\d.]+(b\d+)?$", "", name.strip("*"))
        row = next(row for tracer, row in measured.items() if tracer.split(",")[0] == label)
        assert re.search(rf"/ {call}(?: \(|$)", row[1]), (name, call, row[1])
        assert chunk == row[4], name


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of the rows of Markdown tables, without their headings."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| tracer ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
