"""No content is exported by default; with content on, exported content has passed the redactor."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from serving import QuietHandler, serving

SECRETS = {
    name: f"marker-{name}-q7" for name in ("system", "user", "arguments", "output", "header", "key", "who", "tool")
}
ADDRESS = "jane.roe@example.com"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CALL = {"name": "find", "arguments": json.dumps({"q": SECRETS["arguments"]})}


class Vendor(QuietHandler):
    """Server of both dialects, whose behavior depends on the requested model."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "refused" in body["model"]:
            self._send(400, {"error": {"type": "invalid_request_error", "message": f"bad prompt: {json.dumps(body)}"}})
        elif "broken" in body["model"]:
            self._send(200, None, b'{"choices": "' + SECRETS["output"].encode() + b'", "content": 7')
        elif self.path.endswith("/messages"):
            self._anthropic(body)
        else:
            self._openai(body)

    def _openai(self, body: dict[str, Any]) -> None:
        text = body["messages"][-1]["content"] if "echo" in body["model"] else SECRETS["output"]
        call = {"index": 0, "id": "call_1", "type": "function", "function": CALL}
        head = {"id": "c1", "created": 0, "model": body["model"]}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text, "tool_calls": [call]}
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
            self._send(200, {**head, "object": "chat.completion", "choices": [choice], "usage": USAGE})
            return
        half = len(text) // 2
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": text[:half]}, {"content": text[half:]}]
        deltas.append({"tool_calls": [call]})
        chunks = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        chunks.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
        events = [{**head, "object": "chat.completion.chunk", "choices": [chunk]} for chunk in chunks]
        self._send(
            200, None, b"".join(b"data: " + json.dumps(e).encode() + b"\n\n" for e in events) + b"data: [DONE]\n\n"
        )

    def _anthropic(self, body: dict[str, Any]) -> None:
        usage = {"input_tokens": 3, "output_tokens": 2}
        blocks = [
            {"type": "text", "text": SECRETS["output"]},
            {"type": "tool_use", "id": "t1", "name": "find", "input": {"q": SECRETS["arguments"]}},
        ]
        message = {"id": "m1", "type": "message", "role": "assistant", "model": body["model"], "usage": usage}
        message |= {"stop_reason": "tool_use", "stop_sequence": None}
        if not body.get("stream"):
            self._send(200, {**message, "content": blocks})
            return
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": SECRETS["output"]}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
            {"type": "message_stop"},
        ]
        lines = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        self._send(200, None, "".join(lines).encode())

    def _send(self, status: int, value: Any, raw: bytes | None = None) -> None:
        data = json.dumps(value).encode() if raw is None else raw
        kind = "text/event-stream" if data.startswith((b"data:", b"event:")) else "application/json"
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.send_header("x-request-id", "req_1")
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of the vendor."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Vendor)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


class Exported:
    """Everything that llmtrace exports or logs."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.spans = InMemorySpanExporter()
        self.records = InMemoryLogRecordExporter()
        self._caplog = caplog

    def text(self) -> str:
        llmtrace.flush()
        exported = encode_spans(self.spans.get_finished_spans()).SerializeToString()
        logs = [record.log_record for record in self.records.get_finished_logs()]
        events = [f"{log.attributes} {log.body}" for log in logs]
        logged = [self._caplog.handler.format(record) for record in self._caplog.records if "llmtrace" in record.name]
        return "\n".join([exported.decode("utf-8", "replace"), *events, *logged])

    def attributes(self) -> dict[str, Any]:
        llmtrace.flush()  # the first call of a process is priced, and ended, by the worker
        (span,) = self.spans.get_finished_spans()
        return dict(span.attributes or {})


@pytest.fixture
def instrumented(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Exported]]:
    """Instrument with given settings, and return what is exported."""
    caplog.set_level(logging.DEBUG, logger="llmtrace")
    providers: list[Any] = []

    def start(**settings: Any) -> Exported:
        out = Exported(caplog)
        tracers, loggers = TracerProvider(), LoggerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(out.spans))
        loggers.add_log_record_processor(SimpleLogRecordProcessor(out.records))
        providers.extend((tracers, loggers))
        llmtrace.instrument(tracer_provider=tracers, logger_provider=loggers, strict=True, **settings)
        return out

    yield start
    llmtrace.uninstrument()
    for provider in providers:
        provider.shutdown()


TOOL = {"name": "find", "description": SECRETS["tool"], "parameters": {"type": "object", "properties": {}}}


def call_openai(url: str, model: str, stream: bool, user: str = SECRETS["user"]) -> None:
    with openai.OpenAI(base_url=url, api_key=SECRETS["key"], max_retries=0) as client:
        made = client.chat.completions.create(
            model=model,
            messages=[{"role": "system", "content": SECRETS["system"]}, {"role": "user", "content": user}],
            tools=[{"type": "function", "function": TOOL}],  # type: ignore[list-item]  # a plain mapping
            user=SECRETS["who"],
            stream=stream,
            extra_headers={"x-extra": SECRETS["header"]},
        )
        if stream:
            for _ in made:
                pass


def call_anthropic(url: str, model: str, stream: bool, user: str = SECRETS["user"]) -> None:
    with anthropic.Anthropic(base_url=url, api_key=SECRETS["key"], max_retries=0) as client:
        made: Any = client.messages.create(
            model=model,
            max_tokens=9,
            system=SECRETS["system"],
            messages=[{"role": "user", "content": user}],
            tools=[{"name": "find", "description": SECRETS["tool"], "input_schema": {"type": "object"}}],
            metadata={"user_id": SECRETS["who"]},
            stream=stream,
            extra_headers={"x-extra": SECRETS["header"]},
        )
        if stream:
            for _ in made:
                pass


both = pytest.mark.parametrize("call", [call_openai, call_anthropic], ids=["openai", "anthropic"])
either_way = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
Call = Callable[..., None]


@both
@either_way
@pytest.mark.parametrize("model", ["fine", "refused", "broken"])
def test_default_exports_no_content(
    call: Call, stream: bool, model: str, url: str, instrumented: Callable[..., Exported]
) -> None:
    """By default no planted word is in any exported byte, event or log record, for every outcome."""
    out = instrumented()
    try:
        call(url, model, stream)
    except (openai.OpenAIError, anthropic.AnthropicError, ValueError):
        assert model != "fine"
    assert out.attributes()["gen_ai.request.model"] == model
    assert [name for name, secret in SECRETS.items() if secret in out.text()] == []


@both
@either_way
def test_content_on_exports_content_without_keys(
    call: Call, stream: bool, url: str, instrumented: Callable[..., Exported]
) -> None:
    """With content on, content is on the span; keys and headers are exported in no mode."""
    out = instrumented(capture_content="span_and_event")
    call(url, "fine", stream)
    reported = out.text()
    for name in ("system", "user", "output", "tool"):
        assert SECRETS[name] in reported, name
    for name in ("header", "key"):
        assert SECRETS[name] not in reported, name
    attributes = out.attributes()
    (answer,) = json.loads(attributes["gen_ai.output.messages"])
    assert answer["parts"][0] == {"type": "text", "content": SECRETS["output"]}
    (record,) = out.records.get_finished_logs()
    assert record.log_record.event_name == "gen_ai.client.inference.operation.details"
    assert record.log_record.span_id == out.spans.get_finished_spans()[0].context.span_id


@both
def test_error_message_is_recorded_only_with_content_on(
    call: Call, url: str, instrumented: Callable[..., Exported]
) -> None:
    """An error that echoes the prompt is recorded with content on, redacted."""
    out = instrumented(capture_content=True, redact="builtin")
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)):
        call(url, "refused", False, f"{SECRETS['user']} {ADDRESS}")
    reported = out.text()
    assert SECRETS["user"] in reported
    assert "exception.stacktrace" in reported
    assert ADDRESS not in reported
    assert "[EMAIL]" in reported


@either_way
def test_truncation_leaves_no_partial_address(stream: bool, url: str, instrumented: Callable[..., Exported]) -> None:
    """An e-mail address is never exported, in full or in part, wherever the text is truncated."""
    out = instrumented(capture_content=True, redact="builtin", content_max_bytes=1024)
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        for before in range(800, 1000, 5):
            text = "x " * (before // 2) + ADDRESS + " y" * 3000
            made = client.chat.completions.create(
                model="echo", messages=[{"role": "user", "content": text}], stream=stream
            )
            assert list(made)
    reported = out.text()
    assert [part for part in ("jane", "roe@", "@exa", "example.c") if part in reported] == []
    for span in out.spans.get_finished_spans():
        assert span.attributes is not None
        for name in ("gen_ai.input.messages", "gen_ai.output.messages"):
            written = str(span.attributes[name])
            assert len(written.encode()) <= 1024
            json.loads(written)
        assert span.attributes["llmtrace.content.truncated"] is True
        assert span.attributes["llmtrace.content.original_size"] > 10_000


@both
@either_way
def test_raising_redactor_hides_every_text(
    call: Call, stream: bool, url: str, instrumented: Callable[..., Exported]
) -> None:
    """If the redactor raises, a fixed token replaces each text, and the call continues."""

    def redact(text: str) -> str:
        raise ValueError(text)

    out = instrumented(capture_content=True, redact=redact)
    call(url, "fine", stream)
    reported = out.text()
    assert [name for name, secret in SECRETS.items() if secret in reported] == []
    assert "__REDACTED__" in reported
    assert out.attributes()["llmtrace.outcome"] == "ok"


def test_request_is_recorded_as_sent(url: str, instrumented: Callable[..., Exported]) -> None:
    """The request is recorded as it was sent, even if the caller changes its list during the stream."""
    out = instrumented(capture_content=True)
    messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "first"}]}]
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        for _ in client.chat.completions.create(model="fine", messages=messages, stream=True):
            messages[0]["content"][0]["text"] = "second"
            messages.append({"role": "assistant", "content": "more"})
    (requested,) = json.loads(out.attributes()["gen_ai.input.messages"])
    assert requested == {"role": "user", "parts": [{"type": "text", "content": "first"}]}


def test_generator_of_messages_is_not_consumed(url: str, instrumented: Callable[..., Exported]) -> None:
    """Messages from a generator reach the vendor and the span."""
    out = instrumented(capture_content=True)
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        messages: Any = ({"role": "user", "content": f"line {number}"} for number in range(3))
        client.chat.completions.create(model="echo", messages=messages)
    requested = json.loads(out.attributes()["gen_ai.input.messages"])
    assert [message["parts"][0]["content"] for message in requested] == ["line 0", "line 1", "line 2"]


@pytest.mark.parametrize(
    ("environ", "there", "gone"),
    [
        ({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"}, ["user", "output"], ["header"]),
        ({"LLMTRACE_CAPTURE_CONTENT": "true", "TRACELOOP_TRACE_CONTENT": "false"}, [], ["user", "output", "tool"]),
        ({"LLMTRACE_CAPTURE_CONTENT": "true", "OPENINFERENCE_HIDE_INPUTS": "true"}, ["output"], ["user", "system"]),
        ({"LLMTRACE_CAPTURE_CONTENT": "true", "OPENINFERENCE_HIDE_OUTPUTS": "1"}, ["user"], ["output", "arguments"]),
        ({"LLMTRACE_CAPTURE_CONTENT": "true", "OPENINFERENCE_HIDE_INPUT_TEXT": "true"}, ["output"], ["user", "system"]),
        ({"LLMTRACE_CAPTURE_CONTENT": "true", "OPENINFERENCE_HIDE_LLM_TOOLS": "true"}, ["user"], ["tool"]),
        (
            {"LLMTRACE_CAPTURE_CONTENT": "false", "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"},
            [],
            ["user"],
        ),
    ],
)
def test_content_variables_of_other_tools_are_honored(
    environ: dict[str, str],
    there: list[str],
    gone: list[str],
    url: str,
    instrumented: Callable[..., Exported],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The variables of OpenTelemetry, OpenInference and Traceloop apply, and the strictest wins."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    out = instrumented()
    call_openai(url, "fine", False)
    reported = out.text()
    assert [name for name in there if SECRETS[name] not in reported] == []
    assert [name for name in gone if SECRETS[name] in reported] == []


def test_event_only_content_is_not_on_the_span(url: str, instrumented: Callable[..., Exported]) -> None:
    """In event-only mode content is on the event, as values, and not on the span."""
    out = instrumented(capture_content="event_only")
    call_openai(url, "fine", False)
    assert not [name for name, value in out.attributes().items() if SECRETS["user"] in str(value)]
    (record,) = out.records.get_finished_logs()
    reported = record.log_record.attributes or {}
    assert SECRETS["user"] in str(reported["gen_ai.input.messages"])
    assert not isinstance(reported["gen_ai.input.messages"], str)


def test_event_with_content_off_has_no_text(
    url: str, instrumented: Callable[..., Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With content off the event has counts, but no text."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "true")
    out = instrumented()
    call_openai(url, "fine", False)
    reported = out.text()
    (record,) = out.records.get_finished_logs()
    assert (record.log_record.attributes or {})["gen_ai.usage.input_tokens"] == 3
    assert [name for name, secret in SECRETS.items() if secret in reported] == []


@pytest.mark.parametrize("inner", [True, False], ids=["on inside", "off inside"])
def test_stream_uses_the_content_mode_of_its_creation(
    inner: bool, url: str, instrumented: Callable[..., Exported]
) -> None:
    """The block that created a stream decides, in whichever thread it is read."""
    out = instrumented(capture_content=not inner)
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        with llmtrace.tag(capture_content=not inner), llmtrace.tag(capture_content=inner):
            made = client.chat.completions.create(
                model="fine", messages=[{"role": "user", "content": SECRETS["user"]}], stream=True
            )
        with llmtrace.tag(capture_content=not inner):
            reader = threading.Thread(target=list, args=(made,))
            reader.start()
            reader.join()
    for name in ("user", "output"):
        assert (SECRETS[name] in out.text()) is inner


def test_sdk_debug_logging_does_not_add_ours(url: str, instrumented: Callable[..., Exported]) -> None:
    """If the SDK logs everything it sends, llmtrace logs none of it."""
    out = instrumented()
    levels = {name: logging.getLogger(name).level for name in ("openai", "httpx", "")}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.DEBUG)
        call_openai(url, "fine", True)
        with pytest.raises(openai.BadRequestError):
            call_openai(url, "refused", False)
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    assert [name for name, secret in SECRETS.items() if secret in out.text()] == []
