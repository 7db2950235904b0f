"""Every way to switch tracing on records the same spans of an unmodified program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import llmtrace
from export.backend import Backend

pytestmark = pytest.mark.exhaustive

SOURCE = str(Path(llmtrace.__file__).parents[1])
PROGRAM = """
import sys, anthropic, openai
with openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="x", max_retries=0, timeout=30) as client:
    ask = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    client.chat.completions.create(**ask)
    for _ in client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
        pass
with anthropic.Anthropic(base_url=sys.argv[1], api_key="x", max_retries=0, timeout=30) as client:
    client.messages.create(model="claude-sonnet-4-6", max_tokens=9, messages=ask["messages"])
try:
    openai.OpenAI(base_url=sys.argv[1] + "/nothing", api_key="x", max_retries=0).chat.completions.create(**ask)
except openai.APIStatusError:
    pass
print("done")
"""
MEASURED = (
    "gen_ai.response.time_to_first_chunk", "llmtrace.stream.time_to_first_token", "llmtrace.stream.tokens_per_second",
    "llmtrace.stream.time_per_output_chunk.mean", "llmtrace.stream.time_per_output_chunk.p95",
    "llmtrace.stream.time_per_output_chunk.max", "llmtrace.stream.stalls",
)  # fmt: skip


def _spans(backend: Backend) -> Counter[Any]:
    """Return every span with its contents, without ids and times."""
    spans: Counter[Any] = Counter()
    for request in backend.requests:
        for scope in (scope for each in request.resource_spans for scope in each.scope_spans):
            for span in scope.spans:
                attributes = {each.key: str(each.value) for each in span.attributes}
                attributes |= dict.fromkeys(attributes.keys() & set(MEASURED), "measured")
                events = tuple((event.name, tuple(map(str, event.attributes))) for event in span.events)
                spans[
                    scope.scope.name, scope.scope.version, span.name, span.kind, str(span.status), events,
                    tuple(sorted(attributes.items())),
                ] += 1  # fmt: skip
    return spans


def test_every_entry_point_records_the_same_spans(replay: Any, tmp_path: Path) -> None:
    """instrument(), llmtrace run and opentelemetry-instrument agree on every attribute but ids and times."""
    program, edited = tmp_path / "program.py", tmp_path / "edited.py"
    program.write_text(PROGRAM)
    edited.write_text("import llmtrace\nllmtrace.instrument()\n" + PROGRAM)
    run = [sys.executable, "-m", "llmtrace", "run"]
    agent = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    lines = {
        "instrument": [sys.executable, str(edited)],
        "script": [*run, str(program)],
        "command": [*run, "--", sys.executable, str(program)],
        "agent": [agent, sys.executable, str(program)],
    }
    with ExitStack() as stack:
        backends = {name: stack.enter_context(Backend().up()) for name in lines}
        running = {
            name: subprocess.Popen(
                [*line, replay.url],
                env={
                    **os.environ,
                    "PYTHONPATH": SOURCE,
                    "OTEL_EXPORTER_OTLP_ENDPOINT": backends[name].url,
                    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                    "OTEL_METRICS_EXPORTER": "none",
                    "OTEL_LOGS_EXPORTER": "none",
                    "LLMTRACE_SPOOL": "off",
                    "LLMTRACE_STORE": "off",
                    "LLMTRACE_FLUSH_TIMEOUT": "60",  # the machine that tests may be busy
                },
                cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for name, line in lines.items()
        }  # fmt: skip
        for process in running.values():
            out, err = process.communicate(timeout=180)
            assert (process.returncode, out) == (0, "done\n"), err
        spans = {name: _spans(backend) for name, backend in backends.items()}
    assert sum(spans["instrument"].values()) == 4
    for name in lines:
        assert spans[name] == spans["instrument"], name
