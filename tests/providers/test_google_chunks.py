"""The shape cache of Gemini's chunks gives the same result as parsing every chunk."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.capture.content import WithContent
from llmtrace.model import Response
from llmtrace.model.wire_format import Accumulator
from llmtrace.providers.google import chunks as google_chunks
from llmtrace.providers.google.chunks import ShapeCache, parse_body, shape_of
from llmtrace.providers.google.generate import GenerateAccumulator
from llmtrace.providers.google.generate_content import GenerateContentAccumulator


def chunk(text: str = "word", output: int = 3, **more: Any) -> dict[str, Any]:
    usage = {"promptTokenCount": 8, "candidatesTokenCount": output, "totalTokenCount": 8 + output}
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    result_of = {
        "candidates": [{**candidate, **more.pop("candidate", {})}],
        "usageMetadata": {**usage, **more.pop("usage", {})},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r1",
    }
    return {**result_of, **more}


WORDS = [chunk(f"word {number}", number) for number in range(1, 30)]
QUERY = {"groundingMetadata": {"webSearchQueries": ["when"]}}
STREAMS: dict[str, list[dict[str, Any]]] = {
    "words": WORDS,
    "words and an end": [*WORDS, chunk("", 30, candidate={"finishReason": "STOP"})],
    "an end in the middle": [*WORDS[:9], chunk("", 30, candidate={"finishReason": "MAX_TOKENS"}), *WORDS[9:]],
    "a search in the middle": [*WORDS[:9], chunk("so", 30, candidate=QUERY), *WORDS[9:]],
    "a count reported once": [*WORDS[:9], chunk("so", 30, usage={"thoughtsTokenCount": 5}), *WORDS[9:]],
    "a count reported from then on": WORDS[:9]
    + [chunk("so", n, usage={"cachedContentTokenCount": n}) for n in range(9)],
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
    "three end alike": [chunk("a", n, candidate={"index": n, "finishReason": "STOP"}) for n in range(3)],
    "other searches with other numbers": [
        chunk("a", candidate={"groundingMetadata": {"webSearchQueries": [f"of {year}"]}}) for year in range(2020, 2026)
    ],
    "counts that are none": [chunk("a", n) for n in (5, 7, 10**20)],
    "a call of a tool": [
        chunk("a"),
        chunk(candidate={"content": {"parts": [{"functionCall": {"name": "f"}}]}}),
        chunk(),
    ],
}


class EveryChunk:
    """Accumulator that parses every chunk."""

    def __init__(self, inner: Accumulator) -> None:
        self._inner = inner

    def add(self, chunk: Any) -> bool | str:
        return self._inner.add(parse_body(chunk))

    @property
    def ended(self) -> bool:
        return self._inner.ended

    def result(self) -> Response:
        return self._inner.result()


def result_of(cls: type[ShapeCache | EveryChunk], chunks: list[Any]) -> tuple[Any, list[bool], bool]:
    """Return the result, with content recorded and without, which must not make a difference."""
    content = GenerateContentAccumulator()
    folded, alone = cls(WithContent(GenerateAccumulator(), content)), cls(GenerateAccumulator())
    # An empty text is one whose tokens are already reported.
    spoke = [folded.add(each) is not False for each in chunks]
    assert spoke == [alone.add(each) is not False for each in chunks]
    result, ended = folded.result(), folded.ended
    assert (result, ended) == (alone.result(), alone.ended)
    return (result, content.messages()), spoke, ended


@pytest.mark.parametrize("name", STREAMS)
def test_shape_cache_gives_the_same_result(name: str) -> None:
    """The result is the same for every stream."""
    chunks = [SimpleNamespace(body=json.dumps(each)) for each in STREAMS[name]]
    assert result_of(ShapeCache, chunks) == result_of(EveryChunk, chunks)
    compact = [SimpleNamespace(body=json.dumps(each, separators=(",", ":"))) for each in STREAMS[name]]
    assert result_of(ShapeCache, compact) == result_of(EveryChunk, compact)


def test_shape_cache_parses_few_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first chunk, the last chunk and the one before it are parsed."""
    read = []

    def loads(body: str) -> Any:
        read.append(body)
        return json.loads(body)

    monkeypatch.setattr(google_chunks, "json", SimpleNamespace(loads=loads))
    answer, _, ended = result_of(
        ShapeCache, [SimpleNamespace(body=json.dumps(each)) for each in STREAMS["words and an end"]]
    )
    assert len(read) == 2 * 3  # with content and without
    assert ended and answer[0].usage == {"input": 8, "output": 30}


def test_parsed_chunks_of_first_releases_are_all_read() -> None:
    """The first releases pass parsed chunks, which are all read."""
    assert result_of(ShapeCache, WORDS) == result_of(EveryChunk, WORDS)


def test_long_text_matches_its_shape() -> None:
    """A text of any length and content matches."""
    text = '\\"' * 100_000
    chunks = [SimpleNamespace(body=json.dumps(chunk(text, number))) for number in range(3)]
    (response, messages), _, _ = result_of(ShapeCache, chunks)
    assert messages[0]["parts"] == [{"type": "text", "content": text * 3}]
    assert response.usage == {"input": 8, "output": 2}


TEXTS = st.one_of(st.text(max_size=6), st.sampled_from(['"text": "x"', '\\"', "\\u0041", '{"aCount": 7}', ""]))
COUNTS = st.one_of(st.integers(0, 30), st.sampled_from([1.5, 1e300, 10**20, "7", None, -3]))
NUMBERED = st.sampled_from(["", "one 1", "one 2", "one 33"])
PARTS = st.one_of(
    st.builds(lambda text: {"text": text}, TEXTS),
    st.builds(lambda text, signature: {"text": text, "thoughtSignature": signature}, TEXTS, NUMBERED),
    st.builds(lambda text, count: {"functionCall": {"args": {"text": text, "aCount": count}}}, TEXTS, COUNTS),
)
DETAILS = st.lists(
    st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "AUDIO"]), "tokenCount": COUNTS}), max_size=2
)
CANDIDATES = st.fixed_dictionaries(
    {"content": st.fixed_dictionaries({"parts": st.lists(PARTS, max_size=2)})},
    optional={
        "index": st.integers(0, 3),
        "finishReason": st.sampled_from(["STOP", "X1", "X2"]),
        "groundingMetadata": st.fixed_dictionaries({"webSearchQueries": st.lists(NUMBERED, max_size=2)}),
    },
)
CHUNKS = st.fixed_dictionaries(
    {
        "candidates": st.lists(CANDIDATES, min_size=1, max_size=2),
        "usageMetadata": st.fixed_dictionaries(
            {"promptTokenCount": COUNTS, "candidatesTokenCount": COUNTS},
            optional={
                "thoughtsTokenCount": COUNTS,
                "totalTokenCount": COUNTS,
                "promptTokensDetails": DETAILS,
                "trafficType": NUMBERED,
            },
        ),
    },
    optional={"modelVersion": NUMBERED, "responseId": NUMBERED},
)


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Generate streams of chunks that differ in a value or two."""
    found = []
    for first in draw(st.lists(CHUNKS, min_size=1, max_size=3)):
        for _ in range(draw(st.integers(1, 4))):
            found.append(changed(draw, first))
    return found


def changed(draw: st.DrawFn, value: Any, name: str = "") -> Any:
    """Generate ``value`` with some other texts and numbers."""
    if isinstance(value, dict):
        return {key: changed(draw, each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [changed(draw, each, name) for each in value]
    if draw(st.integers(0, 2)):
        return value
    if name.endswith("Count"):
        return draw(COUNTS)
    if name == "index":
        return draw(st.integers(0, 3))
    return draw(TEXTS) if name == "text" else re.sub("[0-9]", str(draw(st.integers(0, 9))), value)


@settings(max_examples=150)
@given(streams(), st.sampled_from([{}, {"separators": (",", ":")}, {"indent": 2}, {"ensure_ascii": False}]))
def test_shape_cache_gives_the_same_result_for_any_stream(
    chunks: list[dict[str, Any]], written: dict[str, Any]
) -> None:
    """The result does not depend on the formatting of the JSON."""
    bodies = [SimpleNamespace(body=json.dumps(each, **written)) for each in chunks]
    assert result_of(ShapeCache, bodies) == result_of(EveryChunk, bodies)


def test_large_chunk_is_not_learned() -> None:
    """An image has digits everywhere: to learn its shape would block the caller for seconds."""
    assert (
        shape_of(json.dumps(chunk(candidate={"content": {"parts": [{"inlineData": {"data": "a1" * 9000}}]}}))) is None
    )
    assert shape_of(json.dumps(chunk(candidate={"content": {"parts": [{"text": "a"}] * 900}}))) is None


def test_invalid_json_chunk_keeps_earlier_counts() -> None:
    """The SDK raises for it, and the counts so far are kept."""
    chunks = [SimpleNamespace(body=json.dumps(chunk("a", number))) for number in range(3)]
    torn = SimpleNamespace(body=json.dumps(chunk("a", 9)).replace('"a"', '"a\n"'))
    folded = ShapeCache(GenerateAccumulator())
    for each in chunks:
        folded.add(each)
    with pytest.raises(ValueError, match="control"):
        folded.add(torn)
    assert folded.result().usage == {"input": 8, "output": 2}
