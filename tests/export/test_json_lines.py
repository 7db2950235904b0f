"""Spans as JSON lines: files of other programs are left alone, and incomplete lines stay apart."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from llmtrace.export.json_lines import JsonLinesExporter


def span(name: str) -> ReadableSpan:
    made = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span(name)
    made.end()
    assert isinstance(made, ReadableSpan)
    return made


@pytest.mark.parametrize(
    "content",
    ['{"customer": 1}\n', '{"name": "Ann"}\n', "notes", "\n", "\0" * 9],
    ids=["objects", "objects with names", "text", "blank", "binary"],
)
def test_file_of_another_program_is_left_unchanged(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its spans are not exported, and the one warning names the setting."""
    path = tmp_path / "data.jsonl"
    path.write_text(content)
    exporter = JsonLinesExporter(path)
    assert [exporter.export([span("a")]) for _ in range(2)] == [SpanExportResult.FAILURE] * 2
    assert path.read_text() == content
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "is not a file of spans and is left unchanged; set LLMTRACE_STORE" in message


def test_file_of_spans_is_continued_after_an_incomplete_line(tmp_path: Path) -> None:
    """Each complete line can be read; also where a name is long and has characters outside ASCII."""
    path = tmp_path / "spans.jsonl"
    path.touch()  # an empty file belongs to no other program
    exporter = JsonLinesExporter(path)
    assert exporter.export([span("\u00e9" * 9_000), span("b")]) is SpanExportResult.SUCCESS
    with path.open("a") as file:
        file.write('{"name": "torn')
    assert exporter.export([span("c")]) is SpanExportResult.SUCCESS
    lines = path.read_text().splitlines()
    assert lines.pop(2) == '{"name": "torn'
    assert [json.loads(line)["name"] for line in lines] == ["\u00e9" * 9_000, "b", "c"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_named_pipe_does_not_block(tmp_path: Path) -> None:
    """A pipe without a reader is refused."""
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    assert JsonLinesExporter(path).export([span("a")]) is SpanExportResult.FAILURE
