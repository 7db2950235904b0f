"""The configurations of ``docs/how-to/backends/collector.md`` do in a real Collector what the page says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from calls import FEATURES
from running import Backend, ask, command_of, documented, free_port, relay, until
from scene import SPANS
from traces import as_phoenix_has_it, sent_spans, stored_in_jaeger, stored_in_phoenix

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
        self._process = start_silently([self.command, "--config", str(self._config)])
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


@dataclass
class Sampled:
    """Spans received from a Collector that samples, and the port on which it serves metrics."""

    receiver: Receiver
    metrics_port: int


CALLS = 80
EACH = CALLS // len(FEATURES)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampled]:
    """Send calls of every feature through a Collector with tail sampling, which keeps running."""
    ports: dict[str, Any] = {f"p{port}": free_port() for port in (4317, 4318, 8889)}
    with Receiver().up() as receiver:
        config = {**ports, "p14318": receiver.port, "decision_wait: 10s": "decision_wait: 1s", "15s": "1s"}
        collector = Collector(tmp_path_factory.mktemp("sampled"), "tail-sampling.yaml", **config)
        with collector.running():
            assert collector.run_calls(CALLS, LLMTRACE_SPOOL="off").wait(240) == 0
            yield Sampled(receiver, ports["p8889"])


def test_tail_sampling_keeps_errors_expensive_and_scored_calls(sampled: Sampled) -> None:
    """They all arrive, each trace with both of its spans, and few of the others."""
    kept = dict.fromkeys(("failing", "expensive", "scored"), 2 * EACH)
    assert until(lambda: kept.items() <= names_of(sampled.receiver).items())
    time.sleep(2)  # for the decision about the latest of the others
    arrived = names_of(sampled.receiver)
    assert kept.items() <= arrived.items()
    assert arrived["cheap"] < 2 * EACH


BOTH_NAMES = {
    "gen_ai_client_operation_duration_seconds": "gen_ai_client_inference_duration_seconds",
    "gen_ai_invoke_workflow_duration_seconds": "gen_ai_invoke_agent_duration_seconds",
}
"""Histograms of every call and every workflow, by old and new name."""


def test_metrics_count_every_call_under_both_names(sampled: Sampled) -> None:
    """The metrics of llmtrace and of the Collector are exact, whatever was sampled; no name has its unit twice."""
    text = until(lambda: scrape(sampled.metrics_port, "gen_ai_client_inference_duration_seconds_count", "traces_calls"))
    families = families_of(text)
    for name in (name for pair in BOTH_NAMES.items() for name in pair):
        assert families[name] == "histogram"
        assert sample_sum(text, f"{name}_count") == CALLS
    assert sample_sum(text, "traces_calls_total") == 2 * CALLS
    assert sample_sum(text, "gen_ai_client_inference_usage_input_tokens_total") == 3 * EACH * 1000
    assert sample_sum(text, "llmtrace_client_cost_total") > EACH * 0.09
    assert [name for name in families if UNIT_TWICE.search(name)] == []


UNIT_TWICE = re.compile(r"(seconds|tokens?|usd|calls?|operations?)_(\1s?|s|token|usd)(_|$)", re.IGNORECASE)


def test_prometheus_scrapes_both_sets_of_names(sampled: Sampled, tmp_path: Path) -> None:
    """Prometheus accepts every sample of the page, has each metric once, and sums up what was recorded."""
    with prometheus(tmp_path, sampled.metrics_port) as query:
        for name in (name for pair in BOTH_NAMES.items() for name in pair):
            assert until(lambda name=name: query("query", query=f"sum({name}_count) == {CALLS}")), name
        (target,) = query("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        described = {name: {entry["type"] for entry in entries} for name, entries in query("metadata").items()}
        assert {name: types for name, types in described.items() if len(types) > 1} == {}
        names = query("label/__name__/values")
        text = scrape(sampled.metrics_port) or ""
        assert set(re.findall(r"^([a-zA-Z_:]\w*)[{ ]", text, re.MULTILINE)) <= set(names)
        assert [name for name in names if UNIT_TWICE.search(name)] == []


@contextmanager
def prometheus(folder: Path, port: int) -> Iterator[Callable[..., Any]]:
    """Run a Prometheus that scrapes ``port``; yield a function that calls its API."""
    command = which("prometheus")
    if command is None:
        pytest.skip("no prometheus on the path; install the package prometheus of Debian or Ubuntu")
    config = documented("collector", "prometheus.yml", p8889=port, **{"15s": "1s"})
    (folder / "prometheus.yml").write_text(config, encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    line = [command, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    process = start_silently([*line, f"--web.listen-address={address}"])

    def query(what: str, **parameters: str) -> Any:
        data = ask(f"http://{address}/api/v1/{what}?{urlencode(parameters)}")["data"]
        return data["result"] if what == "query" else data

    try:
        yield query
    finally:
        process.terminate()
        process.wait(60)


def scrape(port: int, *names: str) -> str | None:
    """Return the page that Prometheus reads, if it has all of the metrics."""
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
    spans = 2 * count  # each call in a workflow
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
            ids = until(lambda: found if len(found := span_ids(receiver)) >= spans else None)
            assert ids is not None, f"{len(span_ids(receiver))} of {spans} spans arrived"
    assert len(ids) == spans
    largest = max(sum(request_ids.values()) for request_ids in map(ids_of, receiver.requests))
    assert sum(ids.values()) - spans <= kills * REQUESTS_UNDER_WAY * largest


REQUESTS_UNDER_WAY = 1 + 10
"""Requests that a kill can make arrive twice: one of the program, and one of each sender of the Collector's queue."""


def span_ids(receiver: Receiver) -> Counter[bytes]:
    return sum(map(ids_of, list(receiver.requests)), Counter())


def ids_of(request: Any) -> Counter[bytes]:
    groups = [scope for group in request.resource_spans for scope in group.scope_spans]
    return Counter(span.span_id for group in groups for span in group.spans)


def test_fan_out_gives_both_backends_what_was_sent(tmp_path: Path, running: Callable[[str], Backend]) -> None:
    """Jaeger and Phoenix have every span once, with the attributes, times, status and events that were sent."""
    jaeger, phoenix = running("jaeger"), running("phoenix")
    config = {"p14318": jaeger.url.rpartition(":")[2], "p6006": phoenix.url.rpartition(":")[2], "p4318": free_port()}
    with (
        Collector(tmp_path, "fan-out.yaml", **config).running() as collector,
        relay(f"{collector.url}/v1/traces") as (address, bodies),
    ):
        trace = jaeger.play(
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=address, OTEL_SERVICE_NAME="fan-out", SCENE_SESSION="fan-out"
        )
        sent = sent_spans(bodies)
        expected = {key: as_phoenix_has_it(span) for key, span in sent.items()}
        in_jaeger = stored_in_jaeger(jaeger, trace, len(sent))
        in_phoenix = stored_in_phoenix(phoenix, "fan-out", expected)
    assert len(sent) == SPANS
    assert in_jaeger == sent
    assert in_phoenix == expected
