"""Whatever is said, asked or given back by a redactor: the call is unaffected, and what is written is whole JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.providers.openai.chat import CHAT
from llmtrace.telemetry.content_policy import ContentPolicy

pytestmark = pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")


class Hostile:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def nested(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def endless() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["self"] = found
    return found


def strict(text: Any) -> Any:
    """As JSON, without the numbers that Python adds to it."""

    def refused(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(str(text), parse_constant=refused)


@pytest.fixture
def traced() -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs something with content on and gives the last span's attributes."""

    def trace(run: Callable[[], object], **settings: Any) -> dict[str, Any]:
        exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        with llmtrace.instrument(tracer_provider=provider, strict=True, capture_content=True, **settings):
            run()
            llmtrace.flush()
        for span in exporter.get_finished_spans():
            for value in (span.attributes or {}).values():
                assert not isinstance(value, str) or value.encode()
        return dict(exporter.get_finished_spans()[-1].attributes or {})

    yield trace


def ask(replay: Any, content: Any = "hello") -> None:
    with openai.OpenAI(base_url=replay.url, api_key="k", max_retries=0) as client:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": content}])


VALUES = {
    "not a number": [math.nan, math.inf, -math.inf],
    "huge number": 10**20_000,
    "long number": -(10**4500),
    "deep": nested(10_000),
    "endless": endless(),
    "hostile": {"a": Hostile(), Hostile(): 1},
    "surrogate": {"\ud800": "\ud800"},
    "nul": "\0",
    "bytes": b"\xff",
    "many": list(range(100_000)),
}


@pytest.mark.parametrize("name", VALUES)
def test_tools_take_any_value(name: str, traced: Callable[..., dict[str, Any]]) -> None:
    """Arguments, results and variables of any kind are written as whole JSON."""

    def run() -> None:
        with llmtrace.tool("t", arguments={"value": VALUES[name]}) as tool:
            tool.set_result(VALUES[name])

    attributes = traced(run)
    assert isinstance(strict(attributes["gen_ai.tool.call.arguments"]), dict)
    assert isinstance(strict(attributes["gen_ai.tool.call.result"]), dict)


@pytest.mark.parametrize("name", VALUES)
def test_prompts_take_any_value(name: str, traced: Callable[..., dict[str, Any]], replay: Any) -> None:
    """Variables of prompts of any kind are written as whole JSON, and cost the span nothing else."""

    def run() -> None:
        with llmtrace.prompt("p", template="t", variables={"value": VALUES[name]}):
            ask(replay)

    attributes = traced(run)
    strict(attributes["llm.prompt_template.variables"])
    assert attributes["gen_ai.prompt.name"] == "p"


def test_documents_with_scores_that_are_no_numbers(traced: Callable[..., dict[str, Any]]) -> None:
    """A score that JSON cannot hold is left out of the list; the document stays."""

    def run() -> None:
        with llmtrace.retrieval("docs", query="q\ud800") as search:
            search.add([llmtrace.Document("d", math.nan, "c\ud800", {"x": math.inf})])

    (document,) = strict(traced(run)["gen_ai.retrieval.documents"])
    assert document == {"id": "d", "content": "c?", "metadata": {"x": "inf"}}


@pytest.mark.parametrize(
    "arguments",
    ['{"x": NaN, "y": -Infinity}', '{"x": 1e999}', "[" * 900 + "]" * 900, "[" * 100_000, '{"x": ' + "9" * 5000 + "}"],
    ids=["nan", "overflow", "deep", "too deep", "long"],
)
def test_models_write_any_arguments(arguments: str) -> None:
    """Arguments that a model wrote are an object, or the text they are; nothing in them breaks the JSON around."""
    from llmtrace.telemetry.content import describe_content

    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    assert CHAT.content is not None
    asked = CHAT.content.request({"messages": [{"role": "assistant", "tool_calls": [call]}]})
    (message,) = strict(describe_content(asked, [], ContentPolicy(span=True)).attributes["gen_ai.input.messages"])
    assert message["parts"][0]["name"] == "f"


def test_ten_thousand_parts(traced: Callable[..., dict[str, Any]], replay: Any) -> None:
    """Of too many parts the first and the last are kept, within the cap."""
    attributes = traced(lambda: ask(replay, [{"type": "text", "text": f"part {n}"} for n in range(10_000)]))
    (message,) = strict(attributes["gen_ai.input.messages"])
    said = [part["content"] for part in message["parts"]]
    assert (said[0], said[-1]) == ("part 0", "part 9999")
    assert len(attributes["gen_ai.input.messages"].encode()) <= 65536


@pytest.mark.parametrize("wrong", [None, 5, b"x", SystemExit(1), ValueError("secret")], ids=repr)
def test_a_redactor_that_fails_is_closed(
    wrong: Any, traced: Callable[..., dict[str, Any]], replay: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What a redactor gives or raises instead of a text costs the text and nothing else."""

    def redact(text: str) -> Any:
        if isinstance(wrong, BaseException):
            raise wrong
        return wrong

    attributes = traced(lambda: ask(replay, "secret"), redact=redact)
    (message,) = strict(attributes["gen_ai.input.messages"])
    assert message["parts"] == [{"type": "text", "content": "__REDACTED__"}]
    assert "secret" not in caplog.text


def test_a_redactor_may_write_what_no_exporter_takes(traced: Callable[..., dict[str, Any]], replay: Any) -> None:
    """A lone surrogate of the redactor's own is replaced."""
    attributes = traced(lambda: ask(replay), redact=lambda text: "\ud800" + text)
    assert strict(attributes["gen_ai.input.messages"])[0]["parts"][0]["content"] == "?hello"


def test_a_redactor_may_ask_a_model(traced: Callable[..., dict[str, Any]], replay: Any) -> None:
    """What the redactor itself asks is not traced, or it would be redacted without end."""
    asked: list[str] = []

    def redact(text: str) -> str:
        asked.append(text)
        ask(replay, "is this personal?")
        return text

    attributes = traced(lambda: ask(replay), redact=redact)
    assert "hello" in attributes["gen_ai.input.messages"]
    assert "is this personal?" not in asked


def test_a_redactor_that_the_user_interrupts(replay: Any) -> None:
    """An interrupt in the redactor is the user's, and the span is ended all the same."""

    def redact(text: str) -> str:
        raise KeyboardInterrupt

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with (
        llmtrace.instrument(tracer_provider=provider, strict=True, capture_content=True, redact=redact),
        pytest.raises(KeyboardInterrupt),
    ):
        ask(replay)
    assert len(exporter.get_finished_spans()) == 1


def test_an_asynchronous_redactor_is_refused() -> None:
    """A coroutine function is no redactor, and is told at once."""

    async def redact(text: str) -> str:
        return text

    with pytest.raises(llmtrace.ConfigError, match="asynchronous"):
        llmtrace.instrument(redact=redact)  # type: ignore[arg-type]
