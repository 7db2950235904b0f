"""Content that goes to a store, and the references to it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
import openai
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.telemetry.upload import UntruncatedContent, Uploads, open_uploads

pytestmark = pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")

HOOK = "OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK"
BASE = "OTEL_INSTRUMENTATION_GENAI_UPLOAD_BASE_PATH"
FORMAT = "OTEL_INSTRUMENTATION_GENAI_UPLOAD_FORMAT"
QUEUE = "OTEL_INSTRUMENTATION_GENAI_UPLOAD_MAX_QUEUE_SIZE"
INPUTS, OUTPUTS = "gen_ai.input.messages", "gen_ai.output.messages"
SYSTEM, TOOLS = "gen_ai.system_instructions", "gen_ai.tool.definitions"
LONG = "long " * 50_000
ADDRESS = "jane.roe@example.com"
TOOL: Any = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}


def whole(text: str, redact: Any = None) -> UntruncatedContent:
    return UntruncatedContent([{"role": "user", "parts": [{"type": "text", "content": text}]}], redact, False)


class Store(MemoryFileSystem):
    """A store that waits for ``go``, or raises."""

    protocol = "slow"
    cachable = False
    go = threading.Event()
    error: Exception | None = None

    def open(self, *arguments: Any, **options: Any) -> Any:
        assert self.go.wait(60)
        if self.error is not None:
            raise self.error
        return super().open(*arguments, **options)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Store]]:
    """The store under ``slow://``, which takes nothing until it is told to."""
    fsspec.register_implementation("slow", Store, clobber=True)
    monkeypatch.setattr(Store, "go", threading.Event())
    monkeypatch.setattr(Store, "error", None)
    yield Store
    Store.go.set()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes a call with the hook on; gives the span's attributes, the event's and the library's own answer."""

    def ask(replay: Any, base: str, form: str = "", messages: Any = None, tools: Any = (TOOL,), **settings: Any) -> Any:
        monkeypatch.setenv(HOOK, "upload")
        monkeypatch.setenv(BASE, base)
        monkeypatch.setenv(FORMAT, form)
        exporter, records = InMemorySpanExporter(), InMemoryLogRecordExporter()
        tracers, loggers = TracerProvider(), LoggerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(exporter))
        loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
        messages = messages or [{"role": "user", "content": LONG + ADDRESS}]
        with (
            llmtrace.instrument(tracer_provider=tracers, logger_provider=loggers, strict=True, **settings),
            openai.OpenAI(base_url=replay.url, api_key="k", max_retries=0) as client,
        ):
            client.chat.completions.create(model="gpt-4o", messages=messages, tools=list(tools))
            sent = llmtrace.flush(30)
        (span,) = exporter.get_finished_spans()
        events = [dict(record.log_record.attributes or {}) for record in records.get_finished_logs()]
        return dict(span.attributes or {}), events, sent

    return ask


def read(reference: str) -> Any:
    with fsspec.open(reference, "r") as file:
        return json.load(file)


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_a_call_is_written_whole_and_referred_to(
    form: str, asked: Any, replay: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the hook alone, span and event carry no content but where it lies; the files hold it whole."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "true")
    attributes, (event,), sent = asked(replay, f"{tmp_path}/new/folder", form)
    assert sent is True
    assert not {INPUTS, OUTPUTS, TOOLS} & {*attributes, *event}
    names = {INPUTS: "inputs", OUTPUTS: "outputs", TOOLS: "tool.definitions"}
    for name, kind in names.items():
        reference = attributes[name + "_ref"]
        assert event[name + "_ref"] == reference
        assert reference.startswith(f"file://{tmp_path}/new/folder/")
        assert reference.endswith(f"_{kind}.{form}")
    text = Path(urlsplit(attributes[INPUTS + "_ref"]).path).read_text()
    (message,) = json.loads(text) if form == "json" else [json.loads(line) for line in text.splitlines()]
    assert message["parts"] == [{"type": "text", "content": LONG + ADDRESS}]
    assert message.get("index") == (0 if form == "jsonl" else None)


def test_the_span_may_carry_content_too(asked: Any, replay: Any) -> None:
    """With content on as well, the span has what fits and says where the whole is; both are redacted."""
    attributes, _, _ = asked(replay, "memory://both", redact="builtin", capture_content=True)
    assert attributes["llmtrace.content.truncated"] is True
    (message,) = read(attributes[INPUTS + "_ref"])
    assert message["parts"][0]["content"] == LONG + "[EMAIL]"
    assert ADDRESS not in json.dumps(attributes)


def test_a_redactor_that_fails_lets_nothing_through(asked: Any, replay: Any) -> None:
    """Where the redactor raises, the file holds the fixed token."""

    def fails(text: str) -> str:
        raise ValueError(text)

    attributes, _, _ = asked(replay, "memory://closed", redact=fails)
    (message,) = read(attributes[INPUTS + "_ref"])
    assert message["parts"][0]["content"] == "__REDACTED__"


def test_a_block_that_wants_no_content_uploads_none(asked: Any, replay: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``tag(capture_content=False)`` keeps a call off the store too, and so does Traceloop's variable."""
    with llmtrace.tag(capture_content=False):
        attributes, _, _ = asked(replay, "memory://none")
    assert not [name for name in attributes if name.endswith("_ref")]
    monkeypatch.setenv("TRACELOOP_TRACE_CONTENT", "false")
    attributes, _, _ = asked(replay, "memory://none")
    assert not [name for name in attributes if name.endswith("_ref")]


def test_what_is_said_again_is_written_once() -> None:
    """Instructions and tools are named by what they say, by no plain hash where they are redacted."""
    uploads, other = Uploads("memory://again"), Uploads("memory://again")
    first = uploads.send({SYSTEM: whole("be kind"), INPUTS: whole("hello")})
    second = uploads.send({SYSTEM: whole("be kind"), INPUTS: whole("hello")})
    assert first[SYSTEM + "_ref"] == second[SYSTEM + "_ref"] == other.send({SYSTEM: whole("be kind")})[SYSTEM + "_ref"]
    assert first[INPUTS + "_ref"] != second[INPUTS + "_ref"]
    redacted = {SYSTEM: whole("be kind", str.upper)}
    assert uploads.send(redacted) == uploads.send(redacted)
    assert uploads.send(redacted) != other.send(redacted)
    assert uploads.drain(30)
    assert read(uploads.send(redacted)[SYSTEM + "_ref"])[0]["parts"][0]["content"] == "BE KIND"


def test_a_store_that_hangs_holds_nobody_up(slow: type[Store], caplog: pytest.LogCaptureFixture) -> None:
    """A full queue drops and counts, says so once, and gives no reference to what it dropped."""
    uploads = Uploads("slow://away", max_queued=3)
    kept = [uploads.send({INPUTS: whole(f"call {n}")}) for n in range(10)]
    assert [bool(references) for references in kept] == [True] * 3 + [False] * 7
    assert uploads.lost == 7
    assert uploads.drain(0.05) is False
    assert sum("queue is full" in record.getMessage() for record in caplog.records) == 1
    slow.go.set()
    assert uploads.drain(30) is True
    assert read(kept[0][INPUTS + "_ref"])[0]["parts"][0]["content"] == "call 0"


def test_flush_and_exit_wait_no_longer_than_they_may(slow: type[Store], asked: Any, replay: Any) -> None:
    """A process whose store hangs flushes in bounded time, and ends."""
    code = f"""
import os, threading, fsspec, llmtrace
from fsspec.implementations.memory import MemoryFileSystem
class Away(MemoryFileSystem):
    protocol = "away"
    def open(self, *arguments, **options): threading.Event().wait()
fsspec.register_implementation("away", Away)
os.environ |= {{"{HOOK}": "upload", "{BASE}": "away://", "LLMTRACE_STORE": "off", "LLMTRACE_FLUSH_TIMEOUT": "0.2"}}
llmtrace.instrument()
import openai
with openai.OpenAI(base_url="{replay.url}", api_key="k", max_retries=0) as client:
    client.chat.completions.create(model="gpt-4o", messages=[{{"role": "user", "content": "hi"}}])
print(llmtrace.flush(2.0))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr


def test_a_store_that_raises_costs_the_file_alone(slow: type[Store], caplog: pytest.LogCaptureFixture) -> None:
    """What the store does not take is counted and said once, without the store's message; later calls go on."""
    slow.go.set()
    slow.error = OSError("no room for 'hello' at slow://key@host")
    uploads = Uploads("slow://full")
    for _ in range(3):
        assert uploads.send({SYSTEM: whole("hello"), OUTPUTS: whole("hello")})
        assert uploads.drain(30) is False
    assert uploads.lost == 6  # the instructions are tried again, since they were never written
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == 1
    assert "OSError" in messages[0]
    assert "key@host" not in messages[0]
    slow.error = None
    assert uploads.send({SYSTEM: whole("hello")})
    assert uploads.drain(30) is True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_uploads_what_is_its_own(tmp_path: Path, slow: type[Store]) -> None:
    """After a fork each process writes its own calls, also where the parent's threads were at work."""
    waiting = Uploads("slow://parent")
    waiting.send({INPUTS: whole("parent")})
    uploads = Uploads(str(tmp_path))
    uploads.send({INPUTS: whole("before")})
    assert uploads.drain(30)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            uploads.send({INPUTS: whole("child")})
            code = 0 if uploads.drain(30) and waiting.drain(0.0) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    said = {json.loads(file.read_text())[0]["parts"][0]["content"] for file in tmp_path.iterdir()}
    assert said == {"before", "child"}


def test_threads_end_and_nothing_is_taken_after_the_end() -> None:
    """Closing ends the threads; what comes later is not taken, and refers to nothing."""
    before = set(threading.enumerate())
    uploads = Uploads("memory://closed")
    uploads.send({INPUTS: whole("one")})
    started = set(threading.enumerate()) - before
    assert uploads.close(30) is True
    for thread in started:
        thread.join(30)
        assert not thread.is_alive()
    assert uploads.send({INPUTS: whole("two")}) == {}


@pytest.mark.parametrize(
    ("variables", "named", "accepted"),
    [
        ({HOOK: "uplaod"}, HOOK, "upload"),
        ({HOOK: "upload"}, BASE, "s3://"),
        ({HOOK: "upload", BASE: "x", FORMAT: "yaml"}, FORMAT, "json or jsonl"),
        ({HOOK: "upload", BASE: "x", QUEUE: "0"}, QUEUE, "1 or more"),
        ({HOOK: "upload", BASE: "x", QUEUE: "many"}, QUEUE, "1 or more"),
        ({HOOK: "upload", BASE: "nowhere://x"}, BASE, "nowhere"),
        ({HOOK: "upload", BASE: "simplecache::nowhere://x"}, BASE, "nowhere"),
    ],
)
def test_a_wrong_variable_is_told(variables: dict[str, str], named: str, accepted: str) -> None:
    """A wrong value raises at once and says what is accepted."""
    with pytest.raises(llmtrace.ConfigError) as caught:
        open_uploads(variables)
    assert named in str(caught.value)
    assert accepted in str(caught.value)


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where fsspec is missing, the message says what to install."""
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(llmtrace.ConfigError, match=r"llmtrace-otel\[upload\]"):
        open_uploads({HOOK: "upload", BASE: "x"})


def test_paths_are_urls() -> None:
    """A folder is named as a URL; what is a URL stays one."""
    assert Uploads("some/where").base == f"file://{os.getcwd()}/some/where"
    assert Uploads("memory://").base == "memory://"
    assert Uploads("file:///").base == "file://"
    assert Uploads("s3://bucket/folder/").base == "s3://bucket/folder"
    assert open_uploads({}) is None
