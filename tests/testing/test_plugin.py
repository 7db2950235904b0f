"""The pytest plugin, on tests of a program that calls models."""

from __future__ import annotations

from typing import Any

import openai  # before a test run in this process, which forgets the modules that it imports
import pytest

pytest_plugins = ["pytester"]

TESTS = """
import openai
import pytest

def ask(stream=False):
    with openai.OpenAI(base_url=URL + "/v1", api_key="x", max_retries=0, timeout=10) as client:
        answer = client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], stream=stream)
        return list(answer) if stream else answer

def test_calls(llm_calls, llm_spans):
    assert len(llm_calls) == 0
    ask()
    ask(stream=True)
    assert [call.streamed for call in llm_calls] == [False, True]
    assert llm_calls[0].usage.output > 0
    assert [span.name for span in llm_spans()] == ["chat gpt-4o-mini"] * 2

def test_apart(llm_calls):
    ask()
    assert len(llm_calls) == 1

@pytest.mark.max_tokens(1_000_000)
@pytest.mark.max_first_token(30)
@pytest.mark.max_cost(1000, allow_unpriced=True)
def test_within():
    ask(stream=True)

@pytest.mark.max_tokens(output=1)
def test_too_many_tokens():
    ask()

@pytest.mark.max_first_token(0)
def test_too_slow():
    ask(stream=True)

@pytest.mark.max_cost("0.0000000001")
def test_too_dear():
    ask()

@pytest.mark.max_cost(0)
def test_fails_by_itself():
    ask()
    assert False, "its own failure"

async def test_async(llm_calls):
    async with openai.AsyncOpenAI(base_url=URL + "/v1", api_key="x", max_retries=0, timeout=10) as client:
        await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
    assert len(llm_calls) == 1

def test_without():
    import llmtrace._api
    assert llmtrace._api._current is None
"""


def test_plugin_provides_fixtures_limits_and_summary(replay: Any, pytester: pytest.Pytester) -> None:
    """Calls and spans are those of the test; limits fail it, with figures; the run ends with a summary of the cost."""
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(f"URL = {replay.url!r}\n{TESTS}")
    done = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers")
    done.assert_outcomes(passed=5, failed=4)
    done.stdout.fnmatch_lines_random(
        [
            "*max_tokens: 1 calls used * output tokens, over 1",
            "*max_first_token: 1 of 1 calls waited up to *",
            "*max_cost: 1 calls *",
            "*its own failure*",
            "*LLM calls*",
            "*calls*test_plugin_provides_fixtures_limits_and_summary.py::test_calls*",
            "*9 calls*total*",
        ]
    )


def test_plugin_loads_nothing_until_used(pytester: pytest.Pytester) -> None:
    """In a test run without the fixtures and markers, OpenTelemetry is not imported and nothing is printed."""
    pytester.makepyfile("import sys\ndef test_it():\n    assert 'opentelemetry' not in sys.modules\n")
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:langsmith_plugin")
    done.assert_outcomes(passed=1)
    done.stdout.no_fnmatch_line("*LLM calls*")


@pytest.mark.faulty
def test_strict_restores_the_earlier_mode() -> None:
    """Internal errors are raised inside the block, and after it only if they were before."""
    from llmtrace import _errors
    from llmtrace.testing import strict

    def fail() -> None:
        try:
            raise RuntimeError("ours")
        except Exception:
            _errors.log_internal_error("do something")

    with strict():
        for _ in range(2):
            with pytest.raises(RuntimeError, match="ours"), strict():
                fail()
    fail()


def test_unknown_name_raises_attribute_error() -> None:
    """A misspelt name is an AttributeError, as with any module."""
    from llmtrace import testing

    assert testing.Recording.__name__ == "Recording"
    with pytest.raises(AttributeError, match="has no attribute 'recordings'"):
        _ = testing.recordings  # type: ignore[attr-defined]


def test_instrumented_program_stays_instrumented(replay: Any, spans: Any, pytester: pytest.Pytester) -> None:
    """A recording in an instrumented program and the program's own exporter both get the spans."""
    from llmtrace import _api
    from llmtrace.testing import recording

    made = _api._current
    assert made is not None
    observers = list(made._runtime.services.observers)
    with recording() as found, openai.OpenAI(base_url=f"{replay.url}/v1", api_key="x", max_retries=0) as client:
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
    assert (len(found.calls), len(found.spans), len(spans.get_finished_spans())) == (1, 1, 1)
    assert _api._current is made
    assert made._runtime.services.observers == observers
