"""Bridges import no framework, and are installed whichever module of it is imported first."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from llmtrace.integrations.registry import INTEGRATIONS

pytestmark = pytest.mark.exhaustive

MODULES = [each.module.partition(".")[0] for each in INTEGRATIONS]
CONFIG = "langchain_core.runnables.config._set_config_context"
FIRST = {
    "langchain_core.retrievers": [CONFIG, "langchain_core.retrievers.BaseRetriever.invoke"],
    "langgraph.graph": [CONFIG, "langgraph._internal._runnable._set_config_context"],
    "agents.tracing.traces": ["agents.tracing.spans.SpanImpl.start", "agents.tracing.traces.TraceImpl.start"],
}
"""Functions that are hooked after the import of a module."""


def run(code: str) -> object:
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert output.stderr == ""
    return json.loads(output.stdout)


def test_instrument_imports_no_framework() -> None:
    """The bridges wait for their frameworks without importing them."""
    code = (
        "import json, sys, llmtrace\n"
        "llmtrace.instrument(store='off')\n"
        f"print(json.dumps([name for name in {MODULES} if name in sys.modules]))"
    )
    assert run(code) == []


@pytest.mark.parametrize("module", FIRST)
def test_bridge_is_installed_whichever_module_is_first(module: str) -> None:
    """A bridge hooks all its modules, also those whose import is running when the first is complete."""
    if find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"{module} is not installed")
    code = (
        "import json, time, llmtrace, pkgutil\n"
        "made = llmtrace.instrument(store='off', strict=True)\n"
        f"import {module}\n"
        "time.sleep(0.02)\n"
        f"hooked = [hasattr(pkgutil.resolve_name(name), '__wrapped__') for name in {FIRST[module]}]\n"
        "print(json.dumps([hooked, made.skipped]))"
    )
    assert run(code) == [[True] * len(FIRST[module]), {}]
