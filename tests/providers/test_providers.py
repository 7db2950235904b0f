"""Provider names on spans, and one correct span for every client class of both SDKs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import anthropic
import openai
import pytest
from answers import CHAT, CHAT_CHUNKS, MESSAGE, MESSAGE_EVENTS, QUESTION, RESPONSE, RESPONSE_EVENTS, sse
from loopback import Loopback, json_answer, stream_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aws_frames import aws_frames
from llmtrace.providers.hosts import provider_of

# Invalid credentials, with which requests can be signed.
AWS = {"aws_access_key": "AKIDEXAMPLE", "aws_secret_key": "secret", "aws_region": "us-east-1"}


@dataclass(frozen=True)
class Kind:
    """Client class, its factory, and the provider it calls."""

    provider: str
    make: Callable[[Any, str, str], Any]
    """From the SDK, the prefix of the colour and the server's address."""
    wire: str = "messages"
    frames: bool = False


def _anthropic(name: str, suffix: str = "", **options: Any) -> Callable[[Any, str, str], Any]:
    return lambda sdk, colour, url: getattr(sdk, colour + name)(base_url=url + suffix, max_retries=0, **options)


def _with_provider(name: str, **options: Any) -> Callable[[Any, str, str], Any]:
    def make(sdk: Any, colour: str, url: str) -> Any:
        try:
            factory = getattr(import_module(f"openai.providers.{name}"), name)
        except ModuleNotFoundError:
            raise AttributeError(name) from None
        return getattr(sdk, f"{colour}OpenAI")(provider=factory(base_url=f"{url}/v1", **options), max_retries=0)

    return make


KINDS = {
    "OpenAI": Kind("openai", lambda sdk, c, url: getattr(sdk, c + "OpenAI")(base_url=url, api_key="k"), "chat"),
    "AzureOpenAI": Kind(
        "azure.ai.openai",
        lambda sdk, c, url: getattr(sdk, c + "AzureOpenAI")(azure_endpoint=url, api_version="1", api_key="k"),
        "chat",
    ),
    "AzureOpenAI-deployment": Kind(
        "azure.ai.openai",
        lambda sdk, c, url: getattr(sdk, c + "AzureOpenAI")(
            azure_endpoint=url, azure_deployment="d", api_version="1", api_key="k"
        ),
        "chat",
    ),
    "BedrockOpenAI": Kind(
        "aws.bedrock",
        lambda sdk, c, url: getattr(sdk, c + "BedrockOpenAI")(base_url=url, api_key="k", aws_region="us-east-1"),
        "responses",
    ),
    "OpenAI-bedrock": Kind("aws.bedrock", _with_provider("bedrock", api_key="k", region="us-east-1"), "responses"),
    "OpenAI-vertex": Kind("gcp.vertex_ai", _with_provider("vertex", token_provider=lambda: "t"), "responses"),
    "Anthropic": Kind("anthropic", _anthropic("Anthropic", api_key="k")),
    "AnthropicBedrock": Kind("aws.bedrock", _anthropic("AnthropicBedrock", **AWS), frames=True),
    "AnthropicBedrockMantle": Kind("aws.bedrock", _anthropic("AnthropicBedrockMantle", **AWS)),
    "AnthropicVertex": Kind(
        "gcp.vertex_ai", _anthropic("AnthropicVertex", region="us-east5", project_id="p", access_token="t")
    ),
    "AnthropicAWS": Kind("anthropic", _anthropic("AnthropicAWS", workspace_id="w", **AWS)),
    "AnthropicFoundry": Kind("anthropic", _anthropic("AnthropicFoundry", api_key="k")),
    "AnthropicGoogleCloud": Kind(
        "anthropic",
        _anthropic("AnthropicGoogleCloud", project="p", location="l", workspace_id="w", token_provider=lambda: "t"),
    ),
}
ANSWERS: dict[str, Any] = {
    "chat": (CHAT, CHAT_CHUNKS),
    "responses": (RESPONSE, RESPONSE_EVENTS),
    "messages": (MESSAGE, MESSAGE_EVENTS),
}


def make_client(kind: Kind, colour: str, url: str) -> Any:
    sdk = anthropic if kind.wire == "messages" else openai
    try:
        return kind.make(sdk, "" if colour == "sync" else "Async", url)
    except AttributeError:
        pytest.skip("this release has no such client")


def resource_of(kind: Kind, client: Any) -> Any:
    match kind.wire:
        case "chat":
            return client.chat.completions, {"messages": QUESTION}
        case "responses":
            return client.responses, {"input": "hi"}
        case _:
            return client.messages, {"messages": QUESTION, "max_tokens": 9}


async def resolve(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def drained(stream: Any) -> list[Any]:
    return [item async for item in stream] if hasattr(stream, "__aiter__") else list(stream)


@pytest.mark.parametrize("reading", ["plain", "raw", "stream", "raw-stream"])
@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("kind", KINDS)
async def test_every_client_class_gives_one_span(
    loopback: Loopback, spans: InMemorySpanExporter, kind: str, colour: str, reading: str
) -> None:
    """A call of every client class is one span with provider, model and usage, however it is read."""
    known = KINDS[kind]
    answer, events = ANSWERS[known.wire]
    streamed = reading.endswith("stream")
    if known.frames and streamed:
        loopback.will(stream_answer(aws_frames(events), kind="application/vnd.amazon.eventstream"))
    elif streamed:
        loopback.will(stream_answer(sse(events, done=known.wire == "chat")))
    else:
        loopback.will(json_answer(answer))
    client = make_client(known, colour, loopback.url)
    resource, arguments = resource_of(known, client)
    create = (resource.with_raw_response if reading.startswith("raw") else resource).create
    result = await resolve(create(model="m", **arguments, **({"stream": True} if streamed else {})))
    if reading.startswith("raw"):
        result = await resolve(result.parse())
    if streamed:
        assert len(await drained(result)) >= len(events) - 1
    else:
        assert result.id == answer["id"]
    await resolve(client.close())

    (span,) = spans.get_finished_spans()
    got = dict(span.attributes or {})
    assert span.name == "chat m"
    assert got["gen_ai.provider.name"] == known.provider
    assert got["gen_ai.request.model"] == "m"
    assert got["gen_ai.response.model"] == answer["model"]
    assert got["gen_ai.response.id"] == answer["id"]
    assert (got["gen_ai.usage.input_tokens"], got["gen_ai.usage.output_tokens"]) == (7, 3)
    assert got["server.address"] == "127.0.0.1"
    assert got["llmtrace.outcome"] == "ok"
    assert got.get("llmtrace.stream.end") == ("exhausted" if streamed else None)
    assert len(loopback.received) == 1


def exported_clients(sdk: Any) -> set[str]:
    base = (sdk._base_client.SyncAPIClient, sdk._base_client.AsyncAPIClient)
    public = (getattr(sdk, name) for name in dir(sdk) if not name.startswith("_"))
    # By type() and not isinstance(): openai has proxies among its names that make a client when looked at.
    found = {value.__name__ for value in public if issubclass(type(value), type) and issubclass(value, base)}
    return {name.removeprefix("Async") for name in found}


@pytest.mark.parametrize("sdk", [openai, anthropic], ids=lambda sdk: sdk.__name__)
def test_every_exported_client_class_is_tested(sdk: Any) -> None:
    """No release exports a client class that the tests leave out."""
    assert exported_clients(sdk) <= {name.partition("-")[0] for name in KINDS}


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
        ("prod.openai.azure.com", "azure.ai.openai"),
        ("prod.services.ai.azure.com", "azure.ai.openai"),
        ("llama.eastus.models.ai.azure.com", "azure.ai.inference"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
        ("bedrock-mantle.us-east-1.api.aws", "aws.bedrock"),
        ("my-vllm-1234.us-east-1.elb.amazonaws.com", "openai"),
        ("us-central1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("api.groq.com", "groq"),
        ("api.deepseek.com", "deepseek"),
        ("api.x.ai", "x_ai"),
        ("us-east-1.api.x.ai", "x_ai"),
        ("api.cohere.ai", "cohere"),
        ("api.together.ai", "together_ai"),
        ("codestral.mistral.ai", "mistral_ai"),
        ("api.mistral.ai", "mistral_ai"),
        ("api.perplexity.ai", "perplexity"),
        ("api.moonshot.ai", "moonshot_ai"),
        ("localhost", "openai"),
        (None, "openai"),
    ],
)
def test_provider_is_identified_by_host(host: str | None, provider: str) -> None:
    """If the class is not specific, the host decides, else the vendor of the SDK."""
    assert provider_of(SimpleNamespace(), host, "openai") == provider


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.anthropic.com", "anthropic"),
        ("aws-external-anthropic.us-east-1.api.aws", "anthropic"),
        ("prod.services.ai.azure.com", "anthropic"),
        ("api.deepseek.com", "deepseek"),
    ],
)
def test_anthropic_client_on_cloud_host_is_anthropic(host: str, provider: str) -> None:
    """Anthropic's client against a cloud that resells Anthropic's own service calls Anthropic."""
    assert provider_of(SimpleNamespace(), host, "anthropic") == provider


def test_client_class_overrides_host(loopback: Loopback) -> None:
    """A subclass of a known class calls the provider of that class, even on another provider's host."""

    class Mine(openai.AzureOpenAI):
        pass

    with Mine(azure_endpoint=loopback.url, api_version="1", api_key="k") as client:
        assert provider_of(client, "api.groq.com", "openai") == "azure.ai.openai"
