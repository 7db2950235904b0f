"""The fast path for events of messages and responses gives the same result as the complete path."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from anthropic._models import construct_type as message_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._models import construct_type as response_event

from llmtrace.capture.content import WithContent
from llmtrace.model.wire_format import ReadTexts
from llmtrace.providers._texts import message_texts, response_texts
from llmtrace.providers.anthropic import messages, messages_content
from llmtrace.providers.openai import responses as openai_responses
from llmtrace.providers.openai import responses_content

responses = pytest.importorskip("openai.types.responses")
Event = dict[str, Any]

ODD = st.sampled_from([None, "", "x", 0, [], {}, [None], {"a": 1}])
WORDS = st.sampled_from(["a", "b", "", "\u2028", None])
INDEX = st.sampled_from([0, 0, 1, None])


def event(kind: Any, **members: Any) -> st.SearchStrategy[Event]:
    known = kind if isinstance(kind, st.SearchStrategy) else st.just(kind)
    made = {name: each if isinstance(each, st.SearchStrategy) else st.just(each) for name, each in members.items()}
    return st.fixed_dictionaries({"type": known, **made})


BLOCK = st.one_of(
    event("text", text=""),
    event("thinking", thinking="", signature=""),
    event(st.sampled_from(["tool_use", "server_tool_use"]), id="t", name="n", input={}),
    event("compaction", content=None),
    event("novel"),
)
DELTA = st.one_of(
    event("text_delta", text=st.one_of(WORDS, ODD)),
    event("thinking_delta", thinking=WORDS),
    event("input_json_delta", partial_json=st.sampled_from(["", "{", "}", None])),
    event("signature_delta", signature="s"),
    event("compaction_delta", content="sum"),
    ODD,
)
REPORTED = st.fixed_dictionaries(
    {}, optional={"input_tokens": st.one_of(st.integers(0, 5), ODD), "output_tokens": st.integers(0, 5)}
)
MESSAGE_EVENT = st.one_of(
    event(
        "message_start", message=st.fixed_dictionaries({"id": st.just("m"), "content": st.just([]), "usage": REPORTED})
    ),
    event("content_block_start", index=INDEX, content_block=BLOCK),
    event("content_block_delta", index=INDEX, delta=DELTA),
    event("content_block_delta", index=INDEX, delta=DELTA),
    event("message_delta", delta={"stop_reason": "end_turn"}, usage=st.one_of(st.none(), REPORTED)),
    event(st.sampled_from(["message_stop", "ping", "novel"])),
)

ITEM = st.one_of(
    event("message", id="m", role="assistant", status="in_progress", content=[]),
    event("function_call", id="f", call_id="c", name="n", arguments=""),
    event("reasoning", id="r", summary=[]),
    st.none(),
)
OUTPUT = event("message", id="m", role="assistant", content=[{"type": "output_text", "text": "T", "annotations": []}])
STATUS = st.sampled_from(["completed", "failed", None])
ANSWER = st.fixed_dictionaries({"id": st.just("r"), "status": STATUS, "output": st.lists(OUTPUT, max_size=1)})
TEXTS = st.sampled_from(sorted(responses_content.DELTA_KINDS))
RESPONSE_EVENT = st.one_of(
    event(TEXTS, delta=st.one_of(WORDS, ODD), output_index=INDEX),
    event(TEXTS, delta=WORDS, output_index=INDEX),
    event(st.sampled_from(["response.output_item.added", "response.output_item.done"]), output_index=INDEX, item=ITEM),
    event(st.sampled_from(["response.created", "response.completed", "response.failed"]), response=ANSWER),
    event(st.sampled_from(["response.audio.delta", "novel"]), delta=ODD),
)


def outcome(events: list[Any], read: ReadTexts, counts: Any, accumulator: Any, *, short: bool) -> tuple[Any, ...]:
    spoke, texts = [], []
    for each in events:
        if short:
            added = WithContent(counts, accumulator).add(each)
        else:
            accumulator._add(each)
            added = counts.add(each)
        spoke.append(bool(added))
        texts += [added] if short and type(added) is str else [text for text, _ in read(each)]
    return spoke, texts, counts.result(), counts.ended, accumulator.messages()


def same(events: list[Event], model: Callable[[Event], Any], read: ReadTexts, counts: Any, accumulator: Any) -> None:
    """Assert that SDK models on either path, and parsed JSON, give the same result."""
    long = outcome([model(copy.deepcopy(each)) for each in events], read, counts(), accumulator(), short=False)
    assert outcome([model(copy.deepcopy(each)) for each in events], read, counts(), accumulator(), short=True) == long
    assert outcome(copy.deepcopy(events), read, counts(), accumulator(), short=True) == long


@settings(max_examples=150)
@given(st.lists(MESSAGE_EVENT, max_size=7))
def test_messages_fast_path_gives_the_same_result(events: list[Event]) -> None:
    """Usage, stop reasons, ends and texts of Anthropic's events are the same."""
    same(
        events,
        lambda reported: message_event(type_=RawMessageStreamEvent, value=reported),
        message_texts,
        messages.MessagesAccumulator,
        messages_content.MessagesContentAccumulator,
    )


@settings(max_examples=150)
@given(st.lists(RESPONSE_EVENT, max_size=7))
def test_responses_fast_path_gives_the_same_result(events: list[Event]) -> None:
    """Status, ends and texts of OpenAI's events are the same."""
    same(
        events,
        lambda reported: response_event(type_=responses.ResponseStreamEvent, value=reported),
        response_texts,
        openai_responses.ResponsesAccumulator,
        responses_content.ResponsesContentAccumulator,
    )
