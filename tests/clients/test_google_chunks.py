"""Gemini's chunks are skimmed where nobody wants the words: that tells what reading each tells."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from llmtrace.clients import google_genai
from llmtrace.clients.google_genai import _Parsed, _Skimmed
from llmtrace.wire.google_generate import Answers


def chunk(text: str = "word", output: int = 3, **more: Any) -> dict[str, Any]:
    usage = {"promptTokenCount": 8, "candidatesTokenCount": output, "totalTokenCount": 8 + output}
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    told = {
        "candidates": [{**candidate, **more.pop("candidate", {})}],
        "usageMetadata": {**usage, **more.pop("usage", {})},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r1",
    }
    return {**told, **more}


WORDS = [chunk(f"word {number}", number) for number in range(1, 30)]
QUERY = {"groundingMetadata": {"webSearchQueries": ["when"]}}
STREAMS: dict[str, list[dict[str, Any]]] = {
    "words": WORDS,
    "words and an end": [*WORDS, chunk("", 30, candidate={"finishReason": "STOP"})],
    "an end in the middle": [*WORDS[:9], chunk("", 30, candidate={"finishReason": "MAX_TOKENS"}), *WORDS[9:]],
    "a search in the middle": [*WORDS[:9], chunk("so", 30, candidate=QUERY), *WORDS[9:]],
    "a count told once": [*WORDS[:9], chunk("so", 30, usage={"thoughtsTokenCount": 5}), *WORDS[9:]],
    "a count told from then on": WORDS[:9] + [chunk("so", n, usage={"cachedContentTokenCount": n}) for n in range(9)],
    "quotes and keys in the words": [chunk(f'"finishReason": "{n}\\", "text": "a\n{{', n) for n in range(9)],
    "words of another script": [chunk("\N{SNOWMAN}" * n, n) for n in range(9)],
    "two candidates": [chunk("a", n, candidate={"index": n % 2}) for n in range(9)],
    "no usage in the middle": [*WORDS[:3], *[{**WORDS[0], "usageMetadata": None}] * 3, *WORDS[3:5]],
    "an error at last": [*WORDS[:9], {"error": {"status": "UNAVAILABLE"}}],
    "refused at last": [*WORDS[:9], {"promptFeedback": {"blockReason": "SAFETY"}}],
    "another tier": [
        chunk("a", n, usage={"trafficType": "ON_DEMAND" if n < 5 else "ON_DEMAND_FLEX"}) for n in range(9)
    ],
    "ever other shapes": [chunk("a", n, usage={f"x{'y' * n}": n}) for n in range(30)],
    "a call of a tool": [
        chunk("a"),
        chunk(candidate={"content": {"parts": [{"functionCall": {"name": "f"}}]}}),
        chunk(),
    ],
}


def told(cls: type[_Parsed], chunks: list[Any]) -> tuple[Any, list[bool], bool]:
    folded = cls(Answers())
    spoke = [folded.add(each) for each in chunks]
    return folded.result(), spoke, folded.ended


@pytest.mark.parametrize("name", STREAMS)
def test_skimming_tells_the_same(name: str) -> None:
    """As much as reading every chunk tells, of every stream."""
    chunks = [SimpleNamespace(body=json.dumps(each)) for each in STREAMS[name]]
    assert told(_Skimmed, chunks) == told(_Parsed, chunks)
    compact = [SimpleNamespace(body=json.dumps(each, separators=(",", ":"))) for each in STREAMS[name]]
    assert told(_Skimmed, compact) == told(_Parsed, compact)


def test_few_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, the end and the one before it."""
    read = []

    def loads(body: str) -> Any:
        read.append(body)
        return json.loads(body)

    monkeypatch.setattr(google_genai, "json", SimpleNamespace(loads=loads))
    answer, _, ended = told(_Skimmed, [SimpleNamespace(body=json.dumps(each)) for each in STREAMS["words and an end"]])
    assert len(read) == 3
    assert ended and answer.usage == {"input": 8, "output": 30}


def test_the_first_releases_hand_over_what_is_parsed() -> None:
    """Then each is read."""
    assert told(_Skimmed, WORDS) == told(_Parsed, WORDS)


def test_a_long_text_is_passed_in_one_go() -> None:
    """Of any length, and whatever is in it."""
    text = '\\"' * 100_000
    chunks = [SimpleNamespace(body=json.dumps(chunk(text, number))) for number in range(3)]
    assert told(_Skimmed, chunks)[0].usage == {"input": 8, "output": 2}
