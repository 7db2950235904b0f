"""What a release is made of: the changelog, the links of the package's description, and the workflow."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("added", "changed", "deprecated", "removed", "fixed")

pytestmark = pytest.mark.skipif(not (ROOT / "hatch_build.py").is_file(), reason="this is not a source tree")


@pytest.fixture
def hatch_build() -> ModuleType:
    pytest.importorskip("hatchling", reason="not installed: hatchling")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_fragments_have_a_known_kind_and_no_links() -> None:
    """A link would lead nowhere from one of the two places that show the changelog."""
    fragments = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "changelog.d").glob("*.md")}
    assert [name for name in fragments if not re.fullmatch(rf"[a-z0-9-]+\.({'|'.join(KINDS)})\.md", name)] == []
    assert [name for name, text in fragments.items() if "](" in text] == []


def test_fragments_become_a_section_of_the_changelog(tmp_path: Path) -> None:
    """A release writes one section with every fragment, above the earlier releases, and removes the fragments."""
    pytest.importorskip("towncrier", reason="not installed: towncrier")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    folder = tmp_path / "changelog.d"
    folder.mkdir()
    shutil.copy(ROOT / "changelog.d" / "template.md.jinja", folder)
    earlier = "## 0.1.0 (2026-01-01)\n\n### Added\n\n- The first release.\n"
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n<!-- releases -->\n\n{earlier}")
    (folder / "one.added.md").write_text("One thing\nin two lines.\n")
    (folder / "two.fixed.md").write_text("A mended fault.\n")
    command = [sys.executable, "-m", "towncrier", "build", "--yes", "--version", "0.2.0", "--date", "2026-02-01"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    added = "## 0.2.0 (2026-02-01)\n\n### Added\n\n- One thing\n  in two lines.\n\n### Fixed\n\n- A mended fault.\n"
    text = (tmp_path / "CHANGELOG.md").read_text()
    assert re.sub(r"\n{3,}", "\n\n", text) == f"# Changelog\n\n<!-- releases -->\n\n{added}\n{earlier}"
    assert list(folder.glob("*.md")) == []


def test_package_has_the_addresses_of_the_repository_that_builds_it(
    hatch_build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a workflow the package has URLs, and its description links to files of the tag; elsewhere it has neither."""
    hook = hatch_build.RepositoryMetadata(str(ROOT), {})
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.example")
    monkeypatch.setenv("GITHUB_REPOSITORY", "some/where")
    metadata: dict[str, Any] = {"version": "1.2.3"}
    hook.update(metadata)
    assert metadata["urls"]["Changelog"] == "https://git.example/some/where/blob/v1.2.3/CHANGELOG.md"
    text = metadata["readme"]["text"]
    assert "(https://git.example/some/where/raw/v1.2.3/docs/images/report.svg)" in text
    assert "(https://git.example/some/where/blob/v1.2.3/CONTRIBUTING.md)" in text
    assert re.findall(r"\]\((?!https://|#)[^)]*\)", text) == []
    monkeypatch.delenv("GITHUB_REPOSITORY")
    elsewhere: dict[str, Any] = {"version": "1.2.3"}
    hook.update(elsewhere)
    assert elsewhere == {
        "version": "1.2.3",
        "readme": {"content-type": "text/markdown", "text": (ROOT / "README.md").read_text(encoding="utf-8")},
    }


def test_workflow_publishes_the_package_without_its_list_of_components() -> None:
    """PyPI accepts only the files of ``dist``; the list of components (SBOM) goes to the release of the repository."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    uploads = {
        step["with"]["name"]: step["with"]["path"]
        for step in workflow["jobs"]["build"]["steps"]
        if "upload-artifact" in step.get("uses", "")
    }
    assert uploads == {"dist": "dist/", "sbom": "sbom/"}
    downloads = {
        job: [step["with"].get("name") for step in workflow["jobs"][job]["steps"] if "download" in step.get("uses", "")]
        for job in ("publish", "announce")
    }
    assert downloads == {"publish": ["dist"], "announce": ["dist", "sbom"]}
