"""Phoenix shows all that a trace of ours tells."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from running import Backend, ask, until
from scene import ANSWER, QUESTION, SESSION, SPANS, TEMPLATE, THOUGHT

SPAN_QUERY = """{projects{edges{node{name spans(first:50){edges{node{
  name spanKind statusCode tokenCountPrompt tokenCountCompletion input{value} output{value} metadata numDocuments
  costSummary{total{cost}} costDetailSummaryEntries{tokenType value{tokens}} attributes
}}}}}}}"""
SESSION_QUERY = "{projects{edges{node{name sessions(first:5){edges{node{sessionId}}}}}}}"


@pytest.fixture(scope="module")
def phoenix(running: Callable[[str], Backend]) -> Backend:
    return running("phoenix")


def nodes(backend: Backend, query: str, field: str) -> list[dict[str, Any]]:
    projects = ask(f"{backend.url}/graphql", {"query": query})["data"]["projects"]["edges"]
    return [
        edge["node"]
        for project in projects
        if project["node"]["name"] == "scene"
        for edge in project["node"][field]["edges"]
    ]


@pytest.fixture(scope="module")
def shown(phoenix: Backend) -> dict[str, list[dict[str, Any]]]:
    """The spans as Phoenix has them, by kind, in the order of their prompts' length."""
    phoenix.play()
    spans = until(lambda: found if len(found := nodes(phoenix, SPAN_QUERY, "spans")) == SPANS else None)
    assert spans, "Phoenix does not show all spans"
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for span in sorted(spans, key=lambda span: len(span["attributes"])):
        span["attributes"] = json.loads(span["attributes"])
        span["metadata"] = json.loads(span["metadata"])
        by_kind.setdefault(span["spanKind"], []).append(span)
    return by_kind


def test_kinds(shown: dict[str, list[dict[str, Any]]]) -> None:
    """Each span is of its kind."""
    kinds = {kind: len(spans) for kind, spans in shown.items()}
    assert kinds == {"agent": 1, "embedding": 1, "retriever": 1, "reranker": 1, "llm": 3, "tool": 2}


def test_tokens_and_cost(shown: dict[str, list[dict[str, Any]]]) -> None:
    """Every class of tokens is there, and Phoenix's own cost is ours."""
    classes = []
    for span in shown["llm"]:
        assert (span["tokenCountPrompt"], span["tokenCountCompletion"]) == (1000, 200)
        classes.append({entry["tokenType"]: entry["value"]["tokens"] for entry in span["costDetailSummaryEntries"]})
        assert span["costSummary"]["total"]["cost"] == pytest.approx(span["attributes"]["llm"]["cost"]["total"])
    gpt = {"cache_read": 400, "input": 600, "output": 150, "reasoning": 50}
    claude = {"cache_read": 400, "cache_write": 100, "input": 500, "output": 200}
    assert sorted(classes, key=str) == sorted([gpt, gpt, claude], key=str)


def test_messages(shown: dict[str, list[dict[str, Any]]]) -> None:
    """Question, reasoning, tool call, tool result and answer are there."""
    reported = json.dumps([span["attributes"]["llm"] for span in shown["llm"]])
    for text in (QUESTION, THOUGHT, ANSWER, "get_weather", "call_1", "You are a guide."):
        assert text in reported
    assert {span["output"]["value"] for span in shown["llm"]} >= {ANSWER}
    models = {span["attributes"]["llm"]["model_name"] for span in shown["llm"]}
    assert models == {"gpt-4o-2024-08-06", "claude-sonnet-4-5-20250929"}


def test_what_surrounds(shown: dict[str, list[dict[str, Any]]], phoenix: Backend) -> None:
    """Session, user, tags, metadata, prompt, documents and the tool's work are there."""
    for spans in shown.values():
        for span in spans:
            assert span["attributes"]["session"]["id"] == SESSION
            assert span["attributes"]["user"]["id"] == "user-3"
            assert span["metadata"]["feature"] == "travel"
            assert span["metadata"]["release"] == "r1"
            assert span["attributes"]["tag"]["tags"] == ["demo"]
    assert [node["sessionId"] for node in nodes(phoenix, SESSION_QUERY, "sessions")] == [SESSION]
    prompted = [span for span in shown["llm"] if "prompt_template" in span["attributes"]["llm"]]
    assert len(prompted) == 2
    for span in prompted:
        assert span["attributes"]["llm"]["prompt_template"] == {
            "template": TEMPLATE,
            "variables": {"role": "guide"},
            "version": "3",
        }
        assert span["metadata"]["prompt_name"] == "guide"
    (agent,) = shown["agent"]
    assert agent["output"]["value"] == ANSWER
    (search,) = shown["retriever"]
    assert (search["numDocuments"], search["input"]["value"]) == (2, QUESTION)
    assert all(span["numDocuments"] == 2 for span in shown["llm"])
    failed, tool = shown["tool"]
    assert (failed["name"], failed["statusCode"]) == ("execute_tool get_author", "ERROR")
    assert (json.loads(tool["input"]["value"]), json.loads(tool["output"]["value"])) == (
        {"city": "Paris"},
        {"degrees": 21},
    )
