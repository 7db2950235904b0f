"""What ``llmtrace store send`` sends is what live export sends, attribute by attribute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry import context as otel
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

import llmtrace
from export.backend import Backend
from llmtrace.cli import main
from llmtrace.export.signals import TRACES
from llmtrace.store.schema import connect
from llmtrace.store.write import Writer
from traffic import traces

RESOURCE = "service.name=shop,team=blue"


def _spans(backend: Backend) -> dict[str, Any]:
    """Everything that was sent of each span, its resource and scope included, lists of attributes as mappings."""
    spans = {}
    for request in backend.requests:
        for group in MessageToDict(request)["resourceSpans"]:
            for scope in group["scopeSpans"]:
                for span in scope["spans"]:
                    entire = {**span, "resource": group.get("resource"), "scope": scope.get("scope"),
                             "schemas": (group.get("schemaUrl"), scope.get("schemaUrl"))}  # fmt: skip
                    spans[span["spanId"]] = _mapped(entire)
    return spans


def _mapped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(each) for key, each in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(each, dict) and "key" in each for each in value):
            return {each["key"]: _mapped(each["value"]) for each in value}
        return [_mapped(each) for each in value]
    return value


def _work(url: str) -> None:
    import openai

    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0, timeout=10) as client:
        ask: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi ü\U0001f600"}]}
        with llmtrace.workflow("nightly"), llmtrace.tag(feature="search", user="ada", tenant="acme", plan="free"):
            with llmtrace.prompt("greet", version="3", template="hi", variables={"who": "ada"}):
                client.chat.completions.create(**ask)
                for _ in client.chat.completions.create(**ask, stream=True):
                    pass
            with llmtrace.tool("look_up"):
                pass
            with pytest.raises(RuntimeError), llmtrace.agent("a"):
                raise RuntimeError("broken")
    remote = NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1)))
    token = otel.attach(set_span_in_context(remote))
    with llmtrace.workflow("called from elsewhere"):
        pass
    otel.detach(token)


@pytest.fixture
def backends() -> Iterator[tuple[Backend, Backend]]:
    with Backend().up() as live, Backend().up() as later:
        yield live, later


@pytest.mark.parametrize("bridges", ["openinference", "openinference,langfuse,logfire"])
@pytest.mark.parametrize("project", ["", "my project"])
def test_store_send_sends_what_live_export_sends(
    replay: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backends: tuple[Backend, Backend], bridges: str,
    project: str, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Names, ids, times, kinds, statuses, events, links, attributes of every bridge, resource and scope."""
    live, later = backends
    for name, value in {
        "OTEL_EXPORTER_OTLP_ENDPOINT": live.url, "OTEL_RESOURCE_ATTRIBUTES": RESOURCE, "LLMTRACE_BRIDGES": bridges,
        "LLMTRACE_STORE": str(tmp_path / "s.db"), "LLMTRACE_SPOOL": "off", "LLMTRACE_CAPTURE_CONTENT": "true",
        "PHOENIX_PROJECT_NAME": project,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    # The same spans to both, which no setting asks for.
    monkeypatch.setattr(
        "llmtrace.export.routes.Routes.names",
        lambda self, signal=TRACES: ["otlp", "local"] if signal is TRACES else [],
    )
    with llmtrace.instrument():
        _work(replay.url)
        assert llmtrace.flush(60)
    llmtrace.shutdown(60)
    monkeypatch.delenv("LLMTRACE_STORE")
    assert main(["store", "send", "--store", str(tmp_path / "s.db"), "--endpoint", later.url]) == 0
    resent, expected = _spans(later), _spans(live)
    assert len(expected) == 6
    assert resent == expected
    chat = next(each["attributes"] for each in resent.values() if each["name"] == "chat gpt-4o-mini")
    assert chat["openinference.span.kind"] == {"stringValue": "LLM"}
    assert "hi ü" in str(chat["gen_ai.input.messages"])
    assert next(iter(resent.values()))["resource"]["attributes"]["openinference.project.name"] == {
        "stringValue": project or "shop"
    }
    assert capsys.readouterr().out == f"sent 6 spans to {later.url}\n"


def test_store_send_waits_for_a_busy_backend_and_halves_what_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As live export does."""
    with closing(connect(tmp_path / "s.db", write=True)) as store:
        Writer(store).write([span for trace in traces(50) for span in trace])
    modes = iter([503, "ok"])
    with Backend().up() as backend:
        backend.mode = 503
        monkeypatch.setattr("llmtrace.cli.resend._PAUSE_SECONDS", 0.0)
        monkeypatch.setattr("llmtrace.cli.resend.time.sleep", lambda _: setattr(backend, "mode", next(modes)))
        backend.largest = 20_000
        assert main(["store", "--store", str(tmp_path / "s.db"), "send", "--endpoint", backend.url]) == 0
        assert backend.names.total() == 150
    assert capsys.readouterr().out.startswith("sent 150 spans to ")


def test_store_send_reports_rejected_spans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The backend takes the request, and not all of its spans."""
    with closing(connect(tmp_path / "s.db", write=True)) as store:
        Writer(store).write([span for trace in traces(50) for span in trace])
    with Backend().up() as backend:
        backend.rejects = 1
        assert main(["store", "send", "--store", str(tmp_path / "s.db"), "--endpoint", backend.url]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("not sent: 1 span")
