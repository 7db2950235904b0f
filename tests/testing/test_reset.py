"""State that outlives a test, and its reset."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

import llmtrace
from llmtrace import _api, _errors, _process, testing
from llmtrace.budgets import budget as budgets
from llmtrace.budgets import enforcement
from llmtrace.budgets.stores import Claim
from llmtrace.capture import worker
from llmtrace.context import documents, prompts, score
from llmtrace.model import Document

pytest_plugins = ["pytester"]


def test_removed_budget_limits_no_later_call() -> None:
    """A budget can be removed; one that was replaced since stays replaced."""
    testing.reset()
    first = llmtrace.budget("b", usd="1")
    second = llmtrace.budget("b", usd="2")
    other = llmtrace.budget("other", usd="3")
    first.remove()
    assert budgets.registered() == {"b": second, "other": other}
    second.remove()
    second.remove()
    assert budgets.registered() == {"other": other}
    other.remove()
    assert not budgets.registered()


def test_reset_clears_all_state_of_earlier_tests(caplog: pytest.LogCaptureFixture) -> None:
    """Budgets, spending, logged warnings, templates, documents of traces, calls to score, hosts: all are cleared."""
    llmtrace.instrument(store="off", stream_usage="auto", estimate_usage="separate")
    try:
        llmtrace.budget("b", usd="1", action="block")
        enforcement._memory.settle("call", [Claim("k", 1, 1, 60, True)], [5])
        prompts._parts("# user\nhello")
        documents.add_to_trace(7, (Document("d"),), replace=False)
        score._recent["r"] = object()
        _errors.internal_errors["somewhere"] += 1
        current: Any = _api._current
        services = current._runtime.services
        services.stream_usage._rejecting_hosts.add("host")
        late: list[bool] = []
        worker.start()
        worker.submit(lambda: late.append(True))
        with caplog.at_level(logging.WARNING, "llmtrace"):
            for _ in range(2):
                _process.warn_once("this")
                testing.reset()
        assert [record.message for record in caplog.records].count("this") == 2
        assert late == [True]
        left = [
            budgets.registered(),
            enforcement._memory._windows,
            documents._traces,
            score._recent,
            _errors.internal_errors,
        ]
        assert not any([*left, services.stream_usage._rejecting_hosts, _process._warnings])
        assert prompts._parts.cache_info().currsize == 0
        assert _api._current is current
    finally:
        llmtrace.uninstrument()


def test_testing_is_loaded_on_first_use() -> None:
    """``llmtrace.testing`` needs no import of its own, and importing llmtrace does not load it; nor does a reset."""
    program = (
        "import json, sys, llmtrace\n"
        "before = 'llmtrace.testing' in sys.modules\n"
        "llmtrace.testing.reset()\n"
        "heavy = [name for name in sys.modules if name.startswith(('opentelemetry', 'openai', 'genai_prices'))]\n"
        "print(json.dumps([before, llmtrace.testing.__name__, heavy, 'testing' in llmtrace.__all__]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, "llmtrace.testing", [], True]


def test_recorded_tests_share_only_budgets_of_the_program(pytester: pytest.Pytester) -> None:
    """A budget created in one test is gone in the next; one that the program created when it was imported stays."""
    pytester.makepyfile(
        """
        import llmtrace
        from llmtrace.budgets.budget import registered

        llmtrace.budget("of the program", usd="1")

        def test_first(llm_calls):
            llmtrace.budget("of a test", usd="1")

        def test_second(llm_calls):
            assert list(registered()) == ["of the program"]
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


def test_reset_without_loaded_modules_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that were not imported have no state to clear."""
    monkeypatch.setattr("llmtrace.testing.state.sys", SimpleNamespace(modules={}))
    testing.reset()
