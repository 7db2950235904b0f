"""Tests of the guide. They need a server that answers chat completions: set OPENAI_BASE_URL and OPENAI_API_KEY."""

from __future__ import annotations

from app import app
from fastapi.testclient import TestClient

import llmtrace


def test_answer_records_user_prompt_and_documents(llm_calls, llm_spans):
    with TestClient(app) as browser:
        answer = browser.get("/answer", params={"question": "How do I rotate a key?", "user": "ada", "session": "s-1"})
        assert answer.json()["sources"][0] == "keys"
        assert browser.post("/rating", params={"response": answer.json()["response"], "helpful": True}).is_success
    (call,) = llm_calls
    assert (call.feature, call.user, call.session) == ("guide", "ada", "s-1")
    assert call.prompt.name == "guide" and call.prompt.version in ("1", "2")
    assert call.document_ids[0] == "keys"
    assert {"invoke_workflow guide", "retrieval"} <= {span.name for span in llm_spans()}


def test_answer_is_refused_beyond_the_budget_of_the_user(llm_calls):
    llmtrace.budget("guide-per-user", usd="0.000001", per="day", by="user", action="block")
    with TestClient(app) as browser:
        assert browser.get("/answer", params={"question": "How?", "user": "bob"}).status_code == 429
    assert [call.outcome for call in llm_calls] == ["blocked"]
