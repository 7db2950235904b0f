"""MLflow shows what it can of a trace of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from running import Backend, ask, until
from scene import SESSION


def test_trace_is_there_with_tokens_cost_session_and_user(running: Callable[[str], Backend]) -> None:
    """The trace carries every token once, MLflow's own cost, which is ours, the session and the user."""
    mlflow = running("mlflow")
    trace = mlflow.play(OTEL_EXPORTER_OTLP_TRACES_HEADERS="x-mlflow-experiment-id=0")
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}

    def find() -> Any:
        return ask(f"{mlflow.url}/api/3.0/mlflow/traces/search", {"locations": [place], "max_results": 5}).get("traces")

    (found,) = until(find)
    assert found["trace_id"] == f"tr-{trace}"
    metadata = found["trace_metadata"]
    assert (metadata["mlflow.trace.session"], metadata["mlflow.trace.user"]) == (SESSION, "user-3")
    tokens = json.loads(metadata["mlflow.trace.tokenUsage"])
    assert (tokens["input_tokens"], tokens["output_tokens"]) == (3008, 600)
    assert (tokens["cache_read_input_tokens"], tokens["cache_creation_input_tokens"]) == (1200, 100)
    # Two calls of gpt-4o, one of claude and one embedding, as our own prices have them too.
    assert json.loads(metadata["mlflow.trace.cost"])["total_cost"] == pytest.approx(2 * 0.004 + 0.004995 + 0.00000016)
