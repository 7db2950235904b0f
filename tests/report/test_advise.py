"""``advise`` finds, to within a hundredth, the savings that were put into a workload."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llmtrace.model.fingerprint import fingerprint
from llmtrace.report.advise import Advice, advise
from llmtrace.report.calls import read
from llmtrace.report.select import selection
from llmtrace.store.columns import PICO, attributes_of
from llmtrace.store.schema import connect
from llmtrace.store.span_codec import StoredSpan
from llmtrace.store.write import Writer
from traffic import START

SECOND = 10**9
PRICES = {"gpt-4.1": (2.0, 0.5, 8.0), "gpt-4.1-mini": (0.4, 0.1, 1.6), "claude-sonnet-4-6": (3.0, 0.3, 15.0)}
WRITE = {"claude-sonnet-4-6": 3.75}


class Quotes:
    """Prices per million tokens: input, cached input, output."""

    def price(self, provider: str | None, model: str, counts: Mapping[str, int], at: float) -> int | None:
        if model not in PRICES:
            return None
        given, cached, output = PRICES[model]
        read, write = counts.get("cache_read", 0), counts.get("cache_write", 0)
        fresh = counts.get("input", 0) - read - write
        cost = fresh * given + read * cached + write * WRITE.get(model, given) + counts.get("output", 0) * output
        return round(cost * PICO / 10**6)

    def window(self, provider: str | None, model: str) -> int | None:
        return 10_000 if model in PRICES else None


class Workload:
    """Calls with costs at those prices, and likeness from their messages, whose content is not kept."""

    def __init__(self) -> None:
        self.spans: list[StoredSpan] = []
        self.rng = random.Random(3)

    def call(self, at: float, model: str, messages: Any, given: int, output: int, **more: Any) -> float:
        cost = Quotes().price(
            None, model, {"input": given, "output": output, "cache_read": more.get("cache_read", 0)}, 0
        )
        told: dict[str, Any] = {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": model,
            "gen_ai.response.model": model, "gen_ai.response.finish_reasons": ["stop"], "llmtrace.outcome": "ok",
            "llmtrace.feature": "search", "gen_ai.usage.input_tokens": given, "gen_ai.usage.output_tokens": output,
            "llmtrace.usage.source": "provider", **attributes_of(fingerprint(messages, model=model)),
            **{name: value for name, value in more.items() if "." in name},
        }  # fmt: skip
        if more.get("cache_read"):
            told["gen_ai.usage.cache_read.input_tokens"] = more["cache_read"]
        if cost is not None:
            told |= {"llm.cost.total": cost / PICO, "llmtrace.cost.exact": f"{cost / PICO:.12f}"}
        began = START + int(at * SECOND)
        ids = f"{self.rng.getrandbits(128):032x}", f"{self.rng.getrandbits(64):016x}"
        self.spans.append(StoredSpan(*ids, None, f"chat {model}", began, began + SECOND, attributes=told))
        return (cost or 0) / PICO

    def advice(self, path: Path, quotes: Any = None) -> dict[str, Advice]:
        with closing(connect(path / "s.db", write=True)) as connection:
            self.rng.shuffle(self.spans)  # calls end in another order than they began
            Writer(connection).write(self.spans)
            return {
                each.kind: each for each in advise(read(connection, selection(), likeness=True), quotes or Quotes())
            }


def said(text: str, system: str = "Be brief.") -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def test_repeats(tmp_path: Path) -> None:
    """All but the first of identical requests, and of those that differ in digits or case only, could be saved."""
    work, identical, near = Workload(), 0.0, 0.0
    for question in range(50):
        text = f"What is {'abcdefghij'[question % 10]}{'klmno'[question // 10]}?"
        for repeat in range(question % 4 + 1):
            cost = work.call(1000 * question + repeat, "gpt-4.1", said(text), 2000 + question, 300)
            identical += cost if repeat else 0
    for day in range(30):
        cost = work.call(90_000 + day, "gpt-4.1", said(f"Report for 2026-01-{day:02}, please"), 3000 + 10 * day, 200)
        near += cost if day else 0
    found = work.advice(tmp_path)
    assert (found["repeats"].saving or 0) / PICO == pytest.approx(identical, rel=0.01)
    assert found["repeats"].calls == sum(question % 4 for question in range(50))
    assert (found["near repeats"].saving or 0) / PICO == pytest.approx(near, rel=0.01)
    assert found["near repeats"].calls == 29
    assert len(found["repeats"].examples[0]) == 32


def test_an_uncached_prefix(tmp_path: Path) -> None:
    """A long beginning that came again within five minutes, uncached, would have cost the cached price."""
    work, saving = Workload(), 0.0
    system = "".join(f"Rule {number}: never do thing {number}.\n" for number in range(300))
    size = len(system)
    at = 0.0
    for number in range(100):
        pause = 100 if number % 10 else 4000  # the cache forgets in between
        at += pause
        text = "x" * 600
        given = (size + len(text)) // 4
        work.call(at, "claude-sonnet-4-6", said(text, system), given, 50)
        prefix = given * size / (size + len(text))
        saving += prefix * (3.0 - 0.3) / 1e6 if number % 10 else -prefix * (3.75 - 3.0) / 1e6
        # The same, cached as it should be, has nothing to save.
        work.call(at, "gpt-4.1", said(text, system), given, 50, cache_read=int(prefix))
    found = work.advice(tmp_path)["uncached prefix"]
    assert found.calls == 90
    assert (found.saving or 0) / PICO == pytest.approx(saving, rel=0.01)


def test_a_small_model_would_do(tmp_path: Path) -> None:
    """Short, simple calls on a large model would have cost what the small one of the family costs."""
    work, saving = Workload(), 0.0
    for number in range(80):
        given, output = 200 + number, 10 + number % 50
        cost = work.call(number, "gpt-4.1", said("a" * number), given, output)
        saving += cost - (given * 0.4 + output * 1.6) / 1e6
        work.call(number, "gpt-4.1", said("b" * number), 5000, output)
        work.call(number, "gpt-4.1-mini", said("c" * number), given, output)
    found = work.advice(tmp_path)["large model"]
    assert (found.calls, found.of) == (80, 240)
    assert (found.saving or 0) / PICO == pytest.approx(saving, rel=0.01)
    assert "gpt-4.1-mini" in found.do


def test_blanks_and_repetition(tmp_path: Path) -> None:
    """Runs of blanks and lines said twice cost their share of the input."""
    work, saving = Workload(), 0.0
    for number in range(40):
        lines = [f"The rule of line {chr(97 + each)} is that it must not be broken." for each in range(20)]
        text = "\n".join([*lines, *lines, ""]) + " " * 400 + str(number)
        prompt = said(text)
        size = len(text) + len(prompt[0]["content"])
        wasted = sum(len(line) + 1 for line in lines) + 399
        given = size // 4
        work.call(number, "gpt-4.1", prompt, given, 900)
        saving += given * wasted / size * 2.0 / 1e6
    found = work.advice(tmp_path)["waste"]
    assert found.calls == 40
    assert (found.saving or 0) / PICO == pytest.approx(saving, rel=0.01)


def test_what_is_not_about_money(tmp_path: Path) -> None:
    """Full context windows, aliases that moved and streams without usage are named with their calls."""
    work = Workload()
    stream = {"gen_ai.request.stream": True, "llmtrace.stream.end": "exhausted", "llmtrace.usage.source": "missing"}
    for number in range(6):
        work.call(number, "gpt-4.1", said("full" * number), 9000, 500)
        work.call(number, "house", said("s" * number), 2000, 500, **stream)
        answer = {"gen_ai.response.model": f"gpt-4o-2024-0{1 + number // 3}-06", "llmtrace.model.pinned": False}
        work.call(number, "gpt-4o", said("x" * number), 2000, 500, **answer)
    found = work.advice(tmp_path)
    assert {kind: found[kind].calls for kind in ("context window", "silent stream", "floating alias")} == {
        "context window": 6, "silent stream": 6, "floating alias": 6,
    }  # fmt: skip
    assert "gpt-4o has moved" in found["floating alias"].title
    assert found["context window"].saving is None


def test_no_price_gives_no_figure(tmp_path: Path) -> None:
    """Where nobody knows the price, calls are counted and no money is made up."""
    work = Workload()
    for _ in range(3):
        work.call(0, "house", said("the same"), 500, 10)
    found = work.advice(tmp_path)["repeats"]
    assert (found.calls, found.saving) == (2, None)


def test_content_that_is_kept_needs_no_hashes(tmp_path: Path) -> None:
    """With content on the span, likeness is read from it."""
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "hello"}]}])
    told = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.input.messages": messages,
        "llmtrace.outcome": "ok",
    }
    spans = [StoredSpan(f"{n:032x}", f"{n:016x}", None, "chat", START, START, attributes=told) for n in (1, 2)]
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        Writer(connection).write(spans)
        (found,) = advise(read(connection, selection(), likeness=True), None)
    assert (found.kind, found.calls) == ("repeats", 1)


@pytest.mark.parametrize(
    ("one", "two", "exact", "near", "prefix"),
    [
        (said("a"), said("a"), True, True, True),
        (said("a 1"), said("A  2!"), False, True, True),
        (said("a"), said("b"), False, False, True),
        (said("a"), said("a", "Be long."), False, False, False),
        ("text", "text", True, True, True),
    ],
)
def test_what_is_alike(one: Any, two: Any, exact: bool, near: bool, prefix: bool) -> None:
    """Equal requests have equal hashes; digits, case and blanks do not count for the near one."""
    a, b = fingerprint(one), fingerprint(two)
    assert [a.exact == b.exact, a.near == b.near, a.prefix == b.prefix] == [exact, near, prefix]


@pytest.mark.parametrize(
    "messages", [None, 5, [], [None], {"a": object()}, [[["deep"]]], "\ud800", [{"role": "system"}]]
)
def test_any_request_has_a_fingerprint(messages: Sequence[Any]) -> None:
    """Odd bodies have one too."""
    found = fingerprint(messages, tools=[{"name": "f"}])
    assert len(found.exact) == len(found.near) == 16
