"""A release of a framework that lacks the hooks of its bridge runs as before, with one warning."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from llmtrace.integrations.registry import INTEGRATIONS

CODE = """
import json, logging, sys, types
from llmtrace.integrations.registry import INTEGRATIONS
import llmtrace

class Collect(logging.Handler):
    def emit(self, record):
        warnings.append(record.getMessage().splitlines()[0])

warnings = []
logging.getLogger("llmtrace").addHandler(Collect())
for each in INTEGRATIONS:
    for name in (each.package, each.module):
        if name:
            sys.modules[name] = types.ModuleType(name)
made = llmtrace.instrument(store="off")
print(json.dumps([warnings, made.skipped, list(made.patched)]))
"""


@pytest.fixture(scope="module")
def outcome() -> tuple[list[str], dict[str, str], list[str]]:
    """Return warnings, skipped and hooked clients of a process whose frameworks have none of the hooked names."""
    output = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True, timeout=60)
    warnings, skipped, hooked = json.loads(output.stdout)
    return warnings, skipped, hooked


@pytest.mark.parametrize("name", [each.name for each in INTEGRATIONS])
def test_release_without_the_hooks_is_skipped_with_one_warning(
    name: str, outcome: tuple[list[str], dict[str, str], list[str]]
) -> None:
    """The bridge is not installed, one warning names it, and nothing is raised."""
    warnings, skipped, hooked = outcome
    assert "this release has" in skipped[name]
    assert name not in hooked
    assert len([warning for warning in warnings if f"{name}" in warning.replace("llmtrace", "", 1)]) == 1
