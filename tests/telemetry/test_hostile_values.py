"""Invalid values in content, and redactors that fail: the call is unaffected and all JSON is valid."""

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
    """Object whose attributes and text raise."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def recursive() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def strict(text: Any) -> Any:
    """Return the value of strict JSON, which excludes NaN and infinity."""

    def reject(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(str(text), parse_constant=reject)


@pytest.fixture
def traced() -> Iterator[Callable[..., dict[str, Any]]]:
    """Return a function that runs another with content on and returns the attributes of the last span."""

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


def call_model(replay: Any, content: Any = "hello") -> None:
    with openai.OpenAI(base_url=replay.url, api_key="k", max_retries=0) as client:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": content}])


VALUES = {
    "not a number": [math.nan, math.inf, -math.inf],
    "huge number": 10**20_000,
    "long number": -(10**4500),
    "deep": nested(10_000),
    "recursive": recursive(),
    "hostile": {"a": Hostile(), Hostile(): 1},
    "surrogate": {"\ud800": "\ud800"},
    "nul": "\0",
    "bytes": b"\xff",
    "many": list(range(100_000)),
}


@pytest.mark.parametrize("name", VALUES)
def test_tool_with_any_value_is_written_as_valid_json(name: str, traced: Callable[..., dict[str, Any]]) -> None:
    """Arguments and results of any kind are written as valid JSON objects."""

    def run() -> None:
        with llmtrace.tool("t", arguments={"value": VALUES[name]}) as tool:
            tool.result(VALUES[name])

    attributes = traced(run)
    assert isinstance(strict(attributes["gen_ai.tool.call.arguments"]), dict)
    assert isinstance(strict(attributes["gen_ai.tool.call.result"]), dict)


@pytest.mark.parametrize("name", VALUES)
def test_prompt_variable_of_any_kind_is_written_as_valid_json(
    name: str, traced: Callable[..., dict[str, Any]], replay: Any
) -> None:
    """Variables of any kind are written as valid JSON, and all other attributes are kept."""

    def run() -> None:
        with llmtrace.prompt("p", template="t", variables={"value": VALUES[name]}):
            call_model(replay)

    attributes = traced(run)
    strict(attributes["llm.prompt_template.variables"])
    assert attributes["gen_ai.prompt.name"] == "p"


def test_document_with_a_score_that_json_lacks_keeps_the_rest(traced: Callable[..., dict[str, Any]]) -> None:
    """A score that JSON cannot hold is omitted; the document stays in the list."""

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
def test_invalid_tool_arguments_leave_valid_json(arguments: str) -> None:
    """Arguments from a model are written as an object or as text, and the JSON stays valid."""
    from llmtrace.telemetry.content import describe_content

    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    assert CHAT.content is not None
    request = CHAT.content.request({"messages": [{"role": "assistant", "tool_calls": [call]}]})
    (message,) = strict(describe_content(request, [], ContentPolicy(span=True)).attributes["gen_ai.input.messages"])
    assert message["parts"][0]["name"] == "f"


def test_too_many_parts_keep_the_first_and_the_last(traced: Callable[..., dict[str, Any]], replay: Any) -> None:
    """Of 10,000 parts the first and the last are kept, within the maximum size."""
    attributes = traced(lambda: call_model(replay, [{"type": "text", "text": f"part {n}"} for n in range(10_000)]))
    (message,) = strict(attributes["gen_ai.input.messages"])
    texts = [part["content"] for part in message["parts"]]
    assert (texts[0], texts[-1]) == ("part 0", "part 9999")
    assert len(attributes["gen_ai.input.messages"].encode()) <= 65536


@pytest.mark.parametrize("result", [None, 5, b"x", SystemExit(1), ValueError("secret")], ids=repr)
def test_failing_redactor_hides_the_text(
    result: Any, traced: Callable[..., dict[str, Any]], replay: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """If a redactor raises or returns no text, only the text is lost, and it is not logged."""

    def redact(text: str) -> Any:
        if isinstance(result, BaseException):
            raise result
        return result

    attributes = traced(lambda: call_model(replay, "secret"), redact=redact)
    (message,) = strict(attributes["gen_ai.input.messages"])
    assert message["parts"] == [{"type": "text", "content": "__REDACTED__"}]
    assert "secret" not in caplog.text


def test_redactor_result_is_made_encodable(traced: Callable[..., dict[str, Any]], replay: Any) -> None:
    """A lone surrogate in the result of a redactor is replaced."""
    attributes = traced(lambda: call_model(replay), redact=lambda text: "\ud800" + text)
    assert strict(attributes["gen_ai.input.messages"])[0]["parts"][0]["content"] == "?hello"


def test_redactor_calls_to_a_model_are_not_traced(traced: Callable[..., dict[str, Any]], replay: Any) -> None:
    """Calls inside the redactor are not traced, since they would be redacted recursively."""
    redacted_texts: list[str] = []

    def redact(text: str) -> str:
        redacted_texts.append(text)
        call_model(replay, "is this personal?")
        return text

    attributes = traced(lambda: call_model(replay), redact=redact)
    assert "hello" in attributes["gen_ai.input.messages"]
    assert "is this personal?" not in redacted_texts


def test_interrupted_redactor_still_ends_the_span(replay: Any) -> None:
    """A keyboard interrupt in the redactor reaches the caller, and the span is ended."""

    def redact(text: str) -> str:
        raise KeyboardInterrupt

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with (
        llmtrace.instrument(tracer_provider=provider, strict=True, capture_content=True, redact=redact),
        pytest.raises(KeyboardInterrupt),
    ):
        call_model(replay)
    assert len(exporter.get_finished_spans()) == 1


def test_asynchronous_redactor_is_rejected() -> None:
    """A coroutine function is rejected when the library is set up."""

    async def redact(text: str) -> str:
        return text

    with pytest.raises(llmtrace.ConfigError, match="asynchronous"):
        llmtrace.instrument(redact=redact)  # type: ignore[arg-type]
