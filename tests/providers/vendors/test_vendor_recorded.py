"""Recorded exchanges of Cohere, Hugging Face, Ollama and Voyage AI through the vendors' libraries."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import check_shapes, output_messages, recorded_messages
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from recordings import Cassette
from vendor_calls import COLOURS, close, make_client, only, read, resolve

NAMES = {"cohere": "cohere", "huggingface": "hugging_face", "ollama": "ollama", "voyage": "voyage"}
METHODS = {
    "chat": "chat",
    "embed": "embed",
    "rerank": "rerank",
    "embeddings": "embed",
    "chat.completions": "chat_completion",
    "ollama.chat": "chat",
    "ollama.generate": "generate",
    "ollama.embeddings": "embeddings",
}


def of_vendors(cassettes: list[Cassette]) -> list[Cassette]:
    """Return the recordings of the libraries under test; one of Ollama's is in the dialect of OpenAI."""
    chosen = [each for each in cassettes if each["provider"] in NAMES]
    return [each for each in chosen if (each["provider"], each["surface"]) != ("ollama", "chat.completions")]


async def ask(cassette: Cassette, colour: str, url: str) -> list[Any]:
    """Send the recorded request again, and return what the caller gets."""
    vendor, path = NAMES[cassette["provider"]], cassette["request"]["path"]
    headers = {"x-cassette-id": cassette["id"]}
    body = {name: value for name, value in cassette["request"]["body"].items() if value not in (None, "", [])}
    method = METHODS[cassette["surface"]]
    base = url + path.rpartition("/")[0] if vendor == "voyage" else url
    client = make_client(vendor, colour, base, headers)
    if vendor == "cohere":
        body["request_options"] = {"additional_headers": headers}
        method += "_stream" if body.pop("stream", False) else ""
        body.pop("max_chunks_per_doc", None)
    elif vendor == "voyage":
        body.pop("encoding_format", None)
        body = body if "query" in body else {"texts": body.pop("input"), **body}
    elif vendor == "hugging_face":
        body.pop("tools", None)
    try:
        return await read(await resolve(getattr(client, method)(**body)))
    finally:
        await close(client)


def expected(cassette: Cassette) -> dict[str, Any]:
    """Return the expected attributes of a recording; ``None`` for an attribute that must be absent."""
    recorded = cassette["expected"]
    usage = recorded["usage"] or {}
    counts = usage.get("billed_units") or usage
    first = [counts.get(name) for name in ("input_tokens", "prompt_tokens", "prompt_eval_count")]
    last = [counts.get(name) for name in ("output_tokens", "completion_tokens", "eval_count")]
    total = usage.get("total_tokens") if cassette["surface"] in ("rerank", "embeddings") else None
    return {
        "gen_ai.request.model": recorded["request_model"],
        "gen_ai.response.model": recorded["model"],
        "gen_ai.response.id": recorded["response_id"],
        "gen_ai.usage.input_tokens": next((count for count in (*first, total) if count is not None), None),
        "gen_ai.usage.output_tokens": next((count for count in last if count is not None), None),
    }


@pytest.mark.cassettes(choose=of_vendors)
@COLOURS
async def test_recorded_exchange_is_one_correct_span(
    cassette: Cassette, colour: str, replay: Any, spans: InMemorySpanExporter
) -> None:
    """A recorded exchange through the library has one span with the recorded values, and no content."""
    status = cassette["response"]["status"]
    if status >= 400:
        with pytest.raises(Exception, match="nonexistent"):
            await ask(cassette, colour, replay.url)
    else:
        assert await ask(cassette, colour, replay.url)
    found, wanted = await only(spans), expected(cassette)
    assert {name: found.get(name) for name in wanted} == wanted
    assert found.get("error.type") == (str(status) if status >= 400 else None)
    assert found.get("llmtrace.stream.end") == ("exhausted" if cassette["streaming"] else None)
    assert "gen_ai.output.messages" not in found
    if cassette["surface"] == "rerank" and cassette["provider"] == "cohere":
        assert found["llmtrace.usage.search_units"] == 1


@pytest.mark.cassettes(choose=lambda cassettes: [each for each in of_vendors(cassettes) if "chat" in each["surface"]])
@COLOURS
async def test_content_on_the_span_is_that_of_the_recording(
    cassette: Cassette, colour: str, replay: Any, content_spans: InMemorySpanExporter
) -> None:
    """With content on, the span has the text and the tool calls of the recording."""
    got = await ask(cassette, colour, replay.url)
    found = await only(content_spans)
    check_shapes(found)
    messages = output_messages(found)
    assert messages == (recorded_messages(cassette) or messages)
    assert all(message["text"] or message["tools"] for message in messages)
    assert str(messages[0]["text"])[:3] in str(got)
