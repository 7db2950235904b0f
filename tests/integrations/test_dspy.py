"""Runs of DSPy are one trace each."""

from __future__ import annotations

import json
from typing import Any

import pytest
from agent_server import check_money, tree
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

dspy = pytest.importorskip("dspy")

pytestmark = [
    pytest.mark.usefixtures("agent_server"),
    pytest.mark.filterwarnings("ignore"),  # those of LiteLLM
]


def weather(city: str) -> str:
    """Weather of a city."""
    with llmtrace.retrieval("atlas") as search:
        search.add([("d1", 0.5)])
    return f"sunny in {city}"


class Model(dspy.BaseLM):  # type: ignore[misc,name-defined] # no types
    """A model with an answer for each call, which calls the OpenAI SDK."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        super().__init__("gpt-4o-mini")
        self.answers = list(answers)

    def forward(self, prompt: Any = None, messages: Any = None, **_: Any) -> Any:
        import openai

        client = openai.OpenAI(max_retries=0)
        response = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
        fields = self.answers.pop(0)
        text = "".join(f"[[ ## {key} ## ]]\n{value}\n\n" for key, value in fields.items())
        response.choices[0].message.content = text + "[[ ## completed ## ]]"
        return response


STEP = {"next_thought": "t", "next_tool_name": "weather", "next_tool_args": json.dumps({"city": "Paris"})}
FINISH = {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": "{}"}
AGENT_TREE = [
    "invoke_agent ReAct",
    "  chat gpt-4o-mini",
    "  execute_tool weather",
    "    retrieval",
    "  chat gpt-4o-mini",
    "  invoke_workflow ChainOfThought",
    "    chat gpt-4o-mini",
]


def test_agent_run_is_one_trace(spans: InMemorySpanExporter) -> None:
    """An agent has its tool below it, and the answer names the documents of the tool."""
    model = Model(STEP, FINISH, {"reasoning": "r", "answer": "sunny"})
    with dspy.context(lm=model, adapter=dspy.ChatAdapter()), llmtrace.tag(feature="trip"):
        assert dspy.ReAct("question -> answer", tools=[weather])(question="weather?").answer == "sunny"
    finished = spans.get_finished_spans()
    lines = [line for line in tree(finished) if "finish" not in line]
    assert lines == AGENT_TREE
    check_money(finished, calls=3)
    assert {(span.attributes or {})["llmtrace.feature"] for span in finished} == {"trip"}
    chats = sorted((span for span in finished if span.name.startswith("chat")), key=lambda span: span.start_time or 0)
    ids = [(span.attributes or {}).get("llmtrace.retrieval.document_ids") for span in chats]
    assert ids == [None, ("d1",), ("d1",)]


async def test_streamed_program_is_one_trace(spans: InMemorySpanExporter) -> None:
    """A program whose progress is streamed has the same tree, with the tags of the caller."""
    model = Model(STEP, FINISH, {"reasoning": "r", "answer": "sunny"})
    program = dspy.streamify(dspy.ReAct("question -> answer", tools=[weather]))
    with dspy.context(lm=model, adapter=dspy.ChatAdapter()), llmtrace.tag(feature="trip"):
        parts = [part async for part in program(question="weather?")]
    assert parts[-1].answer == "sunny"
    finished = spans.get_finished_spans()
    assert [line for line in tree(finished) if "finish" not in line] == AGENT_TREE
    assert {(span.attributes or {})["llmtrace.feature"] for span in finished} == {"trip"}
    check_money(finished, calls=3)


def test_parallel_modules_keep_their_caller(spans: InMemorySpanExporter) -> None:
    """Modules that run in threads of ``dspy.Parallel`` are below the block of the caller, with its tags."""
    model = Model({"answer": "a"}, {"answer": "b"})
    module = dspy.Predict("question -> answer")
    pairs = [(module, dspy.Example(question=question).with_inputs("question")) for question in ("1", "2")]
    with dspy.context(lm=model, adapter=dspy.ChatAdapter()), llmtrace.tag(feature="trip"), llmtrace.workflow("ask"):
        dspy.Parallel(num_threads=2, disable_progress_bar=True)(pairs)
    finished = spans.get_finished_spans()
    assert tree(finished) == ["invoke_workflow ask", *["  invoke_workflow Predict", "    chat gpt-4o-mini"] * 2]
    assert {(span.attributes or {})["llmtrace.feature"] for span in finished} == {"trip"}


async def test_program_is_a_workflow(spans: InMemorySpanExporter) -> None:
    """A program of the application has one span above its modules, in an asynchronous call too."""

    class Program(dspy.Module):  # type: ignore[misc,name-defined] # no types
        def __init__(self) -> None:
            super().__init__()
            self.answer = dspy.Predict("question -> answer")

        async def aforward(self, question: str) -> Any:
            return await self.answer.acall(question=question)

    class AsyncModel(Model):
        async def aforward(self, *args: Any, **kwargs: Any) -> Any:
            return self.forward(*args, **kwargs)

    with dspy.context(lm=AsyncModel({"answer": "sunny"}), adapter=dspy.ChatAdapter()):
        await Program().acall(question="weather?")
    assert tree(spans.get_finished_spans()) == ["invoke_workflow Program", "  chat gpt-4o-mini"]
