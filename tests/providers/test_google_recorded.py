"""Every recorded Gemini exchange, made again through the real google-genai client."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

Cassette = dict[str, Any]

# What the first releases do not know yet, they say in a warning; interactions are called experimental.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is not a valid:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*[Ii]nteractions.*"),
]

SURFACES = ("generate_content", "embed_content", "count_tokens", "interactions")
USAGE = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
}
USAGE_SUBSETS = {
    "cache_read_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "reasoning_output_tokens": "gen_ai.usage.reasoning.output_tokens",
    "input_audio_tokens": "gen_ai.usage.audio.input_tokens",
    "output_audio_tokens": "gen_ai.usage.audio.output_tokens",
    "tool_use_input_tokens": "llmtrace.usage.tool_input_tokens",
}
PARAMS = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_tokens",
    "seed": "seed",
}


def knows(cassette: Cassette) -> bool:
    """Whether the installed release can make the call: the first ones have no interactions, and embed otherwise."""
    if cassette["surface"] == "interactions":
        return hasattr(genai.Client, "interactions")
    return not cassette["request"]["path"].endswith(":embedContent") or hasattr(genai.Client, "interactions")


def all_of_google(cassettes: list[Cassette]) -> list[Cassette]:
    return [one for one in cassettes if one["provider"] == "google" and one["surface"] in SURFACES and knows(one)]


def vertex(cassette: Cassette) -> bool:
    return "/projects/" in cassette["request"]["path"]


# --------------------------------------------------------------------------
# How a recording is asked for again
# --------------------------------------------------------------------------
@cache
def trust() -> ssl.SSLContext:
    return ssl.create_default_context()


def client(url: str, version: str, project: str | None, location: str | None) -> Any:
    # To load the certificates takes longer than all the rest of a test.
    known = types.HttpOptions.model_fields
    more = {name: {"verify": trust()} for name in ("client_args", "async_client_args") if name in known}
    options = types.HttpOptions(base_url=url, api_version=version, **more)
    if project is None:
        return genai.Client(api_key="x", http_options=options)
    return genai.Client(
        vertexai=True, project=project, location=location, credentials=Credentials(token="x"), http_options=options
    )


def client_for(cassette: Cassette, url: str) -> Any:
    parts = cassette["request"]["path"].split("/")
    return client(url, parts[1], *((parts[3], parts[5]) if vertex(cassette) else (None, None)))


async def closed(asked: Any) -> None:
    if hasattr(asked.aio, "aclose"):
        await asked.aio.aclose()


def arguments_for(cassette: Cassette) -> tuple[str, dict[str, Any]]:
    """The method of the client's and what it is given."""
    body, surface = cassette["request"]["body"], cassette["surface"]
    headers = {"x-cassette-id": cassette["id"]}
    if surface == "interactions":
        return "interactions.create", {**body, "extra_headers": headers}
    config: dict[str, Any] = {"http_options": {"headers": headers}}
    given = {"model": cassette["expected"]["request_model"], "contents": "hello", "config": config}
    if surface == "count_tokens":
        return "models.count_tokens", given
    if surface == "embed_content":
        first = body["requests"][0] if "requests" in body else body
        config |= {name: value for name, value in first.items() if name == "outputDimensionality"}
        return "models.embed_content", given
    config |= {name: value for name, value in body.get("generationConfig", {}).items() if name in PARAMS}
    return "models.generate_content_stream" if cassette["streaming"] else "models.generate_content", given


@dataclass
class Seen:
    """What the caller got."""

    values: list[Any] = field(default_factory=list)
    error: Exception | None = None

    def add(self, value: Any) -> None:
        self.values.append((type(value), value.model_dump(mode="json", warnings=False)))

    def comparable(self) -> Any:
        return [_steady(value) for value in self.values], type(self.error), str(self.error)


def _steady(value: Any) -> Any:
    """Without the headers, which carry the time of day."""
    kind, shown = value
    return kind, {name: inner for name, inner in shown.items() if name != "sdk_http_response"}


def _method(client: Any, name: str) -> Any:
    resource, method = name.split(".")
    return getattr(getattr(client, resource), method)


def call_sync(cassette: Cassette, url: str) -> Seen:
    seen = Seen()
    asked = client_for(cassette, url)
    method, arguments = arguments_for(cassette)
    try:
        result = _method(asked, method)(**arguments)
        for value in result if cassette["streaming"] else [result]:
            seen.add(value)
    except Exception as error:
        seen.error = error
    return seen


async def call_async(cassette: Cassette, url: str) -> Seen:
    seen = Seen()
    asked = client_for(cassette, url)
    method, arguments = arguments_for(cassette)
    try:
        result = await _method(asked.aio, method)(**arguments)
        if cassette["streaming"]:
            async for value in result:
                seen.add(value)
        else:
            seen.add(result)
    except Exception as error:
        seen.error = error
    await closed(asked)
    return seen


# --------------------------------------------------------------------------
# What the span must say
# --------------------------------------------------------------------------
def expected_attributes(cassette: Cassette) -> dict[str, Any]:
    """The attributes under test with their true values; ``None`` where there must be none."""
    expected, surface = cassette["expected"], cassette["surface"]
    wanted: dict[str, Any] = {
        "gen_ai.provider.name": "gcp.vertex_ai" if vertex(cassette) else "gcp.gemini",
        "gen_ai.request.model": expected["request_model"],
        "gen_ai.response.model": expected["model"],
        "gen_ai.response.id": expected["response_id"],
        "gen_ai.request.stream": True if cassette["streaming"] else None,
        "llmtrace.response.finish_reasons_raw": tuple(expected["finish_reasons"]) or None,
    }
    if expected["finish_reasons"] == ["in_progress"]:
        wanted["llmtrace.response.finish_reasons_raw"] = None
    counts = expected["normalised"] or {}
    wanted |= {name: counts.get(key) for key, name in USAGE.items()}
    wanted |= {name: counts.get(key) or None for key, name in USAGE_SUBSETS.items()}
    if surface == "count_tokens":
        wanted["llmtrace.usage.counted_tokens"] = (expected["usage"] or {}).get("totalTokens")
    if surface == "generate_content":
        asked = (cassette["request"]["body"] or {}).get("generationConfig", {})
        wanted |= {f"gen_ai.request.{name}": asked.get(key) for key, name in PARAMS.items()}
    return wanted


def check(cassette: Cassette, seen: Seen, finished: tuple[ReadableSpan, ...]) -> None:
    assert len(finished) == 1, [span.name for span in finished]
    (span,) = finished
    attributes = dict(span.attributes or {})
    wanted = expected_attributes(cassette)
    assert {name: attributes.get(name) for name in wanted} == wanted
    status = cassette["response"]["status"]
    if status >= 400:
        assert isinstance(seen.error, errors.APIError)
        assert span.status.status_code is StatusCode.ERROR
        assert attributes["error.type"] == str(status)
        assert attributes["http.response.status_code"] == status
        assert attributes["llmtrace.error.code"] == cassette["expected"]["error"]["body"].get("status")
    else:
        assert seen.error is None
        assert seen.values
        assert span.status.status_code is StatusCode.UNSET
        assert "error.type" not in attributes


# --------------------------------------------------------------------------
# Tests
# --------------------------------------------------------------------------
@pytest.mark.cassettes(choose=all_of_google)
def test_sync(cassette: Cassette, replay: Any, request: pytest.FixtureRequest) -> None:
    """A recorded exchange made through the sync client leaves one true span, and the caller what it has without us."""
    alone = call_sync(cassette, replay.url)
    exporter = request.getfixturevalue("spans")
    seen = call_sync(cassette, replay.url)
    check(cassette, seen, exporter.get_finished_spans())
    assert seen.comparable() == alone.comparable()
    entry = replay.log[-1]
    assert (entry["cassette"], entry["path"]) == (cassette["id"], cassette["request"]["path"])


@pytest.mark.cassettes(choose=all_of_google)
def test_async(cassette: Cassette, replay: Any, request: pytest.FixtureRequest) -> None:
    """A recorded exchange made through the async client leaves one true span, and the caller what it has without us."""
    with asyncio.Runner() as runner:
        alone = runner.run(call_async(cassette, replay.url))
        exporter = request.getfixturevalue("spans")
        seen = runner.run(call_async(cassette, replay.url))
    check(cassette, seen, exporter.get_finished_spans())
    assert seen.comparable() == alone.comparable()
