"""The examples: each runs with no network but loopback."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from warm_python import WarmPython

EXAMPLES = Path(__file__).parents[1] / "examples"
EXPECTED_OUTPUT = {
    "agent_framework_run.py": "invoke_agent stylist \n  chat gpt-4.1-mini 0.0001072 USD\n  execute_tool weather",
    "ask_the_store.py": "search: 20 calls",
    "attribution.py": "2 calls for {'u-17'} 24 input tokens",
    "budget.py": "blocked: budget 'demo' of user 'ada' (total)",
    "compatible_sdks.py": "fireworks_ai accounts/fireworks/models/deepseek-v3p2: 64 tokens out",
    "claude_agent.py": "fix: 60 tokens out, 0.0125 USD",
    "cost.py": "unheard-of: no cost, unknown_model",
    "crewai_crew.py": "    invoke_agent stylist \n      chat gpt-4.1-mini 0.0001072 USD",
    "dspy_program.py": "  invoke_workflow ChainOfThought \n    chat gpt-4.1-mini 0.0001072 USD",
    "first_trace.py": '"llm.cost.total"',
    "gemini_functions.py": "execute_tool weather: - tokens in",
    "google_adk_run.py": "    execute_tool weather",
    "haystack_pipeline.py": "  retrieval \n  chat gpt-4.1-mini 0.0001072 USD",
    "instructor_retries.py": "invoke_workflow Weather \n  chat gpt-4.1-mini 0.0001072 USD\n  chat",
    "litellm_router.py": "blocked: claude",
    "langgraph_agent.py": "      invoke_workflow tools \n        execute_tool weather",
    "llama_index_query.py": "documents of the answer: 1",
    "mcp_server.py": "  tools/call weather \n    chat gpt-4.1-mini 0.0001072 USD",
    "metrics.py": "gen_ai.client.inference.usage.input_tokens search tokens 24",
    "batches.py": "turn completed: 5000 tokens in, about 0.0165 USD",
    "bedrock.py": "chat us.amazon.nova-lite-v1:0: 1012 tokens in, 0.00003108 USD",
    "mistral.py": "chat mistral-small-2603: 12 tokens in, 0.0000402 USD",
    "more_libraries.py": "ollama chat: 9 tokens in, 0 USD",
    "openai_agents_run.py": "  invoke_agent stylist \n    chat gpt-4.1-mini 0.0001072 USD",
    "xai_chat.py": "chat grok-4-0709: 0.000111 USD, stated by the provider",
    "prompt_and_documents.py": "monday ->",
    "realtime.py": "follow-up: 40 audio tokens out, 0.00404 USD",
    "pydantic_ai_run.py": "  execute_tool weather",
    "redaction.py": "[EMAIL]",
    "smolagents_run.py": "invoke_agent stylist \n  chat gpt-4.1-mini 0.0001072 USD",
    "streaming.py": "end dropped, chunks 1",
    "strands_agent.py": "  execute_event_loop_cycle \n    chat 0.0000080 USD\n    execute_tool weather",
    "survive_an_outage.py": "requests at the backend: 1",
    "vector_search.py": "chat gpt-4.1-mini: documents ('1',)",
    "upload.py": "outputs.json: 11 characters",
}
NEEDS = {
    "agent_framework_run.py": "agent_framework",
    "claude_agent.py": "claude_agent_sdk",
    "crewai_crew.py": "crewai",
    "dspy_program.py": "dspy",
    "google_adk_run.py": "google.adk",
    "haystack_pipeline.py": "haystack",
    "instructor_retries.py": "instructor",
    "langgraph_agent.py": "langchain_openai",
    "llama_index_query.py": "llama_index",
    "mcp_server.py": "mcp_types",
    "openai_agents_run.py": "agents",
    "realtime.py": "websockets",
    "pydantic_ai_run.py": "pydantic_ai",
    "smolagents_run.py": "smolagents",
    "strands_agent.py": "strands",
    "vector_search.py": "qdrant_client",
}
"""Framework of an example, which it is skipped without."""

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not installed")


def test_examples_are_all_tested_and_short() -> None:
    """No example is missing from this module, and each fits on one screen."""
    files = {path.name: path for path in EXAMPLES.glob("*.py") if not path.name.startswith("_")}
    assert files.keys() == EXPECTED_OUTPUT.keys()
    assert [name for name, path in files.items() if len(path.read_text().splitlines()) > 60] == []


@pytest.mark.parametrize("name", sorted(EXPECTED_OUTPUT.keys() - NEEDS.keys()))
def test_example_runs_and_prints_its_result(name: str, tmp_path: Path, warm_python: WarmPython) -> None:
    """An example exits with status 0, prints its result, and uses no proxy."""
    if name == "litellm_router.py":
        pytest.importorskip("litellm")
    check_example(name, tmp_path, warm_python)


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_example_of_a_framework_runs_and_prints_its_result(name: str, tmp_path: Path, warm_python: WarmPython) -> None:
    """So does the example of a framework that is installed."""
    if find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    check_example(name, tmp_path, warm_python)


def check_example(name: str, folder: Path, warm_python: WarmPython) -> None:
    unused_proxy = "http://127.0.0.1:9"
    environ = {**os.environ, "HOME": str(folder), "XDG_STATE_HOME": str(folder), "NO_PROXY": "127.0.0.1"}
    environ |= {"HTTP_PROXY": unused_proxy, "HTTPS_PROXY": unused_proxy}
    process = warm_python.run([str(EXAMPLES / name)], folder, environ)
    assert process.returncode == 0, process.stderr
    assert EXPECTED_OUTPUT[name] in process.stdout
