"""Totals, budgets and metrics of calls that were made."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import llmtrace
from conformance.checks import check_span
from llmtrace.budgets import budget as budgets
from llmtrace.budgets import enforcement
from llmtrace.budgets.stores import MemoryStore
from vendor_proxy import (
    PROMPT,
    Vendor,
    instrument_spans,
    make_chat,
    make_openai,
)

pytestmark = pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")


def test_totals_are_exact_when_no_span_is_sampled(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sampling rate of zero, metrics, ``collect`` and budgets have the spending to the last digit."""
    reader = InMemoryMetricReader()
    meters = MeterProvider(metric_readers=[reader])
    budgets.budget("all", usd="1", per="total", by=None, match={"model": "gpt-4o"})
    monkeypatch.setattr(enforcement, "_memory", store := MemoryStore())
    llmtrace.instrument(tracer_provider=TracerProvider(sampler=ALWAYS_OFF), meter_provider=meters, strict=True)
    with llmtrace.collect() as calls:
        vendor.response = make_chat("gpt-4o", 1_000, 100)
        for _ in range(7):
            make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT)
        vendor.response = make_chat("nobody-knows", 10, 10)
        make_openai(vendor).chat.completions.create(model="nobody-knows", messages=PROMPT)

    found: dict[str, Any] = {}
    data: Any = reader.get_metrics_data()
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        found[metric.name] = list(metric.data.data_points)
    cost = {point.attributes["llmtrace.cost.class"]: point.value for point in found["llmtrace.client.cost"]}
    assert cost == {"input": pytest.approx(0.0175), "output": pytest.approx(0.007)}
    (unpriced,) = found["llmtrace.client.unpriced_operations"]
    assert (unpriced.value, unpriced.attributes["llmtrace.cost.unpriced_reason"]) == (1, "unknown_model")
    tokens = {
        point.attributes["gen_ai.request.model"]: point.value
        for point in found["gen_ai.client.inference.usage.input_tokens"]
    }
    assert tokens == {"gpt-4o": 7_000, "nobody-knows": 10}
    legacy = [
        point for point in found["gen_ai.client.token.usage"] if point.attributes["gen_ai.token.type"] == "output"
    ]
    assert sum(point.sum for point in legacy) == 710
    assert sum(point.count for point in found["gen_ai.client.operation.duration"]) == 8
    assert (calls.cost.total, calls.unpriced, len(calls)) == (Decimal("0.0245"), 1, 8)
    assert store._windows["all::total"].spent == 24_500_000_000  # millionths of a millionth of a USD
    meters.shutdown()


def test_refused_call_sends_nothing(vendor: Vendor) -> None:
    """A blocking budget raises before the request is sent, and the call has one span with the decision."""
    exporter = instrument_spans(budgets=[llmtrace.Budget("none", usd="0.0001", per="call", action="block")])  # type: ignore[arg-type]
    with pytest.raises(llmtrace.BudgetExceeded, match="none"):
        make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT, max_tokens=500)
    assert vendor.requests == []
    (span,) = exporter.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert attributes["llmtrace.outcome"] == "blocked"
    assert attributes["error.type"] == "llmtrace.BudgetExceeded"
    assert attributes["llmtrace.budget.action"] == "block"
    assert attributes["llmtrace.budget.limit_usd"] == 0.0001
    assert "llmtrace.cost.unpriced_reason" not in attributes


def test_span_has_the_warning_of_a_budget(vendor: Vendor) -> None:
    """Above the limit spans have the warning, and calls continue."""
    exporter = instrument_spans(budgets=[{"name": "small", "usd": "0.005", "per": "total"}])
    vendor.response = make_chat("gpt-4o", 1_000, 100)
    for _ in range(2):
        make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT)
    first, second = (dict(span.attributes or {}) for span in exporter.get_finished_spans())
    assert (first["llmtrace.budget.action"], first["llmtrace.budget.spent_usd"]) == ("allow", 0.0035)
    assert (second["llmtrace.budget.action"], second["llmtrace.budget.spent_usd"]) == ("warn", 0.007)
    assert second["llmtrace.budget.window"] == "total"


EMBEDDING: dict[str, Any] = {
    "object": "list", "model": "text-embedding-3-small", "usage": {"prompt_tokens": 12, "total_tokens": 12},
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
}  # fmt: skip


@pytest.mark.parametrize("mode", ["off", "proposed"])
def test_proposed_cost_attributes_replace_the_flat_name(vendor: Vendor, mode: str) -> None:
    """The proposal's three attributes are on inference spans only, and its prefix is no attribute of its own."""
    exporter = instrument_spans(cost_attributes=mode)
    vendor.response = make_chat("gpt-4o", 1_000, 100)
    make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT)
    vendor.response = {**vendor.response, "usage": {"prompt_tokens": 10, "completion_tokens": 1, "cost": 0.25}}
    make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT)
    vendor.response = EMBEDDING
    make_openai(vendor).embeddings.create(model="text-embedding-3-small", input="hello")
    names = ("gen_ai.usage.cost", *(f"gen_ai.usage.cost.{field}" for field in ("amount", "currency", "source")))
    spans = exporter.get_finished_spans()
    found = [tuple((span.attributes or {}).get(name) for name in names) for span in spans]
    if mode == "off":
        assert found == [(0.0035, None, None, None), (0.25, None, None, None), (2.4e-07, None, None, None)]
    else:
        assert found == [(None, 0.0035, "USD", "local"), (None, 0.25, "USD", "provider"), (None, None, None, None)]
    assert [(span.attributes or {})["llm.cost.total"] for span in spans] == [0.0035, 0.25, 2.4e-07]
    assert [finding for span in spans for finding in check_span(span)] == []


OLD = {"gen_ai.client.operation.duration", "gen_ai.client.token.usage", "gen_ai.invoke_workflow.duration"}
NEW = {
    "gen_ai.client.inference.duration",
    *(f"gen_ai.client.inference.usage.{field}_tokens" for field in ("input", "output")),
    *(f"gen_ai.client.inference.operation.{field}_tokens" for field in ("input", "output")),
    *("gen_ai.client.embeddings.duration", "gen_ai.client.embeddings.operation.input_tokens"),
    "gen_ai.invoke_agent.duration",
}
OWN = {"llmtrace.client.cost", "llmtrace.client.cost.per_operation", "llmtrace.instrumentation.errors"}
UNCHANGED = {"gen_ai.retrieval.duration", *OWN}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("both", OLD | NEW | UNCHANGED), ("registry", NEW | UNCHANGED), ("legacy", OLD | UNCHANGED), ("off", set())],
)
def test_metrics_setting_chooses_the_names(vendor: Vendor, mode: str, expected: set[str]) -> None:
    """``metrics`` chooses the old names, those of GenAI v0.1.0, or both; each holds the same measurements."""
    reader = InMemoryMetricReader()
    meters = MeterProvider(metric_readers=[reader])
    llmtrace.instrument(tracer_provider=TracerProvider(), meter_provider=meters, metrics=mode, strict=True)
    vendor.response = make_chat("gpt-4o", 1_000, 100)
    with llmtrace.workflow("answer"), llmtrace.retrieval("manuals"):
        make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT)
    vendor.response = EMBEDDING
    make_openai(vendor).embeddings.create(model="text-embedding-3-small", input="hello")
    data: Any = reader.get_metrics_data()
    found = {
        metric.name: list(metric.data.data_points)
        for one in (data.resource_metrics if data else ())
        for metric in one.scope_metrics[0].metrics
        if not metric.name.startswith("llmtrace.exporter.")  # counted where earlier tests have exported
    }
    assert found.keys() == expected
    meters.shutdown()
    if mode != "both":
        return
    old = {point.attributes["gen_ai.operation.name"]: point for point in found["gen_ai.client.operation.duration"]}
    for operation, name in (("chat", "inference"), ("embeddings", "embeddings")):
        (new,) = found[f"gen_ai.client.{name}.duration"]
        assert (new.sum, new.count, new.attributes) == (old[operation].sum, 1, old[operation].attributes)
    (embedded,) = found["gen_ai.client.embeddings.operation.input_tokens"]
    assert embedded.sum == 12
    assert sum(point.sum for point in found["gen_ai.client.token.usage"]) == 1_112


def test_operations_outside_the_convention_keep_the_old_duration(vendor: Vendor) -> None:
    """A moderation has its own operation attribute, and its duration the name that has no successor."""
    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    meters, tracers = MeterProvider(metric_readers=[reader]), TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    llmtrace.instrument(tracer_provider=tracers, meter_provider=meters, metrics="registry", strict=True)
    vendor.response = {"id": "modr-1", "model": "omni-moderation-latest", "results": []}
    make_openai(vendor).moderations.create(model="omni-moderation-latest", input="hello")
    data: Any = reader.get_metrics_data()
    found = {metric.name: metric.data.data_points for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    (span,) = exporter.get_finished_spans()
    for attributes in (span.attributes or {}, found["gen_ai.client.operation.duration"][0].attributes):
        assert attributes["llmtrace.operation.name"] == "moderation"
        assert "gen_ai.operation.name" not in attributes
    assert span.name == "moderation omni-moderation-latest"
    meters.shutdown()


def test_metric_dimensions_are_on_every_point(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chosen tags are on every point of a call: absent without a value, ``_other`` above the maximum."""
    monkeypatch.setattr("llmtrace.telemetry.metrics._MAX_DIMENSION_VALUES", 2)
    reader = InMemoryMetricReader()
    meters = MeterProvider(metric_readers=[reader])
    wanted = "feature, tenant, prompt, prompt_version, model_pinned, plan"
    llmtrace.instrument(
        tracer_provider=TracerProvider(), meter_provider=meters, metric_dimensions=wanted, strict=True, metrics="legacy"
    )
    vendor.response = make_chat("gpt-4o-2024-08-06", 1_000, 100)
    vendors = make_openai(vendor)
    for plan in ("free", "paid", "odd"):
        with llmtrace.tag(feature="search", tenant="acme", plan=plan), llmtrace.prompt("greet", version=3):
            vendors.chat.completions.create(model="gpt-4o-2024-08-06", messages=PROMPT)
    vendors.chat.completions.create(model="gpt-4o", messages=PROMPT)
    llmtrace.flush()
    data: Any = reader.get_metrics_data()
    (points,) = (
        list(metric.data.data_points)
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == "llmtrace.client.cost.per_operation"
    )
    names = (
        *("llmtrace.feature", "llmtrace.tenant", "gen_ai.prompt.name", "gen_ai.prompt.version"),
        *("llmtrace.model.pinned", "llmtrace.tag.plan"),
    )
    reported = {tuple(point.attributes.get(name) for name in names) for point in points}
    assert reported == {
        ("search", "acme", "greet", "3", True, "free"),
        ("search", "acme", "greet", "3", True, "paid"),
        ("search", "acme", "greet", "3", True, "_other"),
        (None, None, None, None, False, None),
    }
    meters.shutdown()


@pytest.mark.parametrize(
    "model",
    ["gpt-4o", "gpt-4-0613", "mistral-large-2411", "gemini-1.5-pro-002", "claude-3-5-sonnet-20241022", "gpt-4o-latest",
     "amazon.nova-pro-v1:0", "claude-3-5-sonnet@20240620", "ft:gpt-4o-mini-2024-07-18:org::id"],
)  # fmt: skip
def test_span_and_metric_agree_on_shared_dimensions(vendor: Vendor, model: str) -> None:
    """Attributes that both have are equal, also for ``advise``, which reads the span."""
    reader, memory = InMemoryMetricReader(), InMemorySpanExporter()
    meters, tracers = MeterProvider(metric_readers=[reader]), TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(memory))
    llmtrace.instrument(
        tracer_provider=tracers, meter_provider=meters, strict=True,
        metric_dimensions="feature, tenant, prompt, prompt_version, model_pinned, plan",
    )  # fmt: skip
    vendor.response = make_chat(f"{model}-answered", 1_000, 100)
    with llmtrace.tag(feature="search", tenant="acme", plan="free"), llmtrace.prompt("greet", version=3):
        make_openai(vendor).chat.completions.create(model=model, messages=PROMPT)
    llmtrace.flush()
    (span,) = memory.get_finished_spans()
    assert span.attributes is not None
    data: Any = reader.get_metrics_data()
    shared = set()
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            for name, value in point.attributes.items():
                if name in span.attributes:
                    shared.add(name)
                    assert span.attributes[name] == value, (metric.name, name)
    assert shared >= {
        *("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model"),
        *("server.address", "server.port", "llmtrace.feature", "llmtrace.tenant", "gen_ai.prompt.name"),
        *("gen_ai.prompt.version", "llmtrace.model.pinned", "llmtrace.tag.plan"),
    }
    meters.shutdown()


@pytest.mark.parametrize(
    ("url", "text"), [("redis://h:x/0", "is not accepted"), ("redis://h:1/0", "needs the redis client")]
)
def test_invalid_budget_store_fails_at_once(url: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid URL, or a client that is not installed, raises at once, with the remedy."""
    if text.startswith("needs"):
        monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(llmtrace.ConfigError, match=text):
        llmtrace.instrument(tracer_provider=TracerProvider(), budget_store=url)
