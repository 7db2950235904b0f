"""Private names of OpenTelemetry, which may be missing in its next release."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import baggage, context
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, propagation, set_span_in_context

from llmtrace._compat import opentelemetry_context as compat

REMOVED = """
import logging
logging.basicConfig(level=logging.WARNING, format="%(message)s")
from opentelemetry import baggage, context
from opentelemetry.trace import propagation
for module, name in ((context, "_RUNTIME_CONTEXT"), (context, "_SUPPRESS_INSTRUMENTATION_KEY"),
                     (baggage, "_BAGGAGE_KEY"), (propagation, "_SPAN_KEY")):
    value = getattr(module, name)
    delattr(module, name)
    # Its own functions go on working, as they would after a rename.
    setattr(module, "renamed" + name, value)
    for function in vars(module).values():
        code = getattr(function, "__code__", None)
        if code is not None and name in code.co_names:
            names = tuple("renamed" + each if each == name else each for each in code.co_names)
            function.__code__ = code.replace(co_names=names)
from llmtrace.context import baggage as ours, state as scopes, tags
ours.configure(("user",))
with tags.tag(feature="f", user="u"):
    assert tags.current().feature == "f"
    inner = scopes.with_call(scopes.current(), "call", "span")
    token = scopes.attach(inner)
    assert scopes.current_call() == "call"
    assert not baggage.get_all(inner)
    scopes.restore(token, inner)
assert tags.current().feature is None
"""


def test_keys_are_those_that_public_functions_write() -> None:
    """The keys are read from what OpenTelemetry writes, and so need no private name."""
    assert compat.SPAN_KEY in set_span_in_context(INVALID_SPAN, Context())
    assert compat.BAGGAGE_KEY in baggage.set_baggage("a", "b", Context())
    assert compat.SPAN_KEY == propagation._SPAN_KEY
    assert compat.BAGGAGE_KEY == baggage._BAGGAGE_KEY
    assert compat.SUPPRESS_KEY == context._SUPPRESS_INSTRUMENTATION_KEY
    assert compat.RUNTIME is context._RUNTIME_CONTEXT


def test_blocks_and_calls_work_without_private_names() -> None:
    """After a rename upstream the package is imported and works; each missing name is logged once."""
    done = subprocess.run([sys.executable, "-c", REMOVED], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "llmtrace" in line]
    assert len(lines) == 2
    assert "_SUPPRESS_INSTRUMENTATION_KEY" in lines[0]
    assert "_RUNTIME_CONTEXT" in lines[1]


@pytest.mark.parametrize("missing", ["_RUNTIME_CONTEXT", "_SUPPRESS_INSTRUMENTATION_KEY"])
def test_missing_private_name_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    """The warning names what is missing, with the consequence."""
    value: Any = getattr(context, missing)
    monkeypatch.delattr(context, missing)
    importlib.reload(compat)
    assert f"no context.{missing}" in caplog.text
    monkeypatch.setattr(context, missing, value, raising=False)
    importlib.reload(compat)
