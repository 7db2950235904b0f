"""mistralai: one span per call of each method, which returns the same as without llmtrace."""

from __future__ import annotations

from typing import Any

import pytest
from answers import sse
from entry_points import mistral_entry_points
from helpers import output_messages
from loopback import Loopback, json_answer, stream_answer
from mistral_calls import COLOURS, METHODS, Side, good, only, read
from mistralai.client import Mistral
from mistralai.client.basesdk import BaseSDK
from mistralai.client.models import UserMessage
from mistralai.client.utils import eventstreaming
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

import llmtrace
from llmtrace import BudgetExceeded
from llmtrace.providers.hosts import provider_of

CALLS = [
    pytest.param(name, stream, id=f"{name}-stream" if stream else name)
    for name, method in METHODS.items()
    for stream in (False, True)
    if method.events or not stream
]


@COLOURS
@pytest.mark.parametrize(("name", "stream"), CALLS)
async def test_each_method_is_one_span_and_returns_the_same(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, name: str, stream: bool
) -> None:
    """The request and the result are those of a program without llmtrace; the span has the values of the response."""
    method = METHODS[name]
    loopback.will(good(name, stream=stream))
    traced = await side.ask(name, stream=stream)
    got = await read(traced)
    found = await only(spans)
    llmtrace.uninstrument()
    bare = await side.ask(name, stream=stream)
    assert (type(traced), got) == (type(bare), await read(bare))
    first, second = loopback.received
    assert (first.path, first.body) == (second.path, second.body)
    assert first.headers.keys() == second.headers.keys()

    assert found["gen_ai.operation.name"] == method.operation
    assert found["gen_ai.provider.name"] == "mistral_ai"
    assert found["llmtrace.api"] == f"mistral.{method.name}"
    assert found["gen_ai.response.model"] == "m-1"
    assert found["gen_ai.usage.input_tokens"] == 7
    assert found.get("gen_ai.usage.output_tokens") == (None if name == "embeddings" else 3)
    assert found["llmtrace.outcome"] == "ok"
    assert found.get("llmtrace.stream.end") == ("exhausted" if stream else None)
    assert found.get("gen_ai.agent.id") == ("ag_1" if name == "agents" else None)
    assert not [name for name in found if name.startswith("openai.")]


def test_every_traced_method_has_a_test() -> None:
    """No method of the client that sends a request to a traced path is missing here."""
    names = {name for method in METHODS.values() for name in (method.name, method.stream) if name}
    assert {point.name for point in mistral_entry_points()} == names | {"chat.parse", "chat.parse_stream"}


class Answer(BaseModel):
    """Schema that ``parse`` reads a response into."""

    answer: int


@COLOURS
@pytest.mark.parametrize("stream", [False, True], ids=["parse", "parse_stream"])
async def test_parse_is_one_span_with_its_output_type(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, stream: bool
) -> None:
    """The helpers for structured output are calls like the others."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": '{"answer": 4}'}}
    loopback.will(good(stream=stream))
    if not stream:
        loopback.will(json_answer({**METHODS["chat"].body, "choices": [choice]}))
    function: Any = getattr(side.client.chat, "parse_stream" if stream else "parse")
    if side.colour == "async":
        function = getattr(side.client.chat, "parse_stream_async" if stream else "parse_async")
    result = function(Answer, **METHODS["chat"].arguments)
    result = await result if side.colour == "async" else result
    if stream:
        assert await read(result)
    else:
        assert result.choices[0].message.parsed == Answer(answer=4)
    found = await only(spans)
    assert found["gen_ai.output.type"] == "json"
    assert found["gen_ai.usage.output_tokens"] == 3


@COLOURS
async def test_streamed_content_is_joined(loopback: Loopback, content_spans: InMemorySpanExporter, side: Side) -> None:
    """Reasoning, text and tool calls of a stream are recorded as one message."""
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]
    call = {"id": "call_1", "index": 0, "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    deltas: list[Any] = [
        {"role": "assistant", "content": thinking},
        {"content": "It "},
        {"content": "rains."},
        {"tool_calls": [call]},
    ]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices[-1]["finish_reason"] = "tool_calls"
    head = {name: value for name, value in METHODS["chat"].events[0].items() if name != "choices"}
    loopback.will(stream_answer(sse([{**head, "choices": [choice]} for choice in choices], done=True)))
    await read(await side.ask(stream=True))
    assert output_messages(await only(content_spans)) == [
        {
            "text": "It rains.",
            "reasoning": "Hm",
            "tools": [{"id": "call_1", "name": "weather", "arguments": {"city": "Paris"}}],
        }
    ]


@COLOURS
async def test_messages_may_be_models_and_a_generator(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side
) -> None:
    """The SDK turns models and generators into a body once; llmtrace reads that body."""
    loopback.will(good())
    await side.ask(messages=(UserMessage(content=text) for text in ("a", "b")), random_seed=5, temperature=0.5)
    assert [message["content"] for message in loopback.received[0].body["messages"]] == ["a", "b"]
    found = await only(spans)
    assert (found["gen_ai.request.seed"], found["gen_ai.request.temperature"]) == (5, 0.5)


@COLOURS
async def test_untraced_methods_pass_through(loopback: Loopback, spans: InMemorySpanExporter, side: Side) -> None:
    """Listing models is not a call to a model."""
    loopback.will(json_answer({"object": "list", "data": []}))
    models: Any = side.client.models
    result = models.list() if side.colour == "sync" else await models.list_async()
    assert result.object == "list"
    assert spans.get_finished_spans() == ()


@COLOURS
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_budget_refuses_before_the_request_is_sent(
    request: pytest.FixtureRequest, loopback: Loopback, spans: InMemorySpanExporter, side: Side, stream: bool
) -> None:
    """A spent budget raises its own exception through the SDK."""
    loopback.will(good(stream=stream))
    name = request.node.name
    llmtrace.budget(name, tokens=1, per="total", action="block", match={"tag": name})
    with llmtrace.tag(tags=(name,)):
        await read(await side.ask(stream=stream))
        assert await only(spans)
        spans.clear()
        with pytest.raises(BudgetExceeded):
            await side.ask(stream=stream)
    assert len(loopback.received) == 1
    assert (await only(spans))["llmtrace.outcome"] == "blocked"


def test_hooks_are_undone() -> None:
    """uninstrument() puts back the identical functions."""
    places = [(BaseSDK, "do_request"), (BaseSDK, "do_request_async")]
    places += [(getattr(eventstreaming, name), "__init__") for name in ("EventStream", "EventStreamAsync")]
    before = [vars(owner)[name] for owner, name in places]
    done = llmtrace.instrument(tracer_provider=TracerProvider(), clients=["mistral"])
    assert done.patched.keys() == {"mistral"}
    assert all(vars(owner)[name] is not old for (owner, name), old in zip(places, before, strict=True))
    llmtrace.uninstrument()
    assert all(vars(owner)[name] is old for (owner, name), old in zip(places, before, strict=True))


@pytest.mark.parametrize("server", ["eu", "us", "global"])
def test_every_server_of_mistral_is_mistral(server: str) -> None:
    """The servers that the client can name, by region, are known hosts."""
    with Mistral(api_key="k", server=server) as client:
        url, _ = client.sdk_configuration.get_server_details()
    assert provider_of(None, url.removeprefix("https://"), "openai") == "mistral_ai"
