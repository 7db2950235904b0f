"""LiteLLM under test: five vendors, what each responds, and how a program calls it."""

from __future__ import annotations

import inspect
import json
import os
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import pytest
from answers import CHAT, CHAT_CHUNKS, MESSAGE, MESSAGE_EVENTS, QUESTION, sse
from loopback import ServerResponse, json_answer, stream_answer

from aws_frames import aws_frame, aws_frames

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else the import downloads a price list
if find_spec("litellm") is None:
    pytest.skip("needs litellm", allow_module_level=True)


class _LiteLLM:
    """The module ``litellm``. Its import takes seconds, and not every process that collects the tests runs them."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module("litellm"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(import_module("litellm"), name, value)


litellm: Any = _LiteLLM()

OLDEST = version("litellm") == "1.72.0"
COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])

MESSAGE_USAGE = {"input_tokens": 60, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 10}
GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hé"}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {
        "promptTokenCount": 100,
        "candidatesTokenCount": 15,
        "thoughtsTokenCount": 5,
        "totalTokenCount": 120,
    },
    "modelVersion": "gemini-2.5-flash",
}
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


@dataclass(frozen=True)
class Vendor:
    """Vendor that LiteLLM calls: a model, the end of the base URL, the dialect, and our name of the provider."""

    model: str
    base: str
    dialect: str
    provider: str

    @property
    def name(self) -> str:
        """The model as the vendor names it."""
        return self.model.partition("/")[2].removeprefix("invoke/")


VENDORS = {
    "openai": Vendor("openai/gpt-4o-mini", "/v1", "chat", "openai"),
    "anthropic": Vendor("anthropic/claude-sonnet-4-5", "", "messages", "anthropic"),
    "gemini": Vendor("gemini/gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash", "gemini", "gcp.gemini"),
    "mistral": Vendor("mistral/mistral-small-latest", "/v1", "chat", "mistral_ai"),
    "openrouter": Vendor("openrouter/openai/gpt-4o-mini", "/v1", "chat", "openrouter"),
    "bedrock": Vendor("bedrock/us.amazon.nova-lite-v1:0", "", "converse", "aws.bedrock"),
    "invoke": Vendor("bedrock/invoke/anthropic.claude-3-haiku-20240307-v1:0", "", "invoke", "aws.bedrock"),
    "ollama": Vendor("ollama/llama3", "", "ollama", "ollama"),
    "ollama-chat": Vendor("ollama_chat/llama3", "", "ollama", "ollama"),
}
EACH_VENDOR = pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)


def good(vendor: Vendor, *, stream: bool = False, **usage: Any) -> ServerResponse:
    """Return what a vendor responds: 100 tokens in, 20 out."""
    if vendor.dialect == "gemini":
        return stream_answer(sse([GEMINI])) if stream else json_answer(GEMINI)
    if vendor.dialect == "converse":
        return _converse(stream=stream)
    if vendor.dialect == "ollama":
        answer = {"model": vendor.name, "message": {"role": "assistant", "content": "hé"}, "response": "hé"}
        end = {**answer, "done": True, "done_reason": "stop", "prompt_eval_count": 100, "eval_count": 20}
        lines = [json.dumps(each).encode() + b"\n" for each in ({**answer, "done": False}, end)]
        return stream_answer(lines, kind="application/x-ndjson") if stream else json_answer(end)
    if vendor.dialect in ("messages", "invoke"):
        counts = {**MESSAGE_USAGE, "output_tokens": 20, **usage}
        if not stream:
            return json_answer({**MESSAGE, "model": vendor.name, "usage": counts})
        start, end = MESSAGE_EVENTS[0], {**MESSAGE_EVENTS[5], "usage": {"output_tokens": 20}}
        message = {**start["message"], "model": vendor.name, "usage": {**counts, "output_tokens": 1}}
        events = [{**start, "message": message}, *MESSAGE_EVENTS[1:5], end, MESSAGE_EVENTS[6]]
        return _framed(aws_frames(events)) if vendor.dialect == "invoke" else stream_answer(sse(events))
    counts = {**USAGE, **usage}
    if not stream:
        return json_answer({**CHAT, "model": vendor.name, "usage": counts})
    chunks = [{**chunk, "model": vendor.name} for chunk in CHAT_CHUNKS]
    return stream_answer(sse([*chunks[:3], {**chunks[3], "usage": counts}], done=True))


def _framed(frames: list[bytes]) -> ServerResponse:
    return stream_answer(frames, kind="application/vnd.amazon.eventstream")


def _converse(*, stream: bool) -> ServerResponse:
    usage = {"inputTokens": 100, "outputTokens": 20, "totalTokens": 120}
    if not stream:
        message = {"role": "assistant", "content": [{"text": "hé"}]}
        body = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1}}
        return json_answer(body)
    events = {
        "messageStart": {"role": "assistant"},
        "contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "hé"}},
        "contentBlockStop": {"contentBlockIndex": 0},
        "messageStop": {"stopReason": "end_turn"},
        "metadata": {"usage": usage, "metrics": {"latencyMs": 1}},
    }
    return _framed([aws_frame(*event) for event in events.items()])


def arguments(vendor: Vendor, url: str, **more: Any) -> dict[str, Any]:
    """Return the arguments of a completion."""
    key: dict[str, Any] = {"api_key": "k"}
    if vendor.provider == "aws.bedrock":
        key = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "aws_region_name": "us-east-1"}
    return {"model": vendor.model, "messages": QUESTION, **key, "api_base": url + vendor.base, **more}


async def call(name: str, colour: str, owner: Any = litellm, /, **options: Any) -> Any:
    """Call a function of LiteLLM, or its asynchronous form."""
    result = getattr(owner, name if colour == "sync" else f"a{name}")(**options)
    return await result if inspect.isawaitable(result) else result


async def ask(colour: str, *, stream: bool = False, owner: Any = litellm, **options: Any) -> list[Any]:
    """Return the chunks of a completion, or the one response, without ids and times."""
    result = await call("completion", colour, owner, **options, **({"stream": True} if stream else {}))
    if not stream:
        return [_plain(result)]
    return [_plain(item) for item in result] if colour == "sync" else [_plain(item) async for item in result]


def _plain(item: Any) -> Any:
    fields = item.model_dump()
    return {name: value for name, value in fields.items() if name not in ("id", "created")}
