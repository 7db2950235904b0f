"""What a backend may do to a program, and what the program must not notice."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmtrace.export.stats import read_losses

from .backend import Backend, spans_of

pytestmark = pytest.mark.exhaustive

FIFTY = """
took = []
for number in range(50):
    began = time.perf_counter()
    call(f"call-{number}")
    took.append(time.perf_counter() - began)
    time.sleep(0.002)
began = time.perf_counter()
pipeline.shutdown(1.0)
print(json.dumps({"median": sorted(took)[25], "exit": time.perf_counter() - began}))
"""
NAMES = {f"call-{number}" for number in range(50)}


def once(backend: Backend, *more: str) -> None:
    """Each of the fifty calls came, and none came twice."""
    assert set(backend.names) - set(more) == NAMES
    assert set(backend.names.values()) == {1}


@pytest.mark.parametrize("mode", ["refusing", "hang", "cut", "slow", 429, 500, 503])
def test_backend_that_fails_costs_nothing_and_loses_nothing(
    mode: str | int, backend: Backend, run: Callable[..., str], drain: Callable[[], bool]
) -> None:
    """Calls are not slowed down, exit is bounded, and every span arrives once when the backend is back."""
    if mode != "refusing":
        backend.mode = mode
        backend.up()
    reported = json.loads(run(FIFTY))
    assert reported["median"] < 0.005
    assert reported["exit"] < 3.0  # one second was allowed, the rest is a busy machine
    backend.down()
    backend.mode = "ok"
    backend.up()
    assert drain()
    once(backend, "restart")


@pytest.mark.parametrize("status", [400, 301])
def test_refusal_for_good_is_counted_and_not_retried(
    status: int, backend: Backend, run: Callable[..., str], spool: Path
) -> None:
    """A 400-class answer is the last one: the spans are counted as lost, with what the backend said."""
    backend.mode = status
    backend.up()
    out = run(
        "for number in range(50): call(f'call-{number}')\n"
        "print(json.dumps([pipeline.flush(10), [c.dropped for c in pipeline.counts()]]))\n"
    )
    assert json.loads(out) == [False, [{"refused": 50}]]
    assert read_losses(spool) == {"refused": 50}
    tried = len(backend.attempts)
    backend.mode = "ok"
    run("call('next')\nassert pipeline.flush(10)\n")
    assert len(backend.attempts) == tried + 1
    assert list(backend.names) == ["next"]


def test_too_large_payload_is_halved(backend: Backend, run: Callable[..., str]) -> None:
    """After a 413 every span arrives once, in smaller requests."""
    backend.largest = 2000
    backend.up()
    run("for number in range(50): call(f'call-{number}')\nassert pipeline.flush(20)\n")
    once(backend)
    assert len(backend.requests) > 1


MERGED = """
import urllib.request

def mode(name):
    urllib.request.urlopen(f"{os.environ['OTEL_EXPORTER_OTLP_ENDPOINT']}/{name}").close()

def calls(start, count):
    for number in range(start, start + count):
        call(f"call-{number}")
        if start:
            pipeline.flush(0.05)

calls(0, 60)
assert pipeline.flush(20)
mode("cut")
calls(60, 30)
mode("ok")
assert pipeline.flush(60)
"""


def test_small_requests_are_still_merged_after_one_was_too_large(backend: Backend, run: Callable[..., str]) -> None:
    """After a 413 the requests that wait during an outage are merged up to the size that is accepted."""
    backend.largest = 2000
    backend.up()
    run(MERGED)
    assert Counter(backend.names) == Counter(f"call-{number}" for number in range(90))
    assert max(len(spans_of(request)) for request in backend.requests) < 60
    late = [request for request in backend.requests if int(spans_of(request)[0].name.rpartition("-")[2]) >= 40]
    assert len(late) < 20


def test_too_large_span_loses_its_content_first(backend: Backend, run: Callable[..., str]) -> None:
    """A single span that is refused for its size arrives without content, marked, and the rest of it is whole."""
    backend.largest = 4000
    backend.up()
    run(
        "span = tracer.start_span('large')\n"
        "span.set_attribute('gen_ai.input.messages', 'x' * 100_000)\n"
        "span.set_attribute('gen_ai.request.model', 'some-model')\n"
        "span.end()\n"
        "assert pipeline.flush(20)\n"
    )
    (request,) = backend.requests
    (span,) = spans_of(request)
    reported = {pair.key: pair.value for pair in span.attributes}
    assert "gen_ai.input.messages" not in reported
    assert reported["gen_ai.request.model"].string_value == "some-model"
    assert reported["llmtrace.content.truncated"].bool_value is True
    assert reported["llmtrace.content.original_size"].int_value > 100_000
    assert span.dropped_attributes_count == 1


def test_retry_after_delays_the_next_attempt(backend: Backend, start: Any) -> None:
    """The backend is left alone for as long as it asked, also by flush."""
    backend.mode, backend.retry_after = 429, "1.5"
    backend.up()
    program = start("call('a')\nprint(pipeline.flush(0.5), pipeline.flush(20), flush=True)\n")
    while not backend.attempts:
        assert program.poll() is None
        time.sleep(0.01)
    backend.mode = "ok"
    out, err = program.communicate(timeout=180)
    assert out.split() == ["False", "True"], err
    first, second = backend.attempts
    assert second - first >= 1.5


def test_rejected_spans_are_counted(backend: Backend, run: Callable[..., str]) -> None:
    """A partial success counts what was not taken."""
    backend.rejects = 3
    backend.up()
    out = run(
        "for number in range(10): call(f'call-{number}')\n"
        "pipeline.flush(10)\n"
        "print(json.dumps([[c.exported, c.dropped] for c in pipeline.counts()]))\n",
        OTEL_BSP_SCHEDULE_DELAY="5000",
    )
    assert json.loads(out) == [[7, {"rejected": 3}]]


def test_poison_request_does_not_delay_the_others(backend: Backend, run: Callable[..., str]) -> None:
    """A request to which the backend always answers 500 is given up while the others arrive."""
    backend.chokes_on = b"poison"
    backend.up()
    out = run(
        "from llmtrace.export.otlp import sender\nsender._POISON_ATTEMPTS = 4\n"
        "call('poison')\npipeline.flush(0.2)\n"
        "for number in range(50): call(f'call-{number}')\n"
        "print(pipeline.flush(20), pipeline.counts()[0].dropped)\n",
    )
    assert out.strip() == "False {'refused': 1}"
    once(backend)


def test_spans_wait_in_memory_without_a_spool(backend: Backend, start: Any, spool: Path) -> None:
    """With LLMTRACE_SPOOL=off an outage is survived while the program lives, and what it ends with is counted."""
    program = start(
        FIFTY.partition("began = time.perf_counter()\npipeline")[0] + "print(pipeline.flush(20), flush=True)\n"
        "pipeline.shutdown(5)\nprint(pipeline.counts()[0].spooled)\n",
        LLMTRACE_SPOOL="off",
    )
    time.sleep(0.8)
    backend.up()
    out, err = program.communicate(timeout=180)
    assert out.split() == ["True", "0"], err
    once(backend)
    assert not spool.exists()


def test_exit_without_a_spool_counts_unsent_spans(run: Callable[..., str]) -> None:
    """A program without a spool reports what it could not send as lost when it ends."""
    out = run(
        "for number in range(5): call(str(number))\n"
        "began = time.perf_counter()\npipeline.shutdown(0.5)\n"
        "print(json.dumps([time.perf_counter() - began < 3, pipeline.counts()[0].dropped]))\n",
        LLMTRACE_SPOOL="off",
    )
    assert json.loads(out) == [True, {"exit": 5}]


def test_deleted_spool_folder_is_counted_and_created_again(backend: Backend, run: Callable[..., str]) -> None:
    """When somebody deletes the spool folder, what was in it is counted, and what comes later arrives."""
    backend.mode = 503
    backend.up()
    out = run(
        "import shutil\n"
        "from llmtrace.export.otlp import sender\nsender._LAST_BACKOFF = 0.25\n"
        "call('gone')\npipeline.flush(0.3)\n"
        "shutil.rmtree(os.environ['LLMTRACE_SPOOL'])\n"
        "pipeline.flush(1.5)\n"
        "call('later')\npipeline.flush(0.3)\n"
        "import urllib.request\nurllib.request.urlopen(sys.argv[1] + '/ok').read()\n"
        "pipeline.flush(10)\nprint(pipeline.counts()[0].dropped)\n",
        backend.url,
    )
    assert out.strip() == "{'removed': 1}"
    assert list(backend.names) == ["later"]
