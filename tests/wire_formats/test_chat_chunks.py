"""The fast path for chat chunks gives the same result as the complete path."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from openai import BaseModel
from openai._models import construct_type
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice

from llmtrace.capture.content import WithContent
from llmtrace.providers.openai.chat import ChatAccumulator
from llmtrace.providers.openai.chat_content import ChatContentAccumulator

WORDS = st.sampled_from(["a", "b", ""])
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USAGE = st.fixed_dictionaries(
    {"prompt_tokens": st.integers(0, 9), "completion_tokens": st.integers(0, 9)},
    optional={"cost": st.just(0.5), "num_cached_tokens": st.integers(0, 3)},
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": st.one_of(WORDS, WORDS, st.none(), st.just([{"type": "text", "text": "block"}])),
        "role": st.sampled_from(["assistant", None]),
        "reasoning_content": st.sampled_from(["thought", "", None]),
        "refusal": st.sampled_from(["no", None]),
        "tool_calls": st.sampled_from([[CALL], [], None]),
    },
)
CHOICES = st.fixed_dictionaries(
    {"delta": DELTAS},
    optional={
        "index": st.sampled_from([0, 0, 1, 7, None, "1", [1]]),
        "finish_reason": st.sampled_from([None, None, "stop", ""]),
        "usage": USAGE,
        "text": WORDS,
        "content_filter_results": st.just({"hate": {}}),
    },
)
CHUNKS = st.fixed_dictionaries(
    {"choices": st.one_of(st.lists(CHOICES, min_size=1, max_size=1), st.lists(CHOICES, max_size=2), st.none())},
    optional={
        "id": st.sampled_from(["c", "c", ""]),
        "model": st.sampled_from(["m", "m", ""]),
        "usage": st.one_of(st.none(), USAGE),
        "x_groq": st.fixed_dictionaries({"usage": USAGE}),
    },
)
PLAIN = st.builds(
    lambda words, role: {
        "id": "c",
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": words, "role": role}, "finish_reason": None}],
    },
    WORDS,
    st.sampled_from([None, None, "assistant"]),
)


class Bare(BaseModel):
    """Chunk of an SDK whose models have no usage field."""

    id: str
    choices: list[Choice]
    model: str


class Slow:
    """Both accumulators of a stream, with the fast path disabled."""

    def __init__(self) -> None:
        self.counts, self.words = ChatAccumulator(), ChatContentAccumulator()

    def add(self, chunk: Any) -> bool:
        self.words._add(chunk)
        self.counts.skips_text = False
        return bool(self.counts.add(chunk))


@settings(max_examples=200)
@given(st.lists(st.one_of(PLAIN, CHUNKS), max_size=6), st.sampled_from([ChatCompletionChunk, Bare]))
def test_fast_path_gives_the_same_result(chunks: list[dict[str, Any]], model: Any) -> None:
    """Usage, names, ends and texts are the same with content on and off."""

    def models() -> list[Any]:
        return [construct_type(type_=model, value=copy.deepcopy(each)) for each in chunks]

    slow, counts, alone, words = Slow(), ChatAccumulator(), ChatAccumulator(), ChatContentAccumulator()
    combined = WithContent(counts, words)
    spoke = [slow.add(each) for each in models()]
    assert [bool(combined.add(each)) for each in models()] == [bool(alone.add(each)) for each in models()] == spoke
    assert counts.result() == alone.result() == slow.counts.result()
    assert counts.ended == alone.ended == slow.counts.ended
    assert words.messages() == slow.words.messages()


def test_text_is_recorded_once_without_usage_field() -> None:
    """Text is recorded once even if the SDK's chunk model has no usage field."""
    words = ChatContentAccumulator()
    for piece in ("one ", "two"):
        chunk = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
        words.add(construct_type(type_=Bare, value=chunk))
    assert words.messages()[0]["parts"] == [{"type": "text", "content": "one two"}]


def test_empty_text_is_not_recorded() -> None:
    """Empty text, which some servers send with every chunk, is not part of the content."""
    words = ChatContentAccumulator()
    for _ in range(3):
        chunk = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": None}]}
        words.add(construct_type(type_=ChatCompletionChunk, value=chunk))
    assert words.messages()[0]["parts"] == []
