"""Recorded OpenAI-form and Anthropic exchanges, sent again through the clients of OpenAI, Anthropic or the vendor."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from stainless_clients import MODULES, client_options

__all__ = [
    "COUNTING",
    "Cassette",
    "Request",
    "Seen",
    "all_of_both",
    "all_of_own_clients",
    "call_async",
    "call_sync",
    "expected_attributes",
    "one_of_each_kind",
    "own_request_of",
    "ran_in_background",
    "request_of",
]

Cassette = dict[str, Any]

# surface -> end of the path, resource method of the ``openai`` client
OPENAI = {
    "chat.completions": ("/chat/completions", "chat.completions.create"),
    "completions": ("/completions", "completions.create"),
    "embeddings": ("/embeddings", "embeddings.create"),
    "responses": ("/responses", "responses.create"),
    "responses.compact": ("/responses/compact", "responses.compact"),
    "responses.input_tokens": ("/responses/input_tokens", "responses.input_tokens.count"),
    "responses.retrieve": ("/responses/", "responses.retrieve"),
}

# surface -> resource method of the ``anthropic`` client
ANTHROPIC = {"messages": "messages.create", "messages.count_tokens": "messages.count_tokens"}


def is_openai(cassette: Cassette) -> bool:
    ending, _ = OPENAI.get(cassette["surface"], (None, None))
    if ending is None:
        return False
    path: str = cassette["request"]["path"]
    return ending in path if cassette["surface"] == "responses.retrieve" else path.endswith(ending)


def is_anthropic(cassette: Cassette) -> bool:
    return cassette["provider"] == "anthropic" and cassette["surface"] in ANTHROPIC


def is_in_openai_release(cassette: Cassette) -> bool:
    """Return true if the installed release has the surface: the first ones have no responses."""
    return not cassette["surface"].startswith("responses") or find_spec("openai.resources.responses") is not None


def all_of_both(cassettes: list[Cassette]) -> list[Cassette]:
    return [
        cassette
        for cassette in cassettes
        if (is_openai(cassette) and is_in_openai_release(cassette)) or is_anthropic(cassette)
    ]


def all_of_own_clients(cassettes: list[Cassette]) -> list[Cassette]:
    """Return the recordings of vendors that have a client of their own in the dialect of OpenAI."""
    return [each for each in cassettes if each["provider"] in ("groq", "together", "cerebras")]


def one_of_each_kind(cassettes: list[Cassette]) -> list[Cassette]:
    kinds: dict[tuple[Any, ...], Cassette] = {}
    for cassette in all_of_both(cassettes):
        failed = cassette["response"]["status"] >= 400
        broken = "error_in_stream" in cassette["features"]
        if failed and cassette["surface"] != "chat.completions":
            continue
        kinds.setdefault((cassette["surface"], cassette["streaming"], failed, broken), cassette)
    return list(kinds.values())


COUNTING = {"messages.count_tokens", "responses.input_tokens"}
STATES_FINISH_REASONS = {"chat.completions", "completions", "messages", "responses", "responses.retrieve"}
USAGE = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
}
USAGE_SUBSETS = {
    "cache_read_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_creation_input_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning_output_tokens": "gen_ai.usage.reasoning.output_tokens",
}


def expected_attributes(cassette: Cassette) -> dict[str, Any]:
    """Return the expected attributes of a recording; ``None`` for an attribute that must be absent."""
    expected, surface = cassette["expected"], cassette["surface"]
    wanted: dict[str, Any] = {
        "gen_ai.request.model": expected["request_model"],
        "gen_ai.response.model": expected["model"],
        # Some vendors answer with an empty identifier, which identifies nothing.
        "gen_ai.response.id": expected["response_id"] or None,
    }
    reasons = expected["finish_reasons"]
    if surface in STATES_FINISH_REASONS and reasons and all(reasons):
        # An answer that waits for its turn has no reason to end yet.
        wanted["llmtrace.response.finish_reasons_raw"] = None if reasons == ["queued"] else tuple(reasons)
    if surface in COUNTING:
        wanted["llmtrace.usage.counted_tokens"] = expected["usage"]["input_tokens"]
    if surface == "responses.retrieve":
        wanted["gen_ai.operation.name"] = "fetch_response"
    counts = expected["normalised"] or {}
    if surface in COUNTING or (surface == "responses.retrieve" and not ran_in_background(cassette)):
        counts = {}
    wanted |= {name: counts.get(key) for key, name in USAGE.items()}
    wanted |= {name: counts.get(key) or None for key, name in USAGE_SUBSETS.items()}
    return wanted


def ran_in_background(cassette: Cassette) -> bool:
    """Return True for an object that ran in the background, which reports its usage when it is fetched."""
    return re.search(r"background\W+true", json.dumps(cassette["response"])) is not None


@dataclass(frozen=True)
class Request:
    """Recorded request, in terms of a vendor's client."""

    sdk: str
    client: str
    client_options: dict[str, Any]
    method: str
    arguments: dict[str, Any]

    @property
    def error(self) -> Any:
        """Base class of the exceptions of the client."""
        return MODULES[self.sdk].APIError

    def open(self, prefix: str) -> Any:
        return getattr(MODULES[self.sdk], prefix + self.client)(**self.client_options)

    def bind(self, client: Any, raw: bool) -> Callable[[], Any]:
        *path, name = self.method.split(".")
        resource = client
        for step in path:
            resource = getattr(resource, step)
        parameters = inspect.signature(getattr(resource, name)).parameters
        arguments = {key: value for key, value in self.arguments.items() if key in parameters}
        if extra := {key: value for key, value in self.arguments.items() if key not in parameters}:
            arguments["extra_body"] = extra
        method = getattr(resource.with_raw_response if raw else resource, name)
        return lambda: method(**arguments)


def request_of(cassette: Cassette, url: str) -> Request:
    request = cassette["request"]
    options = {
        "api_key": "test-key",
        "max_retries": 0,
        "timeout": 30.0,
        "default_headers": {"x-cassette-id": cassette["id"]},
    }
    if is_anthropic(cassette):
        method = ANTHROPIC[cassette["surface"]]
        if request["query"].get("beta") == "true":
            method = f"beta.{method}"
        # Set a timeout explicitly: otherwise the client refuses large responses that are not streamed.
        arguments = {**request["body"], "timeout": 30.0}
        return Request("anthropic", "Anthropic", {**options, "base_url": url}, method, arguments)

    ending, method = OPENAI[cassette["surface"]]
    prefix, _, rest = request["path"].rpartition(ending)
    body = dict(request["body"] or {})
    if cassette["surface"] == "responses.retrieve":
        query = request["query"]
        body = {"response_id": rest, "stream": query["stream"] == "true"}
        if "starting_after" in query:
            body["starting_after"] = int(query["starting_after"])
    if "/deployments/" in prefix:
        body.setdefault("model", cassette["expected"]["request_model"])
        options |= {
            "azure_endpoint": url,
            "azure_deployment": prefix.rpartition("/")[2],
            "api_version": request["query"]["api-version"],
        }
        return Request("openai", "AzureOpenAI", options, method, body)
    return Request("openai", "OpenAI", {**options, "base_url": url + prefix}, method, body)


def own_request_of(cassette: Cassette, url: str) -> Request:
    """Return the recorded request in terms of the client of the vendor that was called."""
    sdk = cassette["provider"]
    _, method = OPENAI[cassette["surface"]]
    options = client_options(sdk)
    with MODULES[sdk].Client(**options) as client:  # some releases have the version in the base URL
        url += client.base_url.path.rstrip("/")
    options |= {"base_url": url, "default_headers": {"x-cassette-id": cassette["id"]}}
    return Request(sdk, "Client", options, method, dict(cassette["request"]["body"]))


@dataclass
class Seen:
    """Results and error that the caller gets from one call."""

    values: list[tuple[type, dict[str, Any]]] = field(default_factory=list)
    containers: list[type] = field(default_factory=list)
    error: Exception | None = None

    def add(self, value: Any) -> None:
        self.values.append((type(value), value.model_dump(warnings=False)))

    def comparable(self) -> tuple[Any, ...]:
        error = None if self.error is None else (type(self.error), str(self.error), vars(self.error).get("body"))
        return self.values, self.containers, error


def call_sync(request: Request, raw: bool) -> Seen:
    seen = Seen()
    with request.open("") as client:
        try:
            result = request.bind(client, raw)()
            seen.containers.append(type(result))
            if raw:
                result = result.parse()
            if hasattr(result, "model_dump"):
                seen.add(result)
            else:
                seen.containers.append(type(result))
                for item in result:
                    seen.add(item)
        except request.error as error:
            seen.error = error
    return seen


async def call_async(request: Request, raw: bool) -> Seen:
    seen = Seen()
    async with request.open("Async") as client:
        try:
            result = await request.bind(client, raw)()
            seen.containers.append(type(result))
            if raw:
                result = result.parse()
                if inspect.isawaitable(result):
                    result = await result
            if hasattr(result, "model_dump"):
                seen.add(result)
            else:
                seen.containers.append(type(result))
                async for item in result:
                    seen.add(item)
        except request.error as error:
            seen.error = error
    return seen
