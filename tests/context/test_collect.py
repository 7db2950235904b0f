"""The calls that ``collect()`` returns before they are priced."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

from llmtrace.context.collect import Calls

FIRST = """
import json, sys, llmtrace, openai
llmtrace.instrument(store="off")
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="x", max_retries=0)
with llmtrace.collect() as calls:
    client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "hi"}])
print(json.dumps([len(calls), str(calls.cost.total), calls[-1].usage.input]))
"""


def test_first_call_of_a_process_is_collected_at_once(replay: Any) -> None:
    """The first call waits for the price table, and a reader of the calls waits with it: nothing is missing."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST, replay.url], capture_output=True, text=True, check=True, timeout=180
    )
    count, cost, tokens = json.loads(done.stdout)
    assert count == 1
    assert float(cost) > 0
    assert tokens > 0


def test_calls_wait_for_announced_calls() -> None:
    """A call that has ended but is not priced yet is waited for, once."""
    calls = Calls()
    ended = threading.Event()
    calls.expect(ended)
    threading.Timer(0.05, ended.set).start()
    assert len(calls) == 0
    assert ended.is_set()
    assert calls.snapshot() == []
