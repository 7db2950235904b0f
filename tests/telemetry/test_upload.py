"""Upload of content to a store, and the references on spans and events."""

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


def make_content(text: str, redact: Any = None) -> UntruncatedContent:
    return UntruncatedContent([{"role": "user", "parts": [{"type": "text", "content": text}]}], redact, False)


class Store(MemoryFileSystem):
    """Store that waits for ``go``, then raises ``error`` if set."""

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
    """Return the store of ``slow://``, which blocks until ``go`` is set."""
    fsspec.register_implementation("slow", Store, clobber=True)
    monkeypatch.setattr(Store, "go", threading.Event())
    monkeypatch.setattr(Store, "error", None)
    yield Store
    Store.go.set()


@pytest.fixture
def call_with_upload(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that makes a call with the hook on.

    It returns the attributes of the span, those of the events, and the result of ``llmtrace.flush``.
    """

    def call(
        replay: Any, base: str, form: str = "", messages: Any = None, tools: Any = (TOOL,), **settings: Any
    ) -> Any:
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
            flushed = llmtrace.flush(30)
        (span,) = exporter.get_finished_spans()
        events = [dict(record.log_record.attributes or {}) for record in records.get_finished_logs()]
        return dict(span.attributes or {}), events, flushed

    return call


def read(reference: str) -> Any:
    with fsspec.open(reference, "r") as file:
        return json.load(file)


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_uploaded_call_has_references_instead_of_content(
    form: str, call_with_upload: Any, replay: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without content capture, span and event have references only; the files have the complete content."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "true")
    attributes, (event,), flushed = call_with_upload(replay, f"{tmp_path}/new/folder", form)
    assert flushed is True
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


def test_uploaded_call_can_have_content_on_its_span(call_with_upload: Any, replay: Any) -> None:
    """With content capture, the span also has truncated content; span and file are redacted."""
    attributes, _, _ = call_with_upload(replay, "memory://both", redact="builtin", capture_content=True)
    assert attributes["llmtrace.content.truncated"] is True
    (message,) = read(attributes[INPUTS + "_ref"])
    assert message["parts"][0]["content"] == LONG + "[EMAIL]"
    assert ADDRESS not in json.dumps(attributes)


def test_failing_redactor_uploads_the_token(call_with_upload: Any, replay: Any) -> None:
    """If the redactor raises, the file has the fixed token."""

    def fails(text: str) -> str:
        raise ValueError(text)

    attributes, _, _ = call_with_upload(replay, "memory://closed", redact=fails)
    (message,) = read(attributes[INPUTS + "_ref"])
    assert message["parts"][0]["content"] == "__REDACTED__"


def test_content_turned_off_is_not_uploaded(
    call_with_upload: Any, replay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``tag(capture_content=False)`` and Traceloop's variable prevent the upload of a call."""
    with llmtrace.tag(capture_content=False):
        attributes, _, _ = call_with_upload(replay, "memory://none")
    assert not [name for name in attributes if name.endswith("_ref")]
    monkeypatch.setenv("TRACELOOP_TRACE_CONTENT", "false")
    attributes, _, _ = call_with_upload(replay, "memory://none")
    assert not [name for name in attributes if name.endswith("_ref")]


def test_repeated_content_is_uploaded_once() -> None:
    """Instructions and tools are named by a hash, which is salted if they are redacted."""
    uploads, other = Uploads("memory://again"), Uploads("memory://again")
    first = uploads.send({SYSTEM: make_content("be kind"), INPUTS: make_content("hello")})
    second = uploads.send({SYSTEM: make_content("be kind"), INPUTS: make_content("hello")})
    assert (
        first[SYSTEM + "_ref"]
        == second[SYSTEM + "_ref"]
        == other.send({SYSTEM: make_content("be kind")})[SYSTEM + "_ref"]
    )
    assert first[INPUTS + "_ref"] != second[INPUTS + "_ref"]
    redacted = {SYSTEM: make_content("be kind", str.upper)}
    assert uploads.send(redacted) == uploads.send(redacted)
    assert uploads.send(redacted) != other.send(redacted)
    assert uploads.drain(30)
    assert read(uploads.send(redacted)[SYSTEM + "_ref"])[0]["parts"][0]["content"] == "BE KIND"


def test_full_queue_drops_files_and_warns_once(slow: type[Store], caplog: pytest.LogCaptureFixture) -> None:
    """With a hanging store, files beyond the queue are counted, logged once, and get no reference."""
    uploads = Uploads("slow://away", max_queued=3)
    kept = [uploads.send({INPUTS: make_content(f"call {n}")}) for n in range(10)]
    assert [bool(references) for references in kept] == [True] * 3 + [False] * 7
    assert uploads.lost == 7
    assert uploads.drain(0.05) is False
    assert sum("queue is full" in record.getMessage() for record in caplog.records) == 1
    slow.go.set()
    assert uploads.drain(30) is True
    assert read(kept[0][INPUTS + "_ref"])[0]["parts"][0]["content"] == "call 0"


def test_flush_and_exit_with_a_hanging_store_are_bounded(slow: type[Store], call_with_upload: Any, replay: Any) -> None:
    """A process whose store hangs flushes within its timeout and exits."""
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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr


def test_failing_store_loses_the_file_and_warns_once(slow: type[Store], caplog: pytest.LogCaptureFixture) -> None:
    """Lost files are counted and logged once, without the message of the store; later uploads work."""
    slow.go.set()
    slow.error = OSError("no room for 'hello' at slow://key@host")
    uploads = Uploads("slow://full")
    for _ in range(3):
        assert uploads.send({SYSTEM: make_content("hello"), OUTPUTS: make_content("hello")})
        assert uploads.drain(30) is False
    assert uploads.lost == 6  # the instructions are uploaded again, since they were never written
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == 1
    assert "OSError" in messages[0]
    assert "key@host" not in messages[0]
    slow.error = None
    assert uploads.send({SYSTEM: make_content("hello")})
    assert uploads.drain(30) is True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_uploads_only_its_own_files(tmp_path: Path, slow: type[Store]) -> None:
    """After a fork each process uploads its own calls, even if the parent's threads were busy."""
    waiting = Uploads("slow://parent")
    waiting.send({INPUTS: make_content("parent")})
    uploads = Uploads(str(tmp_path))
    uploads.send({INPUTS: make_content("before")})
    assert uploads.drain(30)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            uploads.send({INPUTS: make_content("child")})
            code = 0 if uploads.drain(30) and waiting.drain(0.0) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    texts = {json.loads(file.read_text())[0]["parts"][0]["content"] for file in tmp_path.iterdir()}
    assert texts == {"before", "child"}


def test_closed_uploads_end_their_threads_and_reject_files() -> None:
    """Closing ends the threads; later files are rejected and get no reference."""
    before = set(threading.enumerate())
    uploads = Uploads("memory://closed")
    uploads.send({INPUTS: make_content("one")})
    started = set(threading.enumerate()) - before
    assert uploads.close(30) is True
    for thread in started:
        thread.join(30)
        assert not thread.is_alive()
    assert uploads.send({INPUTS: make_content("two")}) == {}


@pytest.mark.parametrize(
    ("variables", "variable", "accepted"),
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
def test_invalid_variable_raises_and_names_accepted_values(
    variables: dict[str, str], variable: str, accepted: str
) -> None:
    """An invalid value raises an error with the variable and the accepted values."""
    with pytest.raises(llmtrace.ConfigError) as caught:
        open_uploads(variables)
    assert variable in str(caught.value)
    assert accepted in str(caught.value)


def test_missing_fsspec_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the extra to install."""
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(llmtrace.ConfigError, match=r"llmtrace-otel\[upload\]"):
        open_uploads({HOOK: "upload", BASE: "x"})


def test_base_folder_becomes_a_url() -> None:
    """A folder becomes a file URL; a URL is kept."""
    assert Uploads("some/where").base == f"file://{os.getcwd()}/some/where"
    assert Uploads("memory://").base == "memory://"
    assert Uploads("file:///").base == "file://"
    assert Uploads("s3://bucket/folder/").base == "s3://bucket/folder"
    assert open_uploads({}) is None
