"""The public module: effects of importing and of instrumenting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.resources.chat import completions
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.integrations.registry import INTEGRATIONS
from llmtrace.providers.registry import PROVIDERS

SOURCE = Path(llmtrace.__file__).parents[1]

CALL = """
def call(url):
    import openai
    with openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0, timeout=10) as client:
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
"""
EXPORTER = """
import json, sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
"""


def run(code: str, *arguments: str) -> Any:
    """Return the last line that the program printed, parsed as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_import_loads_no_sdk() -> None:
    """Importing llmtrace in a fresh interpreter loads neither a vendor SDK nor the OpenTelemetry SDK nor wrapt."""
    loaded = run("import json, sys, llmtrace; print(json.dumps(list(sys.modules)))")
    assert "llmtrace" in loaded
    assert not {"openai", "anthropic", "opentelemetry.sdk", "wrapt"} & set(loaded)


def test_public_names_match_their_modules() -> None:
    """``__all__``, the table of modules and ``dir`` have the same names, in a fresh interpreter too."""
    assert set(llmtrace.__all__) == set(llmtrace._MODULES)
    assert list(llmtrace.__all__) == sorted(llmtrace.__all__)
    listed = run("import json, llmtrace; print(json.dumps(dir(llmtrace)))")
    assert set(llmtrace.__all__) <= set(listed)
    for name in llmtrace.__all__:
        assert getattr(llmtrace, name).__name__.rpartition(".")[2] == name


def test_unknown_name_raises_attribute_error() -> None:
    """An unknown name raises AttributeError, whose message contains the name."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = llmtrace.nothing


def test_disabled_instrumentation_patches_nothing(monkeypatch: pytest.MonkeyPatch, replay: Any) -> None:
    """With LLMTRACE_ENABLED=false the client classes are unchanged and no span is created."""
    monkeypatch.setenv("LLMTRACE_ENABLED", "false")
    before = dict(vars(openai._base_client.SyncAPIClient)), dict(vars(completions.Completions))
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    made = llmtrace.instrument(tracer_provider=provider)
    try:
        assert before == (dict(vars(openai._base_client.SyncAPIClient)), dict(vars(completions.Completions)))
        assert not made.patched
        assert not made.waiting
        assert set(made.skipped) == {each.name for each in (*PROVIDERS, *INTEGRATIONS)}
        with OpenAI(base_url=f"{replay.url}/v1", api_key="x", max_retries=0, timeout=10) as client:
            client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
        assert not exporter.get_finished_spans()
    finally:
        llmtrace.uninstrument()
        provider.shutdown()


def test_instrument_without_imported_sdks_waits_for_them() -> None:
    """Instrumenting imports no vendor SDK and lists all as waiting."""
    modules = [each.module for each in (*PROVIDERS, *INTEGRATIONS)]
    code = (
        "import json, sys, llmtrace\n"
        "made = llmtrace.instrument(store='off')\n"
        f"print(json.dumps([sorted(made.waiting), [name for name in {modules} if name in sys.modules]]))"
    )
    assert run(code) == [sorted(each.name for each in (*PROVIDERS, *INTEGRATIONS)), []]


def test_sdk_imported_during_instrument_is_hooked_afterwards(replay: Any) -> None:
    """An SDK whose import is still running is hooked when the import is done."""
    code = (
        EXPORTER + CALL + "import time, importlib.abc, llmtrace\n"
        "class Midway(importlib.abc.MetaPathFinder):\n"
        "    made = None\n"
        "    def find_spec(self, *_):\n"
        "        half = sys.modules.get('openai._base_client')\n"
        "        if half is not None and not hasattr(half, 'SyncAPIClient') and self.made is None:\n"
        "            self.made = False\n"
        "            self.made = llmtrace.instrument(tracer_provider=provider, strict=True, clients=['openai'])\n"
        "            self.waiting = dict(self.made.waiting)\n"
        "midway = Midway()\n"
        "sys.meta_path.insert(0, midway)\n"
        "import openai\n"
        "sys.meta_path.remove(midway)\n"
        "while midway.made.waiting: time.sleep(0.001)\n"
        "call(sys.argv[1])\nllmtrace.flush()\n"
        "print(json.dumps([midway.waiting, list(midway.made.patched), len(exporter.get_finished_spans())]))"
    )
    assert run(code, replay.url) == [{"openai": "being imported"}, ["openai"], 1]


@pytest.mark.parametrize("first", ["import openai", ""], ids=["after", "before"])
def test_call_has_one_span_whatever_the_import_order(replay: Any, first: str) -> None:
    """A call gives one span whether the SDK was imported before or after instrument()."""
    code = (
        EXPORTER + CALL + first + "\nimport llmtrace\nmade = llmtrace.instrument(tracer_provider=provider, strict=True)"
        "\ncall(sys.argv[1])\nllmtrace.flush()\n"
        "print(json.dumps([list(made.patched), len(exporter.get_finished_spans())]))"
    )
    assert run(code, replay.url) == [["openai"], 1]
