"""Recorded Bedrock exchanges through boto3 and aiobotocore: one correct span each, with content and without."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest
from bedrock_calls import COLOURS, Side, only, read
from botocore.exceptions import ClientError, ParamValidationError
from helpers import check_shapes, output_messages, recorded_messages
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from recordings import STATES_FINISH_REASONS, Cassette, expected_attributes

METHODS = {
    "converse": "converse",
    "converse-stream": "converse_stream",
    "invoke": "invoke_model",
    "invoke-with-response-stream": "invoke_model_with_response_stream",
    "count-tokens": "count_tokens",
}
#: Counts and reasons of models whose fields the recordings do not read: Llama and Titan.
NOT_READ = {
    "family-meta": ((8, 35), "stop", "\nWhy did the opentelemetry span go to therapy?"),
    "family-amazon": ((5, 10), "LENGTH", " comment\nHello! I am a computer program designed"),
}


def all_of_bedrock(cassettes: list[Cassette]) -> list[Cassette]:
    return [each for each in cassettes if each["provider"] == "bedrock" and each["surface"] != "responses"]


async def ask(cassette: Cassette, colour: str, url: str) -> Any:
    """Send the recorded request again, and return what the caller gets."""
    request = cassette["request"]
    *_, model, operation = request["path"].split("/")
    body = {"body": json.dumps(request["body"])} if operation.startswith("invoke") else request["body"]

    def name_recording(request: Any, **_: Any) -> None:
        request.headers["x-cassette-id"] = cassette["id"]

    async with Side(colour, url) as side:
        if not hasattr(side.client, METHODS[operation]):
            pytest.skip("this release has no such operation")
        if "reasoning" in cassette["features"]:
            side.needs("ContentBlock", "reasoningContent")
        side.client.meta.events.register("before-send.bedrock-runtime.*", name_recording)
        try:
            return await read(await side.call(METHODS[operation], modelId=unquote(model), **body))
        except ParamValidationError:
            pytest.skip("this release has no such parameter")
        except ClientError as error:
            return error


@pytest.mark.cassettes(choose=all_of_bedrock)
@COLOURS
async def test_recorded_exchange_is_one_correct_span(
    cassette: Cassette, colour: str, replay: Any, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recorded exchange through the SDK has one span with the recorded values, and no content."""
    monkeypatch.setattr("recordings.STATES_FINISH_REASONS", STATES_FINISH_REASONS | {"converse", "invoke_model"})
    result = await ask(cassette, colour, replay.url)
    assert result
    found = await only(spans)
    wanted = expected_attributes(cassette)
    for family, ((inputs, outputs), reason, _) in NOT_READ.items():
        if cassette["surface"] == "invoke_model" and family in cassette["id"]:
            wanted["gen_ai.usage.input_tokens"], wanted["gen_ai.usage.output_tokens"] = inputs, outputs
            wanted["llmtrace.response.finish_reasons_raw"] = (reason,)
    if cassette["surface"] == "count_tokens":
        wanted["gen_ai.request.model"] = "does-not-exist-model-v1:0"
    assert {name: found.get(name) for name in wanted} == wanted
    assert found["gen_ai.provider.name"] == "aws.bedrock"
    status = cassette["response"]["status"]
    assert found["llmtrace.outcome"] == ("ok" if status < 400 else "error")
    assert found.get("http.response.status_code") == (None if status < 400 else status)
    assert found.get("llmtrace.stream.end") == ("exhausted" if cassette["streaming"] else None)
    assert "gen_ai.output.messages" not in found


@pytest.mark.cassettes(choose=lambda all_: [c for c in all_of_bedrock(all_) if c["response"]["status"] < 400])
@COLOURS
async def test_content_on_the_span_is_that_of_the_recording(
    cassette: Cassette, colour: str, replay: Any, content_spans: InMemorySpanExporter
) -> None:
    """With content on, the span has the text, the reasoning and the tool calls of the recording."""
    assert await ask(cassette, colour, replay.url)
    found = await only(content_spans)
    check_shapes(found)
    messages = output_messages(found)
    texts = [text for family, (*_, text) in NOT_READ.items() if family in cassette["id"]]
    if texts and cassette["surface"] == "invoke_model":
        assert messages[0]["text"].startswith(texts[0])
        return
    if "reasoning" in cassette["features"]:  # the recordings do not read the reasoning of Converse
        assert all(message.pop("reasoning") for message in messages)
        recorded = [{"text": each["text"], "tools": each["tools"]} for each in recorded_messages(cassette)]
        assert messages == recorded
        return
    assert messages == recorded_messages(cassette)
