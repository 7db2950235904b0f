"""Recorded Gemini exchanges, sent again through the google-genai client."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

__all__ = [
    "IGNORED_WARNINGS",
    "PARAMS",
    "Cassette",
    "Seen",
    "all_of_google",
    "call_async",
    "call_sync",
    "make_client",
    "uses_vertex",
]

# The first releases warn of values that they do not know; all releases call interactions experimental.
IGNORED_WARNINGS = [
    pytest.mark.filterwarnings("ignore:.*is not a valid:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*[Ii]nteractions.*"),
]

Cassette = dict[str, Any]

SURFACES = ("generate_content", "embed_content", "count_tokens", "interactions")

PARAMS = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_tokens",
    "seed": "seed",
}


def is_supported(cassette: Cassette) -> bool:
    """Return true if the installed release supports the call: the first ones embed differently."""
    if cassette["surface"] == "interactions":
        return hasattr(genai.Client, "interactions")
    return not cassette["request"]["path"].endswith(":embedContent") or hasattr(genai.Client, "interactions")


def all_of_google(cassettes: list[Cassette]) -> list[Cassette]:
    return [
        cassette
        for cassette in cassettes
        if cassette["provider"] == "google" and cassette["surface"] in SURFACES and is_supported(cassette)
    ]


def uses_vertex(cassette: Cassette) -> bool:
    return "/projects/" in cassette["request"]["path"]


@cache
def trust() -> ssl.SSLContext:
    return ssl.create_default_context()


def make_client(url: str, version: str, project: str | None, location: str | None) -> Any:
    # Share one SSL context: loading the certificates takes longer than the rest of a test.
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
    return make_client(url, parts[1], *((parts[3], parts[5]) if uses_vertex(cassette) else (None, None)))


def close(client: Any) -> None:
    """Close the connections of a client. The oldest releases cannot."""
    if hasattr(client, "close"):
        client.close()


async def close_async(client: Any) -> None:
    """Close the connections of a client, those of its asynchronous half too."""
    if hasattr(client.aio, "aclose"):
        await client.aio.aclose()
    close(client)


def arguments_for(cassette: Cassette) -> tuple[str, dict[str, Any]]:
    """Return the name of the client's method and its arguments."""
    body, surface = cassette["request"]["body"], cassette["surface"]
    headers = {"x-cassette-id": cassette["id"]}
    if surface == "interactions":
        return "interactions.create", {**body, "extra_headers": headers}
    config: dict[str, Any] = {"http_options": {"headers": headers}}
    arguments = {"model": cassette["expected"]["request_model"], "contents": "hello", "config": config}
    if surface == "count_tokens":
        return "models.count_tokens", arguments
    if surface == "embed_content":
        first = body["requests"][0] if "requests" in body else body
        config |= {name: value for name, value in first.items() if name == "outputDimensionality"}
        return "models.embed_content", arguments
    config |= {name: value for name, value in body.get("generationConfig", {}).items() if name in PARAMS}
    return "models.generate_content_stream" if cassette["streaming"] else "models.generate_content", arguments


@dataclass
class Seen:
    """Results or error that the caller got from one call."""

    values: list[Any] = field(default_factory=list)
    error: Exception | None = None

    def add(self, value: Any) -> None:
        self.values.append((type(value), value.model_dump(mode="json", warnings=False)))

    def comparable(self) -> Any:
        return [_steady(value) for value in self.values], type(self.error), str(self.error)


def _steady(value: Any) -> Any:
    """Return a value without its headers, which include the time of day."""
    kind, shown = value
    return kind, {name: inner for name, inner in shown.items() if name != "sdk_http_response"}


def _method(client: Any, name: str) -> Any:
    resource, method = name.split(".")
    return getattr(getattr(client, resource), method)


def call_sync(cassette: Cassette, url: str) -> Seen:
    seen = Seen()
    client = client_for(cassette, url)
    method, arguments = arguments_for(cassette)
    try:
        result = _method(client, method)(**arguments)
        for value in result if cassette["streaming"] else [result]:
            seen.add(value)
    except Exception as error:
        seen.error = error
    close(client)
    return seen


async def call_async(cassette: Cassette, url: str) -> Seen:
    seen = Seen()
    client = client_for(cassette, url)
    method, arguments = arguments_for(cassette)
    try:
        result = await _method(client.aio, method)(**arguments)
        if cassette["streaming"]:
            async for value in result:
                seen.add(value)
        else:
            seen.add(result)
    except Exception as error:
        seen.error = error
    await close_async(client)
    return seen
