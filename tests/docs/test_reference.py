"""The generated parts of the reference are those of the present code."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not installed")


def load(name: str) -> ModuleType:
    """Load a script of the folder ``docs``."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    return load("generate")


def test_every_attribute_and_event_has_a_meaning_and_no_other(generate: ModuleType) -> None:
    """``names.toml`` describes the names in ``llmtrace.telemetry.names``: add new ones there."""
    described = {name for title, group in generate.MEANINGS.items() if title != "Metrics" for name in group}
    assert generate.attribute_names() - described == set()
    assert described - generate.attribute_names() == set()


def test_every_metric_has_a_meaning_and_no_other(generate: ModuleType) -> None:
    """``names.toml`` describes every metric that is created, and no other."""
    assert generate.instruments().keys() == generate.MEANINGS["Metrics"].keys()


def test_every_framework_is_described_and_no_other(generate: ModuleType) -> None:
    """``frameworks.toml`` describes every bridge with the name of its distribution, and frameworks with own spans."""
    without_bridge = generate.FRAMEWORKS.keys() - {each.name for each in generate.INTEGRATIONS}
    assert [name for name in without_bridge if "its own spans" not in generate.FRAMEWORKS[name]["contains"]] == []
    for each in generate.INTEGRATIONS:
        assert f"`{each.distribution}` " in generate.FRAMEWORKS[each.name]["tested"]


def test_generated_parts_of_pages_are_up_to_date(generate: ModuleType) -> None:
    """Each page has the parts that ``python docs/generate.py`` writes."""
    pytest.importorskip("towncrier", reason="not installed: towncrier")
    pages = [page for page in generate.pages() if generate.PART.search(page.read_text())]
    parts = [part[2] for page in pages for part in generate.PART.finditer(page.read_text())]
    assert sorted(parts) == sorted(generate.PARTS)
    old = [page.name for page in pages if generate.written(page) != page.read_text()]
    assert old == [], "run python docs/generate.py"


def test_picture_of_a_terminal_has_its_text_and_loads_nothing() -> None:
    """A picture shows the output of the command, in its colours, and names no font on another server."""
    picture = load("pictures").svg("llmtrace report --store demo", "\x1b[1mfeature\x1b[0m calls\n")
    assert "llmtrace&#160;report" in picture or "llmtrace report" in picture
    assert "feature" in picture and "bold" in picture
    assert "@font-face" not in picture and "url(https" not in picture
