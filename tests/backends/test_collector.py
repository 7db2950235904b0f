"""The configurations of ``docs/how-to/backends/collector.md`` do in a real Collector what the page says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from running import Backend, ask, command_of, documented, free_port, until

from export.backend import Backend as Receiver

PROGRAM = Path(__file__).parent / "calls.py"


def start_silently(line: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Collector:
    """A Collector with one of the documented configurations, which can be killed and started again."""

    def __init__(self, folder: Path, title: str, **replacements: Any) -> None:
        self.command = command_of("collector")
        if not self.command:
            pytest.skip("no command for collector; run nox -s backends")
        self.port = replacements["p4318"]
        self.url = f"http://127.0.0.1:{self.port}"
        self._config = folder / title
        text = documented("collector", title, **replacements)
        # Its own metrics would listen on a fixed port.
        own_metrics = "service:\n  telemetry:\n    metrics:\n      level: none\n"
        self._config.write_text(text.replace("service:\n", own_metrics), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self.command, "--config", self._config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert until(self._answers), "the Collector does not answer"

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the Collector ended"
        try:
            urlopen(self.url, timeout=10)
        except URLError as error:
            return getattr(error, "code", None) == 404
        return True

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(60)

    @contextmanager
    def running(self) -> Iterator[Collector]:
        self.start()
        try:
            yield self
        finally:
            self.kill()

    def run_calls(self, count: int, **more: str) -> subprocess.Popen[str]:
        """Start a program that makes traced calls and sends everything to the Collector."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "LLMTRACE_"))}
        environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_SERVICE_NAME": "calls"}
        environ |= {"OTEL_METRICS_EXPORTER": "otlp", "PYTHONWARNINGS": "ignore"}
        return subprocess.Popen([sys.executable, str(PROGRAM), str(count)], env={**environ, **more}, text=True)


def names_of(receiver: Receiver) -> Counter[str]:
    """Return how many spans of each feature have arrived, from all acknowledged requests."""
    return Counter(
        attribute.value.string_value
        for request in receiver.requests
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
        for attribute in span.attributes
        if attribute.key == "llmtrace.feature"
    )


def test_tail_sampling_keeps_errors_and_expensive_calls_and_exact_metrics(tmp_path: Path) -> None:
    """Errors and expensive calls all arrive, few of the others; the metrics count every call, under both names."""
    with Receiver().up() as receiver:
        ports: dict[str, Any] = {f"p{port}": free_port() for port in (4317, 4318, 8889)}
        config = {**ports, "p14318": receiver.port, "decision_wait: 10s": "decision_wait: 1s", "15s": "1s"}
        with Collector(tmp_path, "tail-sampling.yaml", **config).running() as collector:
            program = collector.run_calls(60, LLMTRACE_SPOOL="off")
            assert program.wait(240) == 0
            assert until(lambda: names_of(receiver)["failing"] == names_of(receiver)["expensive"] == 20)
            time.sleep(2)
            assert names_of(receiver)["cheap"] < 20
            metrics = until(
                lambda: scrape(ports["p8889"], "gen_ai_client_inference_duration_seconds_count", "traces_calls")
            )
            if which("prometheus"):
                check_prometheus(tmp_path, ports["p8889"])
    families = families_of(metrics)
    for old_and_new in ("gen_ai_client_operation_duration_seconds", "gen_ai_client_inference_duration_seconds"):
        assert families[old_and_new] == "histogram"
        assert sample_sum(metrics, f"{old_and_new}_count") == 60
    assert sample_sum(metrics, "traces_calls_total") >= 60
    assert sample_sum(metrics, "gen_ai_client_inference_usage_input_tokens_total") == 40 * 1000
    assert not [name for name in families if re.search(r"(seconds_seconds|tokens?_token|USD_USD|_s_seconds)", name)]


def check_prometheus(folder: Path, port: int) -> None:
    """Have Prometheus scrape the Collector; it must accept every sample and know both names."""
    jobs = [{"job_name": "calls", "scrape_interval": "1s", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}]
    (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": jobs}), encoding="utf-8")
    url = f"127.0.0.1:{free_port()}"
    line = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    process = subprocess.Popen(
        [*line, f"--web.listen-address={url}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def query(text: str) -> Any:
        return ask(f"http://{url}/api/v1/query?query={quote(text)}")["data"]["result"]

    try:
        for name in ("gen_ai_client_operation_duration_seconds", "gen_ai_client_inference_duration_seconds"):
            assert until(lambda name=name: query(f"sum({name}_count) == 60")), name
        (target,) = ask(f"http://{url}/api/v1/targets")["data"]["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
    finally:
        process.terminate()
        process.wait(60)


def scrape(port: int, *names: str) -> str | None:
    """Return the page that Prometheus reads, once it has all of the metrics."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text if all(name in text for name in names) else None


def families_of(text: str) -> dict[str, str]:
    """Return the type of each metric; a metric that is described twice would be refused by Prometheus."""
    found = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    assert len(found) == len(dict(found)), "a metric is described twice"
    return dict(found)


def sample_sum(text: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}[{{ ]", line))


@pytest.mark.parametrize("kills", [3])
def test_killed_collector_loses_nothing_that_it_acknowledged(tmp_path: Path, kills: int) -> None:
    """With the queue on disk every span arrives, however often the Collector is killed while a program sends."""
    count = 400
    with Receiver().up() as receiver:
        config = {"p4318": free_port(), "p14318": receiver.port, "/var/lib/otelcol": tmp_path / "queue"}
        (tmp_path / "queue").mkdir()
        collector = Collector(tmp_path, "queue.yaml", **config)
        with collector.running():
            program = collector.run_calls(
                count, CALL_PAUSE="0.02", OTEL_METRICS_EXPORTER="none", OTEL_BSP_SCHEDULE_DELAY="50",
                LLMTRACE_SPOOL=str(tmp_path / "spool"), LLMTRACE_FLUSH_TIMEOUT="60",
            )  # fmt: skip
            for _ in range(kills):
                time.sleep(2)
                collector.kill()
                time.sleep(0.5)
                collector.start()
            assert program.wait(240) == 0
            ids = until(lambda: found if len(found := span_ids(receiver)) >= count else None)
            assert ids is not None, f"{len(span_ids(receiver))} of {count} spans arrived"
    assert len(ids) == count
    # A request that was under way at a kill may arrive twice, as a whole.
    assert sum(ids.values()) - count <= kills * 2 * 512


def span_ids(receiver: Receiver) -> Counter[bytes]:
    return Counter(
        span.span_id
        for request in receiver.requests
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    )


def test_fan_out_reaches_jaeger_and_phoenix(tmp_path: Path, running: Callable[[str], Backend]) -> None:
    """Both backends have the whole trace, with equal attributes."""
    jaeger, phoenix = running("jaeger"), running("phoenix")
    config = {"p14318": jaeger.url.rpartition(":")[2], "p6006": phoenix.url.rpartition(":")[2], "p4318": free_port()}
    with Collector(tmp_path, "fan-out.yaml", **config).running() as collector:
        trace = jaeger.play(
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/v1/traces",
            OTEL_SERVICE_NAME="fan-out",
            SCENE_SESSION="fan-out",
        )

        def in_jaeger() -> Any:
            groups = ask(f"{jaeger.query_url}/api/v3/traces/{trace}")["result"]["resourceSpans"]
            spans = [span for group in groups for scope in group["scopeSpans"] for span in scope["spans"]]
            return spans if len(spans) == 7 else None

        def in_phoenix() -> Any:
            found = ask(f"{phoenix.url}/v1/projects/fan-out/spans?limit=50")["data"]
            return found if len(found) == 7 else None

        stored, shown = until(in_jaeger), until(in_phoenix)
    assert stored is not None
    assert shown is not None
    by_id = {span["spanId"]: span for span in stored}
    compared = (
        "gen_ai.operation.name",
        "gen_ai.request.model",
        "gen_ai.input.messages",
        "llm.cost.total",
        "session.id",
    )
    for span in shown:
        pairs = by_id[span["context"]["span_id"]]["attributes"]
        attributes = {pair["key"]: next(iter(pair["value"].values())) for pair in pairs}
        assert [span["attributes"].get(name) for name in compared] == [attributes.get(name) for name in compared]
