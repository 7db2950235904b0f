"""``advise`` finds, within one percent, the savings that a workload contains."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llmtrace.model import RequestContent
from llmtrace.model.fingerprint import fingerprint
from llmtrace.report.advise import Advice, advise
from llmtrace.report.calls import read
from llmtrace.report.select import selection
from llmtrace.store.columns import PICO
from llmtrace.store.request_fingerprints import SentBody
from llmtrace.store.schema import connect
from llmtrace.store.span_codec import StoredSpan
from llmtrace.store.write import Writer
from traffic import START

SECOND = 10**9
PRICES = {"gpt-4.1": (2.0, 0.5, 8.0), "gpt-4.1-mini": (0.4, 0.1, 1.6), "claude-sonnet-4-6": (3.0, 0.3, 15.0)}
WRITE = {"claude-sonnet-4-6": 3.75}


class PriceTable:
    """Prices per million tokens: input, cached input, output."""

    def price(self, provider: str | None, model: str, counts: Mapping[str, int], at: float) -> int | None:
        if model not in PRICES:
            return None
        input_tokens, cached, output = PRICES[model]
        read, write = counts.get("cache_read", 0), counts.get("cache_write", 0)
        fresh = counts.get("input", 0) - read - write
        cost = (
            fresh * input_tokens
            + read * cached
            + write * WRITE.get(model, input_tokens)
            + counts.get("output", 0) * output
        )
        return round(cost * PICO / 10**6)

    def window(self, provider: str | None, model: str) -> int | None:
        return 10_000 if model in PRICES else None


class Workload:
    """Calls with costs at those prices and hashes of their messages, without content."""

    def __init__(self) -> None:
        self.spans: list[StoredSpan] = []
        self.sent: dict[str, SentBody] = {}
        self.rng = random.Random(3)

    def call(self, at: float, model: str, messages: Any, input_tokens: int, output: int, **more: Any) -> float:
        cost = PriceTable().price(
            None, model, {"input": input_tokens, "output": output, "cache_read": more.get("cache_read", 0)}, 0
        )
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": model,
            "gen_ai.response.model": model, "gen_ai.response.finish_reasons": ["stop"], "llmtrace.outcome": "ok",
            "llmtrace.feature": "search", "gen_ai.usage.input_tokens": input_tokens,
            "gen_ai.usage.output_tokens": output,
            "llmtrace.usage.source": "provider",
            **{name: value for name, value in more.items() if "." in name},
        }  # fmt: skip
        if more.get("cache_read"):
            attributes["gen_ai.usage.cache_read.input_tokens"] = more["cache_read"]
        if cost is not None:
            attributes |= {"llm.cost.total": cost / PICO, "llmtrace.cost.exact": f"{cost / PICO:.12f}"}
        began = START + int(at * SECOND)
        ids = f"{self.rng.getrandbits(128):032x}", f"{self.rng.getrandbits(64):016x}"
        body = {"model": model, "messages": messages}
        self.sent[ids[1]] = SentBody(body, lambda body: RequestContent(messages=body["messages"]))
        self.spans.append(StoredSpan(*ids, None, f"chat {model}", began, began + SECOND, attributes=attributes))
        return (cost or 0) / PICO

    def advice(self, path: Path, prices: Any = None) -> dict[str, Advice]:
        with closing(connect(path / "s.db", write=True)) as connection:
            self.rng.shuffle(self.spans)  # calls end in another order than they began
            Writer(connection).write(self.spans, self.sent)
            return {
                each.kind: each
                for each in advise(read(connection, selection(), similarity=True), prices or PriceTable())
            }


def user_messages(text: str, system: str = "Be brief.") -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def test_identical_requests_are_advised_to_be_cached(tmp_path: Path) -> None:
    """All but the first of identical and nearly identical requests could be saved."""
    work, identical, near = Workload(), 0.0, 0.0
    for question in range(50):
        text = f"What is {'abcdefghij'[question % 10]}{'klmno'[question // 10]}?"
        for repeat in range(question % 4 + 1):
            cost = work.call(1000 * question + repeat, "gpt-4.1", user_messages(text), 2000 + question, 300)
            identical += cost if repeat else 0
    for day in range(30):
        cost = work.call(
            90_000 + day, "gpt-4.1", user_messages(f"Report for 2026-01-{day:02}, please"), 3000 + 10 * day, 200
        )
        near += cost if day else 0
    result = work.advice(tmp_path)
    assert (result["repeats"].saving or 0) / PICO == pytest.approx(identical, rel=0.01)
    assert result["repeats"].calls == sum(question % 4 for question in range(50))
    assert (result["near repeats"].saving or 0) / PICO == pytest.approx(near, rel=0.01)
    assert result["near repeats"].calls == 29
    assert len(result["repeats"].examples[0]) == 32


def test_repeated_uncached_prefix_is_advised_to_be_cached(tmp_path: Path) -> None:
    """A long prefix that repeats within five minutes would have cost the cached price."""
    work, saving = Workload(), 0.0
    system = "".join(f"Rule {number}: never do thing {number}.\n" for number in range(300))
    size = len(system)
    at = 0.0
    for number in range(100):
        pause = 100 if number % 10 else 4000  # the cache forgets in between
        at += pause
        text = "x" * 600
        input_tokens = (size + len(text)) // 4
        work.call(at, "claude-sonnet-4-6", user_messages(text, system), input_tokens, 50)
        prefix = input_tokens * size / (size + len(text))
        saving += prefix * (3.0 - 0.3) / 1e6 if number % 10 else -prefix * (3.75 - 3.0) / 1e6
        # The same, cached as it should be, has nothing to save.
        work.call(at, "gpt-4.1", user_messages(text, system), input_tokens, 50, cache_read=int(prefix))
    result = work.advice(tmp_path)["uncached prefix"]
    assert result.calls == 90
    assert (result.saving or 0) / PICO == pytest.approx(saving, rel=0.01)


def test_short_calls_of_large_models_get_a_smaller_sibling(tmp_path: Path) -> None:
    """Short, simple calls of a large model are priced with the small model of its family."""
    work, saving = Workload(), 0.0
    for number in range(80):
        input_tokens, output = 200 + number, 10 + number % 50
        cost = work.call(number, "gpt-4.1", user_messages("a" * number), input_tokens, output)
        saving += cost - (input_tokens * 0.4 + output * 1.6) / 1e6
        work.call(number, "gpt-4.1", user_messages("b" * number), 5000, output)
        work.call(number, "gpt-4.1-mini", user_messages("c" * number), input_tokens, output)
    result = work.advice(tmp_path)["large model"]
    assert (result.calls, result.of) == (80, 240)
    assert (result.saving or 0) / PICO == pytest.approx(saving, rel=0.01)
    assert "gpt-4.1-mini" in result.do


def test_whitespace_and_repeated_lines_are_counted_as_waste(tmp_path: Path) -> None:
    """Whitespace and repeated lines cost their share of the input."""
    work, saving = Workload(), 0.0
    for number in range(40):
        lines = [f"The rule of line {chr(97 + each)} is that it must not be broken." for each in range(20)]
        text = "\n".join([*lines, *lines, ""]) + " " * 400 + str(number)
        prompt = user_messages(text)
        size = len(text) + len(prompt[0]["content"])
        wasted = sum(len(line) + 1 for line in lines) + 399
        input_tokens = size // 4
        work.call(number, "gpt-4.1", prompt, input_tokens, 900)
        saving += input_tokens * wasted / size * 2.0 / 1e6
    result = work.advice(tmp_path)["waste"]
    assert result.calls == 40
    assert (result.saving or 0) / PICO == pytest.approx(saving, rel=0.01)


def test_advice_without_savings_has_no_amount(tmp_path: Path) -> None:
    """Full context windows, moved aliases and streams without usage are listed with their calls."""
    work = Workload()
    stream = {"gen_ai.request.stream": True, "llmtrace.stream.end": "exhausted", "llmtrace.usage.source": "missing"}
    for number in range(6):
        work.call(number, "gpt-4.1", user_messages("full" * number), 9000, 500)
        work.call(number, "house", user_messages("s" * number), 2000, 500, **stream)
        answer = {"gen_ai.response.model": f"gpt-4o-2024-0{1 + number // 3}-06", "llmtrace.model.pinned": False}
        work.call(number, "gpt-4o", user_messages("x" * number), 2000, 500, **answer)
    result = work.advice(tmp_path)
    assert {kind: result[kind].calls for kind in ("context window", "silent stream", "floating alias")} == {
        "context window": 6, "silent stream": 6, "floating alias": 6,
    }  # fmt: skip
    assert "gpt-4o has moved" in result["floating alias"].title
    assert result["context window"].saving is None


def test_advice_without_prices_has_no_saving(tmp_path: Path) -> None:
    """Calls without prices are counted, and no saving is invented."""
    work = Workload()
    for _ in range(3):
        work.call(0, "house", user_messages("the same"), 500, 10)
    result = work.advice(tmp_path)["repeats"]
    assert (result.calls, result.saving) == (2, None)


def test_recorded_content_replaces_request_hashes(tmp_path: Path) -> None:
    """Spans with content need no request body for their hashes."""
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "hello"}]}])
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.input.messages": messages,
        "llmtrace.outcome": "ok",
    }
    spans = [StoredSpan(f"{n:032x}", f"{n:016x}", None, "chat", START, START, attributes=attributes) for n in (1, 2)]
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        Writer(connection).write(spans)
        (result,) = advise(read(connection, selection(), similarity=True), None)
    assert (result.kind, result.calls) == ("repeats", 1)


@pytest.mark.parametrize(
    ("one", "two", "exact", "near", "prefix"),
    [
        (user_messages("a"), user_messages("a"), True, True, True),
        (user_messages("a 1"), user_messages("A  2!"), False, True, True),
        (user_messages("a"), user_messages("b"), False, False, True),
        (user_messages("a"), user_messages("a", "Be long."), False, False, False),
        ("text", "text", True, True, True),
    ],
)
def test_fingerprints_of_similar_requests_match(one: Any, two: Any, exact: bool, near: bool, prefix: bool) -> None:
    """Equal requests have equal hashes; the near hash ignores digits, case and whitespace."""
    a, b = fingerprint(one), fingerprint(two)
    assert [a.exact == b.exact, a.near == b.near, a.prefix == b.prefix] == [exact, near, prefix]


@pytest.mark.parametrize(
    "messages", [None, 5, [], [None], {"a": object()}, [[["deep"]]], "\ud800", [{"role": "system"}]]
)
def test_fingerprint_of_any_request_does_not_fail(messages: Sequence[Any]) -> None:
    """Unusual bodies have a fingerprint too."""
    result = fingerprint(messages, tools=[{"name": "f"}])
    assert len(result.exact) == len(result.near) == 16
