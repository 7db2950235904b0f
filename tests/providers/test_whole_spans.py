"""Complete spans, one per wire format: every attribute of one real call against a loopback server.

Each test shows all that a span holds with content off. A new or changed attribute changes a snapshot here:
``pytest --inline-snapshot=review`` shows the difference and rewrites it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from dirty_equals import IsFloat, IsInt
from google import genai
from inline_snapshot import snapshot
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serving import QuietHandler

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*[Ii]nteractions.*"),
]

PORT = IsInt(gt=0)
SECONDS = IsFloat(ge=0)
MESSAGES: Any = [{"role": "user", "content": "Why is the sky blue?"}]
PRICES = """
[[price]]
model = "*"
input = "1"
cache_read = "0.1"
cache_write_5m = "1.25"
output = "10"
web_search = "0.01"
"""
"""One price for every model, in USD per million tokens; a web search in USD per call."""

needs_responses = pytest.mark.skipif(not hasattr(openai.OpenAI, "responses"), reason="this release has no responses")
needs_interactions = pytest.mark.skipif(not hasattr(genai.Client, "interactions"), reason="no interactions yet")


class Vendor(ThreadingHTTPServer):
    """A loopback server that responds to every request with one body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = b""
        self.content_type = "application/json"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def respond(self, body: Any) -> None:
        """Respond with a JSON body from now on."""
        self.body, self.content_type = json.dumps(body).encode(), "application/json"

    def stream(self, *events: Any, done: bytes = b"") -> None:
        """Respond with server-sent events from now on."""
        chunks = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
        self.body, self.content_type = b"".join(chunks) + done, "text/event-stream"


class _Handler(QuietHandler):
    server: Vendor

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.send_header("content-type", self.server.content_type)
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    """Serve the loopback vendor for the tests of this module."""
    with Vendor() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def fixed_prices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Price every model the same, so that costs do not depend on the release of the price list."""
    path = tmp_path / "prices.toml"
    path.write_text(PRICES, encoding="utf-8")
    monkeypatch.setenv("LLMTRACE_PRICES", str(path))


@pytest.fixture
def openai_client(vendor: Vendor) -> Iterator[openai.OpenAI]:
    """Return an OpenAI client of the loopback vendor."""
    with openai.OpenAI(base_url=f"{vendor.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def gemini(vendor: Vendor) -> genai.Client:
    """Return a Gemini client of the loopback vendor."""
    return genai.Client(api_key="none", http_options={"base_url": vendor.url})


@pytest.fixture
def span(spans: InMemorySpanExporter) -> Callable[[], tuple[str, dict[str, Any]]]:
    """Return a function that returns the name and the attributes of the only span."""

    def only_span() -> tuple[str, dict[str, Any]]:
        finished: tuple[ReadableSpan, ...] = spans.get_finished_spans()
        assert len(finished) == 1
        return finished[0].name, dict(sorted((finished[0].attributes or {}).items()))

    return only_span


Span = Callable[[], tuple[str, dict[str, Any]]]

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 0,
    "model": "gpt-4.1-mini-2025-04-14",
    "service_tier": "default",
    "system_fingerprint": "fp_1",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Scattering."}}],
    "usage": {
        "prompt_tokens": 1200,
        "completion_tokens": 50,
        "total_tokens": 1250,
        "prompt_tokens_details": {"cached_tokens": 1000},
        "completion_tokens_details": {"reasoning_tokens": 20},
    },
}


def test_openai_chat_completion_whole_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """A chat completion has its parameters, token counts with cached and reasoning tokens, and its cost in parts."""
    vendor.respond(CHAT)
    openai_client.chat.completions.create(model="gpt-4.1-mini", messages=MESSAGES, temperature=0.2, max_tokens=64)
    assert span() == snapshot(
        (
            "chat gpt-4.1-mini",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.max_tokens": 64,
                "gen_ai.request.model": "gpt-4.1-mini",
                "gen_ai.request.temperature": 0.2,
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "chatcmpl-1",
                "gen_ai.response.model": "gpt-4.1-mini-2025-04-14",
                "gen_ai.usage.cache_read.input_tokens": 1000,
                "gen_ai.usage.cost": 0.0008,
                "gen_ai.usage.input_tokens": 1200,
                "gen_ai.usage.output_tokens": 50,
                "gen_ai.usage.reasoning.output_tokens": 20,
                "llm.cost.completion": 0.0005,
                "llm.cost.completion_details.output": 0.0005,
                "llm.cost.prompt": 0.0003,
                "llm.cost.prompt_details.cache_read": 0.0001,
                "llm.cost.prompt_details.input": 0.0002,
                "llm.cost.total": 0.0008,
                "llm.invocation_parameters": '{"max_tokens":64,"temperature":0.2}',
                "llm.model_name": "gpt-4.1-mini-2025-04-14",
                "llm.token_count.completion_details.reasoning": 20,
                "llmtrace.api": "openai.chat.completions.create",
                "llmtrace.cost.exact": "0.0008",
                "llmtrace.cost.model": "gpt-4.1-mini-2025-04-14",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"max_tokens":64,"temperature":0.2}',
                "llmtrace.response.finish_reasons_raw": ("stop",),
                "llmtrace.usage.source": "provider",
                "openai.api.type": "chat_completions",
                "openai.response.service_tier": "default",
                "openai.response.system_fingerprint": "fp_1",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_openai_chat_stream_whole_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """A chat stream also has its timing and how it ended."""
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": "gpt-4.1-mini-2025-04-14"}
    choice = {"index": 0, "delta": {"content": "Scattering."}, "finish_reason": None}
    vendor.stream(
        {**chunk, "choices": [choice]},
        {**chunk, "choices": [{**choice, "delta": {}, "finish_reason": "stop"}]},
        {**chunk, "choices": [], "usage": CHAT["usage"]},
        done=b"data: [DONE]\n\n",
    )
    options: Any = {"include_usage": True}
    list(
        openai_client.chat.completions.create(
            model="gpt-4.1-mini", messages=MESSAGES, stream=True, stream_options=options
        )
    )
    assert span() == snapshot(
        (
            "chat gpt-4.1-mini",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4.1-mini",
                "gen_ai.request.stream": True,
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "chatcmpl-1",
                "gen_ai.response.model": "gpt-4.1-mini-2025-04-14",
                "gen_ai.response.time_to_first_chunk": SECONDS,
                "gen_ai.usage.cache_read.input_tokens": 1000,
                "gen_ai.usage.cost": 0.0008,
                "gen_ai.usage.input_tokens": 1200,
                "gen_ai.usage.output_tokens": 50,
                "gen_ai.usage.reasoning.output_tokens": 20,
                "llm.cost.completion": 0.0005,
                "llm.cost.completion_details.output": 0.0005,
                "llm.cost.prompt": 0.0003,
                "llm.cost.prompt_details.cache_read": 0.0001,
                "llm.cost.prompt_details.input": 0.0002,
                "llm.cost.total": 0.0008,
                "llm.invocation_parameters": '{"stream":true,"stream_options":{"include_usage":true}}',
                "llm.model_name": "gpt-4.1-mini-2025-04-14",
                "llm.token_count.completion_details.reasoning": 20,
                "llmtrace.api": "openai.chat.completions.create",
                "llmtrace.cost.exact": "0.0008",
                "llmtrace.cost.model": "gpt-4.1-mini-2025-04-14",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"stream":true,"stream_options":{"include_usage":true}}',
                "llmtrace.response.finish_reasons_raw": ("stop",),
                "llmtrace.stream.chunks": 3,
                "llmtrace.stream.completed": True,
                "llmtrace.stream.end": "exhausted",
                "llmtrace.stream.stalls": 0,
                "llmtrace.stream.time_per_output_chunk.max": SECONDS,
                "llmtrace.stream.time_per_output_chunk.mean": SECONDS,
                "llmtrace.stream.time_per_output_chunk.p95": SECONDS,
                "llmtrace.stream.time_to_first_token": SECONDS,
                "llmtrace.stream.tokens_per_second": IsFloat(gt=0),
                "llmtrace.usage.source": "provider",
                "openai.api.type": "chat_completions",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


@needs_responses
def test_openai_response_whole_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """A response counts its web search, and keeps the conversation and the status of the vendor."""
    vendor.respond(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 0,
            "status": "completed",
            "model": "gpt-4.1-mini-2025-04-14",
            "previous_response_id": "resp_0",
            "service_tier": "default",
            "tools": [],
            "output": [
                {
                    "type": "web_search_call",
                    "id": "ws_1",
                    "status": "completed",
                    "action": {"type": "search"},
                },
                {
                    "type": "message",
                    "id": "msg_1",
                    "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": "Scattering.", "annotations": []}],
                },
            ],
            "usage": {
                "input_tokens": 300,
                "output_tokens": 40,
                "total_tokens": 340,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            },
        }
    )
    openai_client.responses.create(
        model="gpt-4.1-mini",
        input="Why is the sky blue?",
        previous_response_id="resp_0",
        tools=[{"type": "web_search"}],
    )
    assert span() == snapshot(
        (
            "chat gpt-4.1-mini",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4.1-mini",
                "gen_ai.request.previous_response.id": "resp_0",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "resp_1",
                "gen_ai.response.model": "gpt-4.1-mini-2025-04-14",
                "gen_ai.usage.cost": 0.0107,
                "gen_ai.usage.input_tokens": 300,
                "gen_ai.usage.output_tokens": 40,
                "llm.cost.completion": 0.0004,
                "llm.cost.completion_details.output": 0.0004,
                "llm.cost.prompt": 0.0003,
                "llm.cost.prompt_details.input": 0.0003,
                "llm.cost.total": 0.0107,
                "llm.invocation_parameters": '{"previous_response_id":"resp_0"}',
                "llm.model_name": "gpt-4.1-mini-2025-04-14",
                "llmtrace.api": "openai.responses.create",
                "llmtrace.cost.exact": "0.0107",
                "llmtrace.cost.model": "gpt-4.1-mini-2025-04-14",
                "llmtrace.cost.source": "override",
                "llmtrace.cost.web_search": 0.01,
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"previous_response_id":"resp_0"}',
                "llmtrace.response.finish_reasons_raw": ("completed",),
                "llmtrace.usage.source": "provider",
                "llmtrace.usage.web_searches": 1,
                "openai.api.type": "responses",
                "openai.response.service_tier": "default",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_openai_embedding_whole_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """An embedding has input tokens only, and the length of its vectors."""
    vendor.respond(
        {
            "object": "list",
            "model": "text-embedding-3-small",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2, 0.3]}],
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        }
    )
    openai_client.embeddings.create(
        model="text-embedding-3-small", input=["Why is the sky blue?"], dimensions=3, encoding_format="float"
    )
    assert span() == snapshot(
        (
            "embeddings text-embedding-3-small",
            {
                "embedding.invocation_parameters": '{"dimensions":3,"encoding_format":"float"}',
                "embedding.model_name": "text-embedding-3-small",
                "gen_ai.embeddings.dimension.count": 3,
                "gen_ai.operation.name": "embeddings",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.encoding_formats": ("float",),
                "gen_ai.request.model": "text-embedding-3-small",
                "gen_ai.response.model": "text-embedding-3-small",
                "gen_ai.usage.cost": 8e-06,
                "gen_ai.usage.input_tokens": 8,
                "llm.cost.prompt": 8e-06,
                "llm.cost.prompt_details.input": 8e-06,
                "llm.cost.total": 8e-06,
                "llmtrace.api": "openai.embeddings.create",
                "llmtrace.cost.exact": "0.000008",
                "llmtrace.cost.model": "text-embedding-3-small",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"dimensions":3,"encoding_format":"float"}',
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "EMBEDDING",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_openai_image_whole_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """An image counts the tokens of text and image separately."""
    vendor.respond(
        {
            "created": 0,
            "data": [{"b64_json": "aaaa"}],
            "usage": {
                "input_tokens": 50,
                "output_tokens": 4160,
                "total_tokens": 4210,
                "input_tokens_details": {"text_tokens": 50, "image_tokens": 0},
            },
        }
    )
    openai_client.images.generate(model="gpt-image-1.5", prompt="a blue sky", size="1024x1024")
    assert span() == snapshot(
        (
            "generate_content gpt-image-1.5",
            {
                "gen_ai.operation.name": "generate_content",
                "gen_ai.output.type": "image",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-image-1.5",
                "gen_ai.usage.cost": 0.04165,
                "gen_ai.usage.image.output_tokens": 4160,
                "gen_ai.usage.input_tokens": 50,
                "gen_ai.usage.output_tokens": 4160,
                "gen_ai.usage.text.input_tokens": 50,
                "llm.cost.completion": 0.0416,
                "llm.cost.completion_details.output": 0.0416,
                "llm.cost.prompt": 5e-05,
                "llm.cost.prompt_details.input": 5e-05,
                "llm.cost.total": 0.04165,
                "llm.invocation_parameters": '{"size":"1024x1024"}',
                "llm.model_name": "gpt-image-1.5",
                "llmtrace.api": "openai.images.generate",
                "llmtrace.cost.exact": "0.04165",
                "llmtrace.cost.model": "gpt-image-1.5",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"size":"1024x1024"}',
                "llmtrace.usage.images": 1,
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_openai_transcription_whole_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """A transcription counts audio tokens as part of its input."""
    vendor.respond(
        {
            "text": "Why is the sky blue?",
            "usage": {
                "type": "tokens",
                "input_tokens": 30,
                "input_token_details": {"audio_tokens": 28, "text_tokens": 2},
                "output_tokens": 6,
                "total_tokens": 36,
            },
        }
    )
    openai_client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("question.wav", b"RIFF"))
    assert span() == snapshot(
        (
            "generate_content gpt-4o-transcribe",
            {
                "gen_ai.operation.name": "generate_content",
                "gen_ai.output.type": "text",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o-transcribe",
                "gen_ai.usage.audio.input_tokens": 28,
                "gen_ai.usage.cost": 9e-05,
                "gen_ai.usage.input_tokens": 30,
                "gen_ai.usage.output_tokens": 6,
                "gen_ai.usage.text.input_tokens": 2,
                "llm.cost.completion": 6e-05,
                "llm.cost.completion_details.output": 6e-05,
                "llm.cost.prompt": 3e-05,
                "llm.cost.prompt_details.input": 3e-05,
                "llm.cost.total": 9e-05,
                "llm.model_name": "gpt-4o-transcribe",
                "llm.token_count.prompt_details.audio": 28,
                "llmtrace.api": "openai.audio.transcriptions.create",
                "llmtrace.cost.exact": "0.00009",
                "llmtrace.cost.model": "gpt-4o-transcribe",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_openai_legacy_completion_whole_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """A legacy completion is a text completion, with its own finish reason."""
    vendor.respond(
        {
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 0,
            "model": "gpt-3.5-turbo-instruct",
            "choices": [{"index": 0, "text": "Scattering", "finish_reason": "length", "logprobs": None}],
            "usage": {"prompt_tokens": 6, "completion_tokens": 1, "total_tokens": 7},
        }
    )
    openai_client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Why is the sky blue?", max_tokens=1)
    assert span() == snapshot(
        (
            "text_completion gpt-3.5-turbo-instruct",
            {
                "gen_ai.operation.name": "text_completion",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.max_tokens": 1,
                "gen_ai.request.model": "gpt-3.5-turbo-instruct",
                "gen_ai.response.finish_reasons": ("length",),
                "gen_ai.response.id": "cmpl-1",
                "gen_ai.response.model": "gpt-3.5-turbo-instruct",
                "gen_ai.usage.cost": 1.6e-05,
                "gen_ai.usage.input_tokens": 6,
                "gen_ai.usage.output_tokens": 1,
                "llm.cost.completion": 1e-05,
                "llm.cost.completion_details.output": 1e-05,
                "llm.cost.prompt": 6e-06,
                "llm.cost.prompt_details.input": 6e-06,
                "llm.cost.total": 1.6e-05,
                "llm.invocation_parameters": '{"max_tokens":1}',
                "llm.model_name": "gpt-3.5-turbo-instruct",
                "llmtrace.api": "openai.completions.create",
                "llmtrace.cost.exact": "0.000016",
                "llmtrace.cost.model": "gpt-3.5-turbo-instruct",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"max_tokens":1}',
                "llmtrace.response.finish_reasons_raw": ("length",),
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_openai_assistant_run_whole_span(openai_client: openai.OpenAI, vendor: Vendor, span: Span) -> None:
    """A run of an assistant is the invocation of an agent, in the conversation of its thread."""
    vendor.respond(
        {
            "id": "run_1",
            "object": "thread.run",
            "created_at": 0,
            "thread_id": "thread_1",
            "assistant_id": "asst_1",
            "status": "completed",
            "model": "gpt-4.1-mini",
            "instructions": "",
            "tools": [],
            "metadata": {},
            "usage": {"prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 50},
        }
    )
    openai_client.beta.threads.runs.create(thread_id="thread_1", assistant_id="asst_1")
    assert span() == snapshot(
        (
            "invoke_agent",
            {
                "gen_ai.agent.id": "asst_1",
                "gen_ai.conversation.id": "thread_1",
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.provider.name": "openai",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "run_1",
                "gen_ai.response.model": "gpt-4.1-mini",
                "gen_ai.usage.cost": 0.00014,
                "gen_ai.usage.input_tokens": 40,
                "gen_ai.usage.output_tokens": 10,
                "llm.cost.completion": 0.0001,
                "llm.cost.completion_details.output": 0.0001,
                "llm.cost.prompt": 4e-05,
                "llm.cost.prompt_details.input": 4e-05,
                "llm.cost.total": 0.00014,
                "llmtrace.api": "openai.beta.threads.runs.create",
                "llmtrace.cost.exact": "0.00014",
                "llmtrace.cost.model": "gpt-4.1-mini",
                "llmtrace.cost.source": "override",
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"assistant_id":"asst_1"}',
                "llmtrace.response.finish_reasons_raw": ("completed",),
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "AGENT",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_anthropic_message_whole_span(vendor: Vendor, span: Span) -> None:
    """A message adds cache reads and cache writes to its input tokens, and prices each."""
    vendor.respond(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-5",
            "content": [{"type": "text", "text": "Scattering."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 20,
                "cache_creation_input_tokens": 100,
                "cache_read_input_tokens": 1000,
                "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 50,
                "service_tier": "standard",
            },
        }
    )
    with anthropic.Anthropic(base_url=vendor.url, api_key="none", max_retries=0) as client:
        client.messages.create(model="claude-sonnet-5", max_tokens=64, messages=MESSAGES)
    assert span() == snapshot(
        (
            "chat claude-sonnet-5",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "anthropic",
                "gen_ai.request.max_tokens": 64,
                "gen_ai.request.model": "claude-sonnet-5",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "msg_1",
                "gen_ai.response.model": "claude-sonnet-5",
                "gen_ai.usage.cache_creation.input_tokens": 100,
                "gen_ai.usage.cache_read.input_tokens": 1000,
                "gen_ai.usage.cache_write.input_tokens": 100,
                "gen_ai.usage.cost": 0.000745,
                "gen_ai.usage.input_tokens": 1120,
                "gen_ai.usage.output_tokens": 50,
                "llm.cost.completion": 0.0005,
                "llm.cost.completion_details.output": 0.0005,
                "llm.cost.prompt": 0.000245,
                "llm.cost.prompt_details.cache_read": 0.0001,
                "llm.cost.prompt_details.cache_write": 0.000125,
                "llm.cost.prompt_details.input": 2e-05,
                "llm.cost.total": 0.000745,
                "llm.invocation_parameters": '{"max_tokens":64}',
                "llm.model_name": "claude-sonnet-5",
                "llmtrace.api": "anthropic.messages.create",
                "llmtrace.cost.exact": "0.000745",
                "llmtrace.cost.model": "claude-sonnet-5",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"max_tokens":64}',
                "llmtrace.response.finish_reasons_raw": ("end_turn",),
                "llmtrace.usage.cache_write_5m_tokens": 100,
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


GENERATED = {
    "responseId": "r-1",
    "modelVersion": "gemini-2.5-flash",
    "candidates": [
        {"index": 0, "content": {"role": "model", "parts": [{"text": "Scattering."}]}, "finishReason": "STOP"}
    ],
    "usageMetadata": {
        "promptTokenCount": 8,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 20,
        "totalTokenCount": 33,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}],
    },
}


def test_gemini_generate_content_whole_span(gemini: genai.Client, vendor: Vendor, span: Span) -> None:
    """Generated content adds thoughts to its output tokens."""
    vendor.respond(GENERATED)
    gemini.models.generate_content(
        model="gemini-2.5-flash", contents="Why is the sky blue?", config={"temperature": 0.2, "max_output_tokens": 64}
    )
    assert span() == snapshot(
        (
            "generate_content gemini-2.5-flash",
            {
                "gen_ai.operation.name": "generate_content",
                "gen_ai.provider.name": "gcp.gemini",
                "gen_ai.request.max_tokens": 64,
                "gen_ai.request.model": "gemini-2.5-flash",
                "gen_ai.request.temperature": 0.2,
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "r-1",
                "gen_ai.response.model": "gemini-2.5-flash",
                "gen_ai.usage.cost": 0.000258,
                "gen_ai.usage.input_tokens": 8,
                "gen_ai.usage.output_tokens": 25,
                "gen_ai.usage.reasoning.output_tokens": 20,
                "gen_ai.usage.text.input_tokens": 8,
                "llm.cost.completion": 0.00025,
                "llm.cost.completion_details.output": 0.00025,
                "llm.cost.prompt": 8e-06,
                "llm.cost.prompt_details.input": 8e-06,
                "llm.cost.total": 0.000258,
                "llm.invocation_parameters": '{"temperature":0.2,"maxOutputTokens":64}',
                "llm.model_name": "gemini-2.5-flash",
                "llm.token_count.completion_details.reasoning": 20,
                "llmtrace.api": "google_genai.models.generate_content",
                "llmtrace.cost.exact": "0.000258",
                "llmtrace.cost.model": "gemini-2.5-flash",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.request.parameters": '{"temperature":0.2,"maxOutputTokens":64}',
                "llmtrace.response.finish_reasons_raw": ("STOP",),
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


@needs_interactions
def test_gemini_interaction_whole_span(gemini: genai.Client, vendor: Vendor, span: Span) -> None:
    """An interaction has the counts of its own usage and the id of the interaction."""
    vendor.respond(
        {
            "id": "interaction-1",
            "object": "interaction",
            "created": "2026-01-01T00:00:00Z",
            "updated": "2026-01-01T00:00:00Z",
            "status": "completed",
            "model": "gemini-2.5-flash",
            "outputs": [{"type": "text", "text": "Scattering."}],
            "usage": {
                "total_input_tokens": 8,
                "total_output_tokens": 5,
                "total_thought_tokens": 20,
                "total_tokens": 33,
            },
        }
    )
    gemini.interactions.create(model="gemini-2.5-flash", input="Why is the sky blue?")
    assert span() == snapshot(
        (
            "generate_content gemini-2.5-flash",
            {
                "gen_ai.operation.name": "generate_content",
                "gen_ai.provider.name": "gcp.gemini",
                "gen_ai.request.model": "gemini-2.5-flash",
                "gen_ai.response.finish_reasons": ("stop",),
                "gen_ai.response.id": "interaction-1",
                "gen_ai.response.model": "gemini-2.5-flash",
                "gen_ai.usage.cost": 0.000258,
                "gen_ai.usage.input_tokens": 8,
                "gen_ai.usage.output_tokens": 25,
                "gen_ai.usage.reasoning.output_tokens": 20,
                "llm.cost.completion": 0.00025,
                "llm.cost.completion_details.output": 0.00025,
                "llm.cost.prompt": 8e-06,
                "llm.cost.prompt_details.input": 8e-06,
                "llm.cost.total": 0.000258,
                "llm.model_name": "gemini-2.5-flash",
                "llm.token_count.completion_details.reasoning": 20,
                "llmtrace.api": "google_genai.interactions.create",
                "llmtrace.cost.exact": "0.000258",
                "llmtrace.cost.model": "gemini-2.5-flash",
                "llmtrace.cost.source": "override",
                "llmtrace.model.pinned": False,
                "llmtrace.outcome": "ok",
                "llmtrace.response.finish_reasons_raw": ("completed",),
                "llmtrace.usage.source": "provider",
                "openinference.span.kind": "LLM",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )


def test_gemini_embedding_whole_span(gemini: genai.Client, vendor: Vendor, span: Span) -> None:
    """An embedding of the Gemini API reports no usage, and the span gives the reason for the missing cost."""
    vendor.respond({"embeddings": [{"values": [0.1, 0.2, 0.3]}]})
    gemini.models.embed_content(model="gemini-embedding-001", contents="Why is the sky blue?")
    assert span() == snapshot(
        (
            "embeddings gemini-embedding-001",
            {
                "embedding.model_name": "gemini-embedding-001",
                "gen_ai.embeddings.dimension.count": 3,
                "gen_ai.operation.name": "embeddings",
                "gen_ai.provider.name": "gcp.gemini",
                "gen_ai.request.model": "gemini-embedding-001",
                "llmtrace.api": "google_genai.models.embed_content",
                "llmtrace.cost.unpriced_reason": "no_usage",
                "llmtrace.model.pinned": True,
                "llmtrace.outcome": "ok",
                "llmtrace.usage.source": "missing",
                "openinference.span.kind": "EMBEDDING",
                "server.address": "127.0.0.1",
                "server.port": PORT,
            },
        )
    )
