"""The registry of client libraries, and the places outside the package that name the same releases."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from llmtrace.providers.contract import Provider
from llmtrace.providers.registry import PROVIDERS

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="the sources are not here")


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_extra_has_the_supported_releases(provider: Provider) -> None:
    """The extra of a library states the range that its provider supports."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras[provider.name.replace("_", "-")] == [provider.distribution + provider.supported]


@pytest.mark.parametrize("file", ["noxfile.py", ".ci/run"])
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_oldest_supported_release_is_tested(provider: Provider, file: str) -> None:
    """The checks with the oldest releases install the first of the range."""
    first = provider.supported.removeprefix(">=").partition(",")[0]
    text = (ROOT / file).read_text().replace("[bedrock,vertex]", "")
    assert re.search(rf"{provider.distribution}=={re.escape(first)}\b", text)
