"""No planted secret is exported with ``redact="builtin"`` by calls, blocks, tags, scores or the store."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry import context as otel
from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.store.exporter import StoreExporter
from planted import SECRETS, SURROUNDINGS
from serving import QuietHandler, serving

pytestmark = pytest.mark.exhaustive

# Of those left out the plain search of this test could not see what remains.
READABLE = [surroundings for surroundings in SURROUNDINGS if surroundings not in ("full width", "zero width")]
PAIRS = list(zip(SECRETS, itertools.cycle(READABLE), strict=False))


class Vendor(QuietHandler):
    """Server that returns the prompt as a response, as a stream in pieces of five characters, or as an error."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = find_text(body)
        if "fails" in self.path:
            error = {"error": {"message": f"you sent {text}", "type": text, "code": text, "param": text}}
            self._send(400, json.dumps(error))
        elif "embeddings" in self.path:
            data = [{"object": "embedding", "index": 0, "embedding": [0.1]}]
            usage = {"prompt_tokens": 1, "total_tokens": 1}
            self._send(200, json.dumps({"object": "list", "model": "m", "data": data, "usage": usage}))
        elif "messages" in self.path:
            content = [
                {"type": "text", "text": text},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"q": text, text: 1}},
            ]
            usage = {"input_tokens": 1, "output_tokens": 1}
            answer = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": content}
            self._send(200, json.dumps({**answer, "stop_reason": "end_turn", "usage": usage}))
        elif body.get("stream"):
            pieces = [text[start : start + 5] for start in range(0, len(text), 5)]
            events = [_chunk({"content": piece}) for piece in pieces]
            calls = [{"index": 0, "id": "t", "function": {"name": "f", "arguments": piece}} for piece in pieces]
            events += [_chunk({"tool_calls": [call]}) for call in calls]
            self._send(200, "".join(events) + "data: [DONE]\n\n", "text/event-stream")
        else:
            call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": json.dumps({"q": text})}}
            message = {"role": "assistant", "content": text, "tool_calls": [call]}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [choice]}
            self._send(200, json.dumps({**answer, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}))

    def _send(self, status: int, text: str, kind: str = "application/json") -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _chunk(delta: dict[str, Any]) -> str:
    choices = [{"index": 0, "delta": delta, "finish_reason": None}]
    return f"data: {json.dumps({'id': 'c', 'object': 'chat.completion.chunk', 'model': 'm', 'choices': choices})}\n\n"


def find_text(value: Any) -> str:
    """Return the longest text in a request."""
    if isinstance(value, str):
        return value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max(map(find_text, inner), key=len, default="")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of the vendor."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Vendor)) as server:
        yield f"http://localhost:{server.server_port}"


Exported = Callable[[], str]


@pytest.fixture
def exported(request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Exported]:
    """Instrument with content on; return all bytes of spans, metrics, events, the store and our log."""
    caplog.set_level(logging.DEBUG)
    spans, records, reader = InMemorySpanExporter(), InMemoryLogRecordExporter(), InMemoryMetricReader()
    tracers, loggers, meters = TracerProvider(), LoggerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    store = tmp_path / "store.db"
    tracers.add_span_processor(SimpleSpanProcessor(StoreExporter(store)))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))

    def everything() -> str:
        llmtrace.flush()
        finished = spans.get_finished_spans()
        assert finished
        events = records.get_finished_logs()
        metrics = reader.get_metrics_data()
        parts = [message.SerializeToString() for message in (encode_spans(finished), encode_logs(events))]
        parts += [] if metrics is None else [encode_metrics(metrics).SerializeToString()]
        parts += [path.read_bytes() for path in tmp_path.iterdir()]
        logged = [caplog.handler.format(record) for record in caplog.records if record.name.startswith("llmtrace")]
        return "\n".join([*(part.decode("utf-8", "replace") for part in parts), *logged])

    with llmtrace.instrument(
        tracer_provider=tracers,
        logger_provider=loggers,
        meter_provider=meters,
        capture_content="span_and_event",
        redact=getattr(request, "param", "builtin"),
        metric_dimensions="feature,tenant,prompt,prompt_version,note",
        bridges="openinference,langfuse,logfire",
        baggage_keys="feature,user,note",
        strict=True,
    ):
        yield everything
    tracers.shutdown()
    loggers.shutdown()  # type: ignore[no-untyped-call]
    meters.shutdown()


def chat(clients: Any, text: str) -> None:
    """Send a message with every field that carries text."""
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": text}}
    messages: Any = [
        {"role": "system", "content": text},
        {"role": "user", "content": [{"type": "text", "text": text}], "name": text},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t", "content": text},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": text}}]},
    ]
    tool: Any = {"type": "function", "function": {"name": "f", "description": text, "parameters": {"type": text}}}
    clients.openai.chat.completions.create(model="gpt-4o", messages=messages, tools=[tool], stop=[text], user=text)


def stream(clients: Any, text: str) -> None:
    for _ in clients.openai.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": text}], stream=True
    ):
        pass


def message(clients: Any, text: str) -> None:
    clients.anthropic.messages.create(
        model="m", max_tokens=9, system=text, messages=[{"role": "user", "content": text}], stop_sequences=[text]
    )


def embedding(clients: Any, text: str) -> None:
    clients.openai.embeddings.create(model="m", input=[text, text])


def failure(clients: Any, text: str) -> None:
    with pytest.raises(openai.BadRequestError):
        clients.failing.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}])


def prompt(clients: Any, text: str) -> None:
    with llmtrace.prompt(text, version=text, template=text, variables={"x": text, text: {"y": text}}):
        clients.openai.embeddings.create(model="m", input="x")


def tags(clients: Any, text: str) -> None:
    free: dict[str, Any] = {"note": text, text: text}
    with llmtrace.tag(feature=text, user=text, session=text, tenant=text, tags=[text], **free):
        clients.openai.embeddings.create(model="m", input="x")
        with llmtrace.workflow("w"):
            headers: dict[str, str] = {}
            propagate.inject(headers)
    clients.sent.update(headers)
    token = otel.attach(propagate.extract({"baggage": f"llmtrace.note={SECRETS['github'].core}"}))
    try:
        clients.openai.embeddings.create(model="m", input="x")
    finally:
        otel.detach(token)


def score(clients: Any, text: str) -> None:
    with llmtrace.workflow("w"):
        llmtrace.score(text, 1.0, label=text, explanation=text)


def documents(clients: Any, text: str) -> None:
    with llmtrace.retrieval(text, query=text) as search:
        search.add([llmtrace.Document(text, 0.5, text, {"x": text, text: 1})])
    with llmtrace.rerank("m", query=text) as rerank:
        rerank.set_input_documents([llmtrace.Document(text, 0.5, text, {"x": text})])
        rerank.add([llmtrace.Document(text, 0.5, text, {"x": text})])
    clients.openai.embeddings.create(model="m", input="x")


def blocks(clients: Any, text: str) -> None:
    def run(question: str) -> dict[str, Any]:
        return {"answer": question, question: [question]}

    run.__doc__ = text
    llmtrace.tool(text)(run)(text)
    llmtrace.agent(text)(run)(text)
    llmtrace.workflow(text)(run)(text)
    with llmtrace.tool("t", arguments={"q": text, text: 1}) as tool:
        tool.result([text])


def exceptions(clients: Any, text: str) -> None:
    def fail() -> None:
        error = ValueError(text)
        error.add_note(text)
        raise error from KeyError(text)

    for block in (llmtrace.tool, llmtrace.agent, llmtrace.workflow, llmtrace.retrieval):
        with pytest.raises(ValueError):
            block("b")(fail)()


CARRIERS = [
    chat, stream, message, embedding, failure, prompt, tags, score, documents, blocks, exceptions,
]  # fmt: skip


@pytest.fixture
def clients(url: str) -> Iterator[Any]:
    """Clients of the loopback vendor."""
    with (
        openai.OpenAI(base_url=url, api_key="k", max_retries=0) as usual,
        openai.OpenAI(base_url=f"{url}/fails", api_key="k", max_retries=0) as failing,
        anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as other,
    ):
        yield SimpleNamespace(openai=usual, failing=failing, anthropic=other, sent={})


@pytest.mark.parametrize("carrier", CARRIERS)
def test_no_carrier_exports_a_secret(carrier: Callable[[Any, str], None], clients: Any, exported: Exported) -> None:
    """No byte of a secret in any surrounding text is exported by any carrier."""
    for kind, surroundings in PAIRS:
        carrier(clients, SURROUNDINGS[surroundings](SECRETS[kind].text))
    found = exported() + str(clients.sent)
    assert [pair for pair in PAIRS if SECRETS[pair[0]].core in found] == []


@pytest.mark.parametrize("exported", ["none"], indirect=True)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_carrier_without_redaction_exports_the_text(
    carrier: Callable[[Any, str], None], clients: Any, exported: Exported
) -> None:
    """As a control, each carrier exports the text without redaction."""
    carrier(clients, SECRETS["github"].text)
    assert SECRETS["github"].core in exported()


@pytest.mark.parametrize("carrier", [tags, prompt, blocks, documents, score])
def test_content_off_redacts_names_and_tags_too(
    carrier: Callable[[Any, str], None], clients: Any, exported: Exported
) -> None:
    """Names, tags and ids are exported with content off, and are redacted too."""
    with llmtrace.tag(capture_content=False):
        carrier(clients, SECRETS["github"].text)
    assert SECRETS["github"].core not in exported()
