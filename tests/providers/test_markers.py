"""No planted word is exported for any call and any outcome: by default, and if a redactor removes it."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import anthropic
import openai
import pydantic
import pytest
from google_recordings import make_client as gemini
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from serving import QuietHandler, serving

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*[Dd]eprecat.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*is not a valid:UserWarning"),
]

MARK = "marker-q7"
JSON = {
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    "gen_ai.retrieval.documents",
    "llm.prompt_template.variables",
    "metadata",
}
TOOLS: Any = [{"type": "function", "function": {"name": "f", "description": MARK, "parameters": {"type": "object"}}}]
EXTRA: Any = {"extra_headers": {"x-extra": MARK}}


class Vendor(QuietHandler):
    """Server that responds with the prompt, as an error, as invalid JSON, or as JSON of another form."""

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["content-length"])).decode("utf-8", "replace").replace('"', "'")
        sent = sent.replace("\\", "/").replace("\r", " ").replace("\n", " ")
        assert MARK in sent
        if "fails" in self.path:
            self._send(400, f'{{"error": {{"type": "bad_request", "code": 400, "message": "you said: {sent}"}}}}')
        elif "echoes" in self.path:
            self._send(400, f'{{"error": {{"type": "{sent}", "code": "{sent}", "status": "{sent}"}}}}')
        elif "labels" in self.path:
            choice = f'{{"index": 0, "finish_reason": "{sent}", "message": {{"role": "assistant", "content": "x"}}}}'
            candidate = f'{{"finishReason": "{sent}", "content": {{"parts": [{{"text": "x"}}]}}}}'
            answer = f'"model": "{sent}", "choices": [{choice}], "candidates": [{candidate}], "stop_reason": "{sent}"'
            self._send(200, f'{{"object": "chat.completion", "type": "message", {answer}, "modelVersion": "{sent}"}}')
        elif "broken" in self.path:
            self._send(200, f'{{"choices": "{sent}')
        else:
            strange = f'{{"choices": "{sent}", "content": "{sent}", "candidates": "{sent}", "output": "{sent}"}}'
            self._send(200, strange)

    def _send(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of the vendor."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Vendor)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


REDACTED = {"capture_content": "span_and_event", "redact": lambda text: text.replace(MARK, "[gone]")}


@pytest.fixture(params=[{}, REDACTED], ids=["off", "redacted"])
def reported(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """Instrument, and return everything that llmtrace exports or logs."""
    caplog.set_level(logging.DEBUG)
    spans, records = InMemorySpanExporter(), InMemoryLogRecordExporter()
    tracers, loggers = TracerProvider(), LoggerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))

    def all_of_it() -> str:
        llmtrace.flush()
        finished = spans.get_finished_spans()
        assert finished
        for span in finished:
            for name, value in (span.attributes or {}).items():
                if name in JSON:
                    json.loads(str(value))
        events = [f"{one.log_record.attributes} {one.log_record.body}" for one in records.get_finished_logs()]
        logged = [caplog.handler.format(record) for record in caplog.records if record.name.startswith("llmtrace")]
        return "\n".join([encode_spans(finished).SerializeToString().decode("utf-8", "replace"), *events, *logged])

    settings: dict[str, Any] = request.param
    with llmtrace.instrument(tracer_provider=tracers, logger_provider=loggers, strict=True, **settings):
        yield all_of_it
    tracers.shutdown()
    loggers.shutdown()  # type: ignore[no-untyped-call]


MESSAGES: Any = [{"role": "system", "content": MARK}, {"role": "user", "content": MARK}]
OPENAI: dict[str, Callable[[Any], Any]] = {
    "chat": lambda c: c.chat.completions.create(model="m", messages=MESSAGES, tools=TOOLS, user=MARK, **EXTRA),
    "chat stream": lambda c: c.chat.completions.create(model="m", messages=MESSAGES, stream=True, **EXTRA),
    "chat raw": lambda c: c.chat.completions.with_raw_response.create(model="m", messages=MESSAGES),
    "responses": lambda c: c.responses.create(model="m", input=MARK, instructions=MARK, metadata={"k": MARK}, **EXTRA),
    "responses stream": lambda c: c.responses.create(model="m", input=MARK, stream=True),
    "completions": lambda c: c.completions.create(model="m", prompt=MARK, suffix=MARK),
    "embeddings": lambda c: c.embeddings.create(model="m", input=[MARK], user=MARK),
    "moderations": lambda c: c.moderations.create(model="m", input=MARK),
    "images": lambda c: c.images.generate(model="m", prompt=MARK, user=MARK),
    "image edits": lambda c: c.images.edit(model="m", prompt=MARK, image=("a.png", b"PNG")),
    "speech": lambda c: c.audio.speech.create(model="m", input=MARK, voice="alloy", extra_body={"instructions": MARK}),
    "transcriptions": lambda c: c.audio.transcriptions.create(model="m", file=(MARK, b"RIFF"), prompt=MARK),
    "runs": lambda c: c.beta.threads.create_and_run(assistant_id="a", instructions=MARK),
}
ANTHROPIC: dict[str, Callable[[Any], Any]] = {
    "messages": lambda c: c.messages.create(
        model="m",
        max_tokens=9,
        system=MARK,
        messages=[{"role": "user", "content": MARK}],
        metadata={"user_id": MARK},
        **EXTRA,
    ),
    "messages stream": lambda c: c.messages.create(
        model="m", max_tokens=9, messages=[{"role": "user", "content": MARK}], stream=True
    ),
    "messages raw": lambda c: c.messages.with_raw_response.create(
        model="m", max_tokens=9, messages=[{"role": "user", "content": MARK}]
    ),
    "count": lambda c: c.messages.count_tokens(model="m", messages=[{"role": "user", "content": MARK}]),
}
GOOGLE: dict[str, Callable[[Any], Any]] = {
    "generate": lambda c: c.models.generate_content(model="m", contents=MARK, config={"system_instruction": MARK}),
    "generate stream": lambda c: c.models.generate_content_stream(model="m", contents=MARK),
    "embed": lambda c: c.models.embed_content(model="m", contents=MARK),
    "count": lambda c: c.models.count_tokens(model="m", contents=MARK),
}
#: What the first supported releases do not have yet.
UNKNOWN = {
    *(() if hasattr(openai.OpenAI, "responses") else ("openai responses", "openai responses stream")),
    *(() if hasattr(anthropic.resources.Messages, "count_tokens") else ("anthropic count",)),
}
CALLS = [
    pytest.param(vendor, call, id=f"{vendor} {name}")
    for vendor, calls in (("openai", OPENAI), ("anthropic", ANTHROPIC), ("google", GOOGLE))
    for name, call in calls.items()
    if f"{vendor} {name}" not in UNKNOWN
]


def make_vendor_client(vendor: str, url: str, colour: str) -> Any:
    if vendor == "google":
        client = gemini(url, "v1beta", None, None)
        return client if colour == "sync" else client.aio
    kinds: dict[str, tuple[Any, Any]] = {
        "openai": (openai.OpenAI, openai.AsyncOpenAI),
        "anthropic": (anthropic.Anthropic, anthropic.AsyncAnthropic),
    }
    return kinds[vendor][colour == "async"](base_url=url, api_key=MARK, max_retries=0)


async def drained(value: Any) -> None:
    if inspect.isawaitable(value):
        value = await value
    if hasattr(value, "__aiter__"):
        async for _ in value:
            pass
    elif hasattr(value, "__next__"):
        for _ in value:
            pass


async def close(client: Any) -> None:
    for name in ("aclose", "close"):
        if callable(closing := getattr(client, name, None)):
            done = closing()
            if inspect.isawaitable(done):
                await done
            return


@pytest.mark.parametrize(
    ("ending", "colour"),
    [
        *(("fails", "sync"), ("fails", "async"), ("broken", "sync"), ("strange", "sync")),
        *(("echoes", "sync"), ("labels", "sync")),
    ],
)
@pytest.mark.parametrize(("vendor", "call"), CALLS)
async def test_no_call_exports_a_planted_word(
    vendor: str, call: Any, ending: str, colour: str, url: str, reported: Callable[[], str]
) -> None:
    """An error that echoes the prompt, invalid JSON and JSON of another form are not exported."""
    client = make_vendor_client(vendor, f"{url}/{ending}", colour)
    try:
        await drained(call(client))
    except Exception as error:
        assert ending != "fails" or MARK in str(error)
    finally:
        await close(client)
    assert MARK not in reported()


def broken_by(kind: str) -> Exception:
    error: Exception = ValueError(MARK)
    if kind == "cause":
        error = RuntimeError("plain")
        error.__cause__ = ValueError(MARK)
    elif kind == "note":
        error = RuntimeError("plain")
        error.add_note(MARK)
    elif kind == "group":
        error = ExceptionGroup(MARK, [ValueError(MARK), KeyError(MARK)])
    elif kind == "validation":
        try:
            pydantic.TypeAdapter(int).validate_python(MARK)
        except pydantic.ValidationError as caught:
            error = caught
    return error


BLOCKS: dict[str, Callable[[], Any]] = {
    "tool": lambda: llmtrace.tool("t", arguments={"q": MARK}),
    "agent": lambda: llmtrace.agent("a"),
    "workflow": lambda: llmtrace.workflow("w"),
    "retrieval": lambda: llmtrace.retrieval("r", query=MARK),
}


@pytest.mark.parametrize("kind", ["plain", "cause", "note", "group", "validation"])
@pytest.mark.parametrize("block", BLOCKS)
def test_no_block_exports_a_planted_word(block: str, kind: str, reported: Callable[[], str]) -> None:
    """An exception of the program in a block, its inputs and its outputs are not exported."""
    error = broken_by(kind)
    with (
        pytest.raises(type(error)) as caught,
        llmtrace.prompt("p", template=MARK, variables={"x": MARK}),
        BLOCKS[block]() as opened,
    ):
        if block == "tool":
            opened.result(MARK)
        if block == "retrieval":
            opened.add([llmtrace.Document("d", 0.5, MARK, {"x": MARK})])
        raise error
    assert caught.value is error
    assert MARK not in reported()


@pytest.mark.parametrize("block", BLOCKS)
def test_no_decorated_function_exports_a_planted_word(block: str, reported: Callable[[], str]) -> None:
    """Arguments, result and exception of a decorated function are not exported."""

    def run(question: str) -> str:
        if question != MARK:
            raise ValueError(MARK)
        return MARK

    made = {
        "tool": llmtrace.tool,
        "agent": llmtrace.agent,
        "workflow": llmtrace.workflow,
        "retrieval": llmtrace.retrieval,
    }
    decorated = made[block]("name")(run)
    assert decorated(MARK) == MARK
    with pytest.raises(ValueError, match=MARK):
        decorated(MARK + "!")
    assert MARK not in reported()
