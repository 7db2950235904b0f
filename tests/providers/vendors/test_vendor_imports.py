"""Libraries that are imported after ``instrument()``, each in the ways that a program imports it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import llmtrace
instrumentation = llmtrace.instrument()
{imports}
print(json.dumps([sorted(instrumentation.patched), sorted(instrumentation.skipped)]))
"""


@pytest.mark.parametrize(
    ("vendors", "imports"),
    [
        (
            ["cerebras", "cohere", "fireworks", "groq", "hugging_face", "ollama", "together", "voyage", "xai"],
            "import xai_sdk, cohere, fireworks, groq, huggingface_hub, ollama, together, voyageai, cerebras.cloud.sdk\n"
            "cohere.ClientV2, huggingface_hub.InferenceClient, huggingface_hub.AsyncInferenceClient",
        ),
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
