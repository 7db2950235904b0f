"""Libraries that are imported after ``instrument()``, each in the ways that a program imports it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from llmtrace.providers.registry import PROVIDERS

pytestmark = pytest.mark.exhaustive

PROGRAM = """
import json, sys
import llmtrace
instrumentation = llmtrace.instrument()
{imports}
print(json.dumps([sorted(instrumentation.patched), sorted(instrumentation.skipped)]))
"""
INSTALLED = {
    provider.name: provider.module
    for provider in PROVIDERS
    if provider.doctor_imports and find_spec(provider.module.partition(".")[0]) is not None
}
"""Modules by the name of the provider, of all libraries whose import takes no seconds."""
LOADED_LATER = """
import cohere, huggingface_hub
cohere.ClientV2, huggingface_hub.InferenceClient, huggingface_hub.AsyncInferenceClient
"""
"""Clients that libraries load when they are first used."""


@pytest.mark.parametrize(
    ("vendors", "imports"),
    [
        (list(INSTALLED), f"import {', '.join(INSTALLED.values())}\n{LOADED_LATER}"),
        (
            ["cohere", "hugging_face"],
            "from cohere import AsyncClientV2\nfrom huggingface_hub import AsyncInferenceClient",
        ),
    ],
    ids=["all", "some"],
)
def test_library_that_is_imported_later_is_hooked(vendors: list[str], imports: str) -> None:
    """All hooks are in place, and none is reported as missing."""
    program = PROGRAM.format(imports=imports)
    environ = {"LLMTRACE_STORE": "off", "PATH": ""}
    process = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environ)
    patched, skipped = json.loads(process.stdout)
    assert set(vendors) <= set(patched)
    assert skipped == []
