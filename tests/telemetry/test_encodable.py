"""Text and numbers that cannot be encoded are replaced on spans, metrics, log records and in the store."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from local_vendor import ANSWER, LocalVendor
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
from llmtrace._compat.span_attributes import make_encodable
from llmtrace._text import encodable
from serving import serving

BAD = "a\ud800b\0c"
GOOD = "a?b\ufffdc"


@pytest.fixture
def vendor() -> Iterator[LocalVendor]:
    with serving(LocalVendor()) as server:
        yield server


class Telemetry:
    """All exported telemetry, encoded for OTLP."""

    def __init__(self, **settings: Any) -> None:
        self.spans, self.logs, self.reader = InMemorySpanExporter(), InMemoryLogRecordExporter(), InMemoryMetricReader()
        tracers, loggers = TracerProvider(), LoggerProvider()
        self.meters = MeterProvider([self.reader])
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        loggers.add_log_record_processor(SimpleLogRecordProcessor(self.logs))
        llmtrace.instrument(
            tracer_provider=tracers, logger_provider=loggers, meter_provider=self.meters,
            strict=True, capture_content="span_and_event", metric_dimensions=("feature", "team"), **settings,
        )  # fmt: skip

    def encoded(self) -> bytes:
        llmtrace.uninstrument()
        metrics = self.reader.get_metrics_data()
        assert metrics is not None
        parts = (
            encode_spans(self.spans.get_finished_spans()),
            encode_logs(self.logs.get_finished_logs()),  # type: ignore[arg-type]
            encode_metrics(metrics),
        )
        json.dumps([json.loads(span.to_json()) for span in self.spans.get_finished_spans()]).encode()
        return b"".join(part.SerializeToString() for part in parts)

    def attributes(self) -> dict[str, Any]:
        return dict(self.spans.get_finished_spans()[-1].attributes or {})


def call_model(vendor: LocalVendor, **more: Any) -> Any:
    with openai.OpenAI(api_key="k", base_url=vendor.url, max_retries=0) as client:
        return client.chat.completions.create(
            **{"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}], **more}
        )


@pytest.mark.parametrize("field", ["model", "id", "system_fingerprint", "service_tier", "finish_reason", "content"])
def test_response_with_invalid_text_is_exported(vendor: LocalVendor, field: str) -> None:
    """Span, metrics and event of a call are exported, whichever field of the response is invalid."""
    vendor.answer = json.loads(json.dumps(ANSWER))
    choice = vendor.answer["choices"][0]
    target = {"finish_reason": choice, "content": choice["message"]}.get(field, vendor.answer)
    target[field] = BAD
    telemetry = Telemetry()
    call_model(vendor)
    assert GOOD.encode() in telemetry.encoded()
    assert telemetry.attributes()["gen_ai.usage.input_tokens"] == 1000


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("name", ["code", "type", "message"])
def test_error_with_invalid_text_is_exported(vendor: LocalVendor, status: int, name: str) -> None:
    """Code, type and message of an error are recorded with invalid characters replaced."""
    vendor.status = status
    vendor.answer = {"error": {"message": "no", "type": "t", "code": "c", name: BAD}}
    telemetry = Telemetry(error_messages=True)
    if status == 200:
        call_model(vendor)
    else:
        with pytest.raises(openai.BadRequestError):
            call_model(vendor)
    telemetry.encoded()
    assert telemetry.attributes()["llmtrace.outcome"] == "error"


def test_request_with_invalid_values_is_exported(vendor: LocalVendor) -> None:
    """Names, stop words, tags, prompts and numbers of the application are made encodable."""
    telemetry = Telemetry()
    with (
        llmtrace.tag(feature=BAD, user=BAD, tags=[BAD], team=BAD, **{BAD: BAD}),
        llmtrace.prompt(BAD, template=BAD, variables={BAD: BAD}),
        contextlib.suppress(UnicodeEncodeError),
    ):  # newer releases do not escape what they send
        call_model(vendor, extra_body={"model": BAD, "stop": [BAD], "seed": 2**70, "max_tokens": 2**65, "user": BAD})
    telemetry.encoded()
    assert telemetry.attributes()["llmtrace.feature"] == GOOD
    assert telemetry.spans.get_finished_spans()[-1].name == f"chat {GOOD}"


def test_operations_with_invalid_values_are_exported() -> None:
    """Tools, agents, workflows, documents, scores and errors are made encodable."""
    telemetry = Telemetry(error_messages=True)
    with pytest.raises(ValueError, match="a"), llmtrace.agent(BAD), llmtrace.workflow(BAD):
        with llmtrace.retrieval(BAD, query=BAD) as search:
            search.add([llmtrace.Document(BAD, 0.5, BAD, {BAD: BAD})])
        with llmtrace.rerank(BAD, query=BAD):
            llmtrace.score(BAD, 1, label=BAD, explanation=BAD)
        with llmtrace.tool(BAD, arguments={BAD: 2**70}):
            raise type(BAD.replace("\0", ""), (ValueError,), {})(BAD)
    assert GOOD.encode() in telemetry.encoded()


def test_store_accepts_invalid_text(vendor: LocalVendor, tmp_path: Path) -> None:
    """The local store records a call with invalid text."""
    path = tmp_path / "calls.db"
    llmtrace.instrument(store=str(path), strict=True)
    vendor.answer = {**ANSWER, "model": BAD, "id": BAD}
    with llmtrace.tag(feature=BAD, size=2**62):
        call_model(vendor, extra_body={"seed": 2**70})
    assert llmtrace.flush(10)
    llmtrace.uninstrument()
    connection = sqlite3.connect(path)
    (count,) = connection.execute("SELECT COUNT(*) FROM spans").fetchone()
    connection.close()
    assert count == 1


def test_make_encodable_keeps_plain_attributes() -> None:
    """Values of plain types stay the same objects."""
    text = "plain"
    attributes: dict[str, Any] = {"text": text, "count": 5, "part": 0.5, "yes": True, "list": ("a", "b")}
    before = dict(attributes)
    assert make_encodable(attributes)
    assert attributes == before
    assert attributes["text"] is text


def test_make_encodable_replaces_invalid_attributes() -> None:
    """Text is replaced in values, lists and names; integers beyond 64 bits become text."""

    class Name(str):
        pass

    attributes: dict[str, Any] = {"b\u00e4d\ud800": 1, "list": [BAD, 2**70], "big": -(2**70), "huge": 10**5_000}
    attributes["own"] = Name(BAD)
    assert make_encodable(attributes)
    assert list(attributes) == ["b\u00e4d?", "list", "big", "huge", "own"]
    assert attributes["list"] == (GOOD, str(2**70))
    assert attributes["big"] == str(-(2**70))
    assert attributes["huge"].startswith("0x")
    assert (type(attributes["own"]), attributes["own"]) == (str, GOOD)
    assert not make_encodable({"none": None})
    assert encodable("\U0001f600\u00e9") == "\U0001f600\u00e9"
