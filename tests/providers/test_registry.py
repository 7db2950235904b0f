"""The registry of client libraries, and the places outside the package that name the same releases."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from llmtrace.integrations.contract import Integration
from llmtrace.integrations.registry import INTEGRATIONS
from llmtrace.providers.contract import Provider
from llmtrace.providers.registry import PROVIDERS

ROOT = Path(__file__).parents[2]


def _load_releases() -> Any:
    """Return the script that prints the releases to test."""
    spec = spec_from_file_location("releases", ROOT / ".ci" / "releases.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    if (ROOT / ".ci").is_dir():
        spec.loader.exec_module(module)
    return module


RELEASES = _load_releases()

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="the sources are not here")


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_extra_has_the_supported_releases(provider: Provider) -> None:
    """The extra of a library states the range that its provider supports."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras[provider.name.replace("_", "-")] == [provider.distribution + provider.supported]


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_oldest_supported_release_is_read_from_the_registry(provider: Provider) -> None:
    """The first release of the range is the one that the checks with the oldest releases install."""
    (oldest,) = RELEASES.requirements("oldest", [provider.name])
    assert re.fullmatch(rf"{provider.distribution}==\d+(\.\d+)*", oldest)
    assert provider.supported.startswith(oldest.removeprefix(provider.distribution).replace("==", ">=") + ",<")


def test_provider_without_an_oldest_release_is_rejected() -> None:
    """A row whose range does not begin with a release cannot be tested with it."""
    with pytest.raises(ValueError, match="oldest release"):
        RELEASES.requirement(replace(PROVIDERS[0], supported="<4"), "oldest")


def test_all_providers_are_tested_with_an_oldest_and_a_newest_release() -> None:
    """Only those are left out that the script names."""
    for which, left_out in (("oldest", RELEASES.OWN_SESSION), ("newest", (*RELEASES.OWN_SESSION, *RELEASES.LARGE))):
        printed = " ".join(RELEASES.requirements(which, []))
        assert [
            each.name for each in PROVIDERS if f"{each.distribution}{'=' if which == 'oldest' else '>'}=" not in printed
        ] == [each.name for each in PROVIDERS if each.name in left_out]


@pytest.mark.parametrize("bridge", INTEGRATIONS, ids=lambda bridge: bridge.name)
def test_every_bridge_is_tested_with_its_newest_release(bridge: Integration) -> None:
    """Its framework is in the extra that all checks use, or in a group of the sessions of nox."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    name = bridge.distribution.removesuffix("-core")
    in_extra = any(re.match(rf"{name}(-core)?>=", requirement) for requirement in extras["frameworks"])
    groups = tomllib.loads((ROOT / "docs" / "frameworks.toml").read_text())[bridge.name].get("sessions", ())
    assert in_extra or any(not group.startswith("oldest") for group in groups)


@pytest.mark.parametrize("file", ["noxfile.py", ".ci/run"])
def test_checks_spell_no_release_of_a_client_library(file: str) -> None:
    """The checks read the releases from the registry, which is the only place to change."""
    text = (ROOT / file).read_text()
    assert ".ci/releases.py" in text
    spelt = [each.distribution for each in PROVIDERS if re.search(rf"(?<![\w-]){each.distribution}[=<>]", text)]
    assert spelt == (["openai"] if file == "noxfile.py" else [])  # a framework requires a newer one
    assert [each.name for each in INTEGRATIONS if re.search(rf"(?<![\w-]){each.distribution}[=<>]", text)] == []
