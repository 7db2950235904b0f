"""Hashes of requests, which the local store keeps while content is off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import llmtrace
from llmtrace.providers.openai.chat import CHAT
from llmtrace.providers.openai.chat_content import CHAT_CONTENT
from llmtrace.providers.openai.responses_content import RESPONSES_CONTENT
from llmtrace.report.advise import advise
from llmtrace.report.calls import read
from llmtrace.report.select import selection
from llmtrace.store.read import spans_after
from llmtrace.store.request_bodies import RequestBodies
from llmtrace.store.request_fingerprints import SentBody, read_fingerprint
from llmtrace.store.schema import connect

RULES = "".join(f"Rule {number}: never do thing {number}.\n" for number in range(400))


def _chat(client: Any, text: str) -> None:
    messages = [{"role": "system", "content": RULES}, {"role": "user", "content": text}]
    client.chat.completions.create(model="gpt-4o-mini", messages=messages)
    messages.clear()  # the caller's to change, as soon as the call is over


def _responses(client: Any, text: str) -> None:
    client.responses.create(model="gpt-4o-mini", instructions=RULES, input=text)


def _messages(client: Any, text: str) -> None:
    messages: Any = [{"role": "user", "content": text}]
    client.messages.create(model="claude-sonnet-4-6", max_tokens=50, system=RULES, messages=messages)


def _gemini(client: Any, text: str) -> None:
    from google.genai import types

    rules = types.GenerateContentConfig(system_instruction=RULES)
    client.models.generate_content(model="gemini-2.5-flash", contents=text, config=rules)


def _converse(client: Any, text: str) -> None:
    messages = [{"role": "user", "content": [{"text": text}]}]
    client.converse(modelId="amazon.nova-lite-v1:0", system=[{"text": RULES}], messages=messages)


def _invoke(client: Any, text: str) -> None:
    body = {"anthropic_version": "v", "system": RULES, "messages": [{"role": "user", "content": text}]}
    client.invoke_model(modelId="anthropic.claude-3-haiku-20240307-v1:0", body=json.dumps(body))["body"].read()


def _bedrock(url: str) -> Any:
    import boto3

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    return closing(boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, **keys))


def _openai(url: str) -> Any:
    import openai

    return openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0, timeout=10)


def _anthropic(url: str) -> Any:
    import anthropic

    return anthropic.Anthropic(base_url=url, api_key="x", max_retries=0, timeout=10)


@contextmanager
def _google(url: str) -> Iterator[Any]:
    from google import genai
    from google.genai import types

    client = genai.Client(api_key="x", http_options=types.HttpOptions(base_url=url))
    yield client
    if hasattr(client, "close"):
        client.close()


FORMATS = [
    (_openai, _chat),
    (_openai, _responses),
    (_anthropic, _messages),
    (_google, _gemini),
    (_bedrock, _converse),
    (_bedrock, _invoke),
]


@pytest.mark.parametrize(
    ("connected", "ask"), FORMATS, ids=["chat", "responses", "messages", "gemini", "converse", "invoke"]
)
def test_repeated_requests_with_content_off_are_counted(replay: Any, tmp_path: Path, connected: Any, ask: Any) -> None:
    """Later identical and nearly identical requests are counted; spans carry neither content nor hashes."""
    import openai

    if ask is _responses and not hasattr(openai.OpenAI, "responses"):
        pytest.skip("this release has no responses")
    path = tmp_path / "s.db"
    with llmtrace.instrument(store=str(path), strict=True), connected(replay.url) as client:
        for text in ("What is a pass key?", "What is a pass key?", "Day 1, please", "Day 2, please"):
            ask(client, text)
        assert llmtrace.flush(30)
    llmtrace.shutdown()
    with closing(connect(path)) as store:
        calls = read(store, selection(), similarity=True)
        advice_by_kind = {each.kind: each for each in advise(calls, None)}
        attributes = json.dumps([dict(span.attributes) for _, span in spans_after(store, 0)])
        columns = store.execute("SELECT exact_hash, near_hash, prefix_hash FROM calls").fetchall()
    assert (advice_by_kind["repeats"].calls, advice_by_kind["near repeats"].calls) == (1, 1)
    assert [len(set(column)) for column in zip(*columns, strict=True)] == [3, 2, 1]
    assert "Rule" not in attributes
    assert "llmtrace.request.hash" not in attributes


def test_fingerprints_off_stores_no_hashes(replay: Any, tmp_path: Path) -> None:
    """Request bodies are not read while the setting is off."""
    path = tmp_path / "s.db"
    with llmtrace.instrument(store=str(path), fingerprints="off"), _openai(replay.url) as client:
        _chat(client, "hello")
        assert llmtrace.flush(30)
    llmtrace.shutdown()
    with closing(connect(path)) as store:
        assert store.execute("SELECT exact_hash, near_hash FROM calls").fetchall() == [(None, None)]


def test_hashes_of_two_stores_differ(replay: Any, tmp_path: Path) -> None:
    """Hashes are keyed by store, so that they cannot be looked up elsewhere."""
    hashes = []
    for name in ("a", "b"):
        with llmtrace.instrument(store=str(tmp_path / name)), _openai(replay.url) as client:
            _chat(client, "hello")
            assert llmtrace.flush(30)
        llmtrace.shutdown()
        with closing(connect(tmp_path / name)) as store:
            hashes += store.execute("SELECT exact_hash FROM calls").fetchall()
    assert len(set(hashes)) == 2


class _Call:
    has_own_span = True
    wire_format = CHAT

    def __init__(self, number: int) -> None:
        self.span_context = self
        self.span_id = number


def _remember(bodies: RequestBodies, number: int, body: Any) -> None:
    call: Any = _Call(number)
    bodies.remember(call, body)


def test_request_bodies_above_the_limits_are_not_kept() -> None:
    """Bodies beyond the maximum number displace the oldest; large bodies and other types are not kept."""
    sent = RequestBodies(lambda: True)
    for number in range(5000):
        _remember(sent, number, b"{}")
    assert sent.take(["0" * 16]) == {}
    assert sent.take([f"{4999:016x}"]) == {f"{4999:016x}": SentBody(b"{}", CHAT_CONTENT.request)}
    for body in (b"x" * (2 << 20), None, "text"):
        _remember(sent, 1, body)
    assert sent.take([f"{1:016x}"]) == {}
    large = b"x" * (1 << 20)
    for number in range(200):
        _remember(sent, number, large)
    assert sum(len(each.body) for each in sent.take([f"{number:016x}" for number in range(200)]).values()) <= 64 << 20


@pytest.mark.parametrize("body", [b"", b"\xff", b"[1]", b"{}", b'{"input": null}', b"[" * 100_000, {"messages": []}])
def test_body_without_messages_has_no_fingerprint(body: Any) -> None:
    """Forms, invalid bodies and empty requests are skipped."""
    assert read_fingerprint(SentBody(body, RESPONSES_CONTENT.request), "m") is None


def test_fingerprint_ignores_parameters_without_effect_on_the_response() -> None:
    """Streaming, user and labels do not change the hash."""
    request = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}
    same = {**request, "stream": True, "stream_options": {"include_usage": True}, "user": "ada", "metadata": {"a": "b"}}
    plain = read_fingerprint(SentBody(json.dumps(request).encode(), CHAT_CONTENT.request), None)
    assert plain is not None
    assert read_fingerprint(SentBody(json.dumps(same).encode(), CHAT_CONTENT.request), None) == plain
    warmer = read_fingerprint(SentBody({**request, "temperature": 1}, CHAT_CONTENT.request), None)
    assert warmer is not None
    assert warmer.exact != plain.exact
