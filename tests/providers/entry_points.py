"""Public methods of the SDKs that send a request to a traced path.

Every method of every resource of a client is called with generated arguments, up to the function that sends requests.
``python tests/providers/entry_points.py`` prints the page ``docs/reference/coverage.md`` for the installed releases.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from typing import Any

from answers import QUESTION
from mistralai.client import Mistral
from mistralai.client.basesdk import BaseSDK
from pydantic import BaseModel

from llmtrace.model.wire_format import WireFormat
from llmtrace.providers.contract import Provider
from llmtrace.providers.registry import PROVIDERS
from stainless_clients import MODULES, make_client

READINGS = ("plain", "stream", "raw", "raw stream", "streaming response")


class Answer(BaseModel):
    """Structured output."""

    text: str


#: What the made-up arguments are, by name; anything else is a short text.
ARGUMENTS: dict[str, Any] = {
    "messages": QUESTION,
    "max_tokens": 9,
    "file": ("a.wav", b"RIFF"),
    "image": ("a.png", b"PNG"),
    "tools": [],
    "response_format": Answer,
    "events": [{"type": "agent.session.input.message", "input": []}],
}


HEAD = """# What is traced

Every public method of a client that sends a request to a traced path. The tests call each of them once and check that
it produces one span. `python tests/providers/entry_points.py` writes this page. Methods that are not listed
pass through untouched: files, the creation of batches and administration. [WebSockets](../how-to/realtime.md) are
traced too, and so is each result of a [batch of Anthropic](../how-to/anthropic.md#message-batches) or
[Gemini](../how-to/gemini.md#batches), and each turn of an [agent that OpenAI hosts](../how-to/openai.md#hosted-agents).

*raw* is `with_raw_response`, *streaming response* `with_streaming_response`. `.stream()` helpers are under *stream*.
The clients for Azure, Amazon Bedrock, Google Cloud and Foundry have the same methods and go the same way.
The methods of `boto3` are in [Amazon Bedrock](../how-to/bedrock.md#which-operations-are-traced).
"""


TAIL = """
## Not traced, and why

- **The `replicate` library.** A prediction reports the seconds that it took and no tokens, and no price list has its
  hardware: a span would have no cost. The output comes by polling, or from a second request for the stream. The last
  release, 1.0.7, is of May 2025; 2.0 is a beta of another library, which Stainless generates.
- **The `writer-sdk` library**, and others that Stainless or Speakeasy generate: they have no row yet.
  [A row of your own](../how-to/add-a-provider.md) is a few lines.
- **`videos` of OpenAI.** The API ended on 24 September 2026.
- **`beta.agents.sessions.retrieve` of OpenAI.** It repeats the tokens of turns, which are
  [counted one by one](../how-to/openai.md#hosted-agents).
- **`beta.chatkit` of OpenAI.** It reports no tokens: a session of ChatKit runs in the browser.
- **`beta.sessions` of Anthropic.** Its events have the tokens of each model request and do not name the model. They are
  not read yet.
- **Results of batches on Vertex AI.** They are in Cloud Storage or BigQuery, and
  [do not pass the library](../how-to/gemini.md#batches).
"""


@dataclass(frozen=True)
class EntryPoint:
    """Public method that sends a request to a traced path."""

    sdk: str
    name: str
    """Dotted, from the client."""
    method: str
    path: str
    readings: tuple[str, ...]

    @property
    def wire(self) -> WireFormat:
        found = provider_named(self.sdk).route(self.method, self.path)
        assert found is not None
        return replace(found, api=None)

    @property
    def operation(self) -> str:
        return self.wire.request({name: ARGUMENTS.get(name, "m") for name in ("input", "events")}).operation


class _Reached(BaseException):
    """Signal that a request has reached the function that sends it."""

    def __init__(self, method: str, url: str) -> None:
        self.method, self.url = method.lower(), url


def provider_named(name: str) -> Provider:
    """Return the provider with a name."""
    return next(provider for provider in PROVIDERS if provider.name == name)


def arguments_for(function: Any) -> dict[str, Any]:
    """Return a value for every required argument."""
    return {
        name: ARGUMENTS.get(name, "m")
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and (parameter.default is parameter.empty or name in ("model", "input", "messages", "tools"))
    }


def _resources(owner: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    kind = type(owner)
    for name in sorted(dir(owner)):
        if name.startswith(("_", "with_")) or not (name in vars(owner) or _is_property(kind, name)):
            continue
        try:
            found = getattr(owner, name)
        except Exception:
            continue
        if type(found).__module__.partition(".")[0] in MODULES and hasattr(found, "_client"):
            yield f"{path}{name}", found
            yield from _resources(found, f"{path}{name}.")


def _is_property(kind: type, name: str) -> bool:
    found = inspect.getattr_static(kind, name, None)
    return isinstance(found, property) or type(found).__name__ == "cached_property"


def _methods(resource: Any) -> Iterator[str]:
    for name in sorted(dir(type(resource))):
        found = inspect.getattr_static(type(resource), name)
        if not name.startswith(("_", "with_")) and inspect.isfunction(found):
            yield name


def _called(function: Any) -> _Reached | None:
    """Return the request that a call of a synchronous method sends, if it sends one."""
    try:
        made = function(**arguments_for(function))
        if hasattr(made, "__enter__"):
            with made:
                pass
        elif hasattr(made, "__next__"):
            next(made)
    except _Reached as reached:
        return reached
    except Exception:
        # It wanted better arguments than these.
        return None
    return None


def _stop(_: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
    raise _Reached(options.method, options.url)


def _readings(resource: Any, name: str) -> tuple[str, ...]:
    if name == "stream":
        return ("stream",)
    found = {"plain"}
    method = getattr(resource, name)
    streams = name != "parse" and "stream" in inspect.signature(method).parameters
    # Fireworks sends ``stream`` in messages, but does not return the stream.
    streams = streams and "stream_cls=" in inspect.getsource(method)
    if streams:
        found.add("stream")
    if hasattr(getattr(resource, "with_raw_response", None), name):
        found |= {"raw"} | ({"raw stream"} if streams else set())
    if hasattr(getattr(resource, "with_streaming_response", None), name):
        found.add("streaming response")
    return tuple(one for one in READINGS if one in found)


@cache
def mistral_entry_points() -> tuple[EntryPoint, ...]:
    """Return the methods of Mistral's client. Each has a twin with ``_async``."""
    client = Mistral(api_key="k")
    found = []
    original, BaseSDK.do_request = vars(BaseSDK)["do_request"], _stop_request
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for path, resource in _mistral_resources(client):
                for name in _methods(resource):
                    # ``parse`` passes its other arguments on.
                    arguments = {"model": "m", "messages": QUESTION} if name.startswith("parse") else {}
                    function = partial(getattr(resource, name), **arguments)
                    reached = None if name.endswith("_async") else _called(function)
                    if reached is None or provider_named("mistral").route(reached.method, reached.url) is None:
                        continue
                    readings: tuple[str, ...] = ("stream",) if name.endswith("stream") else ("plain",)
                    if path == "responses":
                        readings = ("plain", "stream")
                    found.append(EntryPoint("mistral", f"{path}.{name}", reached.method, reached.url, readings))
    finally:
        BaseSDK.do_request = original
        client.__exit__(None, None, None)
    return tuple(found)


def _mistral_resources(owner: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name in sorted(type(owner).__annotations__):
        resource = getattr(owner, name, None)
        if isinstance(resource, BaseSDK) and name != "parent_ref":
            yield f"{path}{name}", resource
            yield from _mistral_resources(resource, f"{path}{name}.")


def _stop_request(*args: Any, request: Any, **kwargs: Any) -> Any:
    raise _Reached(request.method, request.url.path)


@cache
def entry_points(sdk: str) -> tuple[EntryPoint, ...]:
    client = make_client(sdk, "sync", "http://127.0.0.1:9")
    found = []
    base = MODULES[sdk]._base_client.SyncAPIClient
    original, base.request = vars(base)["request"], _stop
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for path, resource in _resources(client):
                for name in _methods(resource):
                    reached = _called(getattr(resource, name))
                    if reached is None or provider_named(sdk).route(reached.method, reached.url) is None:
                        continue
                    url = reached.url.partition("?")[0]
                    found.append(EntryPoint(sdk, f"{path}.{name}", reached.method, url, _readings(resource, name)))
    finally:
        base.request = original
        client.close()
    return tuple(found)


def page() -> str:
    """Return the table of traced methods for the installed releases."""
    out = [HEAD.rstrip()]
    for sdk in MODULES:
        distribution = provider_named(sdk).distribution
        out += [f"\n## {distribution} {version(distribution)}\n", *_table(entry_points(sdk), READINGS)]
    out += [f"\n## mistralai {version('mistralai')}\n", *_table(mistral_entry_points(), READINGS[:2])]
    return "\n".join(out) + "\n" + TAIL


def _table(points: tuple[EntryPoint, ...], readings: tuple[str, ...]) -> Iterator[str]:
    yield "| entry point | path | span | " + " | ".join(readings) + " |"
    yield "|---|---|---|" + "---|" * len(readings)
    for one in points:
        cells = ["sync, async" if reading in one.readings else "" for reading in readings]
        operation = one.operation
        fetched = operation == "fetch_response" or one.method == "get"
        path = one.path.replace("/m", "/{id}") if fetched else one.path
        yield f"| `{one.name}` | `{path}` | `{operation}` | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    print(page(), end="")
