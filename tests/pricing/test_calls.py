"""What calls through the vendors' own clients cost, on spans, metrics and records."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import llmtrace
from llmtrace.budgets import budget as budgets
from llmtrace.budgets import enforcement
from llmtrace.budgets.stores import MemoryStore
from vendor_proxy import (
    PROMPT,
    Vendor,
    cost_attributes,
    instrument_spans,
    make_anthropic,
    make_chat,
    make_http_client,
    make_message,
    make_openai,
)

pytestmark = pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")
WRITES = {
    "input_tokens": 5,
    "cache_read_input_tokens": 128_955,
    "cache_creation_input_tokens": 1_253,
    "cache_creation": {"ephemeral_5m_input_tokens": 1_000, "ephemeral_1h_input_tokens": 253},
    "output_tokens": 100,
    "service_tier": "standard",
}
OPENAI = {
    # what was asked, with what, what came back, exact cost, whether approximate
    "dated": ("gpt-4o", {}, make_chat("gpt-4o-2024-08-06", 1_000, 100), "0.0035", False),
    "fine-tuned": (
        "ft:gpt-4o-mini-2024-07-18:o::i",
        {},
        make_chat("ft:gpt-4o-mini-2024-07-18:o::i", 1_000, 100),
        "0.00042",
        False,
    ),
    "undated": ("ft:gpt-4o-mini:o::i", {}, make_chat("ft:gpt-4o-mini:o::i", 1_000, 100), "0.00042", False),
    "auto": (
        "gpt-5",
        {"service_tier": "auto"},
        make_chat("gpt-5-2025-08-07", 1_000, 100, service_tier="flex"),
        "0.001125",
        False,
    ),
    "refused": (
        "gpt-5",
        {"service_tier": "flex"},
        make_chat("gpt-5", 1_000, 100, service_tier="default"),
        "0.00225",
        False,
    ),
    "no row": (
        "gpt-5",
        {"service_tier": "scale"},
        make_chat("gpt-5", 1_000, 100, service_tier="scale"),
        "0.00225",
        True,
    ),
    "unknown": ("alias", {}, make_chat("served-as-something", 1_000, 100), None, False),
    "by the request": ("gpt-4o", {}, make_chat("served-as-something", 1_000, 100), "0.0035", True),
    "like another": ("o4-mini-deep-research-2", {}, make_chat("o4-mini-deep-research-2", 10, 10), None, False),
}


@pytest.mark.parametrize(
    ("model", "options", "answer", "exact", "approximate"), list(OPENAI.values()), ids=list(OPENAI)
)
def test_openai_calls_are_priced_by_response_model_and_tier(
    vendor: Vendor, model: str, options: Any, answer: Any, exact: str | None, approximate: bool
) -> None:
    """The model and tier of the response are priced; an unknown model has no cost and a reason."""
    exporter = instrument_spans()
    vendor.response = answer
    make_openai(vendor).chat.completions.create(model=model, messages=PROMPT, **options)
    cost = cost_attributes(exporter)
    assert cost.get("llmtrace.cost.exact") == exact
    assert cost.get("llmtrace.cost.approximate", False) is approximate
    assert cost.get("llmtrace.cost.unpriced_reason") == ("unknown_model" if exact is None else None)
    assert ("llm.cost.total" in cost) is (exact is not None)
    if exact is not None:
        assert cost["llm.cost.total"] == cost["gen_ai.usage.cost"] == float(exact)
        assert cost["llm.cost.prompt"] + cost["llm.cost.completion"] == pytest.approx(float(exact))


def test_absurd_counts_reach_no_exporter(vendor: Vendor) -> None:
    """Counts whose sums exceed an attribute or a metric are dropped: they would make the whole export fail."""
    exporter = instrument_spans()
    vendor.response = make_message(
        "claude-sonnet-4-5", input_tokens=2**62, cache_read_input_tokens=2**62, output_tokens=2**62
    )
    make_anthropic(vendor).messages.create(model="claude-sonnet-4-5", max_tokens=9, messages=PROMPT)
    (span,) = exporter.get_finished_spans()
    assert cost_attributes(exporter) == {"llmtrace.cost.unpriced_reason": "no_usage"}
    assert not any(name.startswith("gen_ai.usage.") for name in span.attributes or {})


def test_azure_deployment_is_priced_by_its_alias(vendor: Vendor) -> None:
    """The name of a deployment is priced by the user's alias with its discount."""
    exporter = instrument_spans(
        prices=[{"provider": "azure.ai.openai", "model": "prod-*", "alias": "gpt-4o", "multiplier": "0.85"}]
    )
    vendor.response = make_chat("prod-chat", 1_000, 100)
    azure = openai.AzureOpenAI(
        api_key="k",
        azure_endpoint="http://mine.openai.azure.com",
        api_version="2024-10-21",
        max_retries=0,
        http_client=make_http_client(vendor, openai.DefaultHttpxClient),
    )
    azure.chat.completions.create(model="prod-chat", messages=PROMPT)
    cost = cost_attributes(exporter)
    assert cost["llmtrace.cost.exact"] == "0.002975"
    assert cost["llmtrace.cost.source"] == "override"
    assert cost["llmtrace.cost.model"] == "gpt-4o"
    assert "llmtrace.cost.approximate" not in cost


@pytest.mark.parametrize(
    ("host", "approximate"),
    [("api.openai.com", False), ("eu.api.openai.com", True), ("gateway.example", True)],
)
def test_unknown_and_regional_hosts_are_approximate(vendor: Vendor, host: str, approximate: bool) -> None:
    """An unknown host is priced as OpenAI, and marked approximate; so is a regional one."""
    exporter = instrument_spans()
    vendor.response = make_chat("gpt-4o", 1_000, 100)
    make_openai(vendor, f"http://{host}/v1").chat.completions.create(model="gpt-4o", messages=PROMPT)
    cost = cost_attributes(exporter)
    assert cost["llmtrace.cost.exact"] == "0.0035"
    assert cost.get("llmtrace.cost.approximate", False) is approximate


def test_cost_stated_by_openrouter_wins(vendor: Vendor) -> None:
    """A cost that the gateway states is used before any price list."""
    exporter = instrument_spans(prices=[{"model": "*", "input": "99", "output": "99"}])
    answer = make_chat("anthropic/claude-4.6-sonnet-20260217", 1_000, 100)
    answer["usage"]["cost"] = 0.00451
    vendor.response = answer
    make_openai(vendor, "http://openrouter.ai/api/v1").chat.completions.create(
        model="anthropic/claude-sonnet-4.6", messages=PROMPT
    )
    cost = cost_attributes(exporter)
    assert cost["llmtrace.cost.exact"] == "0.00451"
    assert cost["llmtrace.cost.source"] == "provider"
    assert "llm.cost.prompt" not in cost


def test_cache_writes_are_priced_by_lifetime(vendor: Vendor) -> None:
    """Reads, five-minute writes and one-hour writes each have their price: 0.0454695 USD in total."""
    exporter = instrument_spans()
    vendor.response = make_message("claude-sonnet-4-6", **WRITES)
    make_anthropic(vendor).messages.create(model="claude-sonnet-4-6", max_tokens=200, messages=PROMPT)
    cost = cost_attributes(exporter)
    assert cost["llmtrace.cost.exact"] == "0.0454695"
    assert cost["llm.cost.prompt_details.input"] == 0.000015
    assert cost["llm.cost.prompt_details.cache_read"] == 0.0386865
    assert cost["llm.cost.prompt_details.cache_write"] == 0.005268
    assert cost["llm.cost.completion_details.output"] == 0.0015


@pytest.mark.parametrize(("tokens", "exact"), [(200_000, "0.6015"), (200_001, "1.2022560")])
def test_long_prompt_is_priced_at_the_higher_tier(vendor: Vendor, tokens: int, exact: str) -> None:
    """One token above the threshold, every token of the call has the higher price."""
    exporter = instrument_spans()
    vendor.response = make_message("claude-sonnet-4-5", input_tokens=tokens, output_tokens=100)
    make_anthropic(vendor).messages.create(model="claude-sonnet-4-5", max_tokens=200, messages=PROMPT)
    assert cost_attributes(exporter)["llm.cost.total"] == pytest.approx(float(exact), abs=1e-12)


@pytest.mark.parametrize(("searches", "exact"), [(None, "0.0045"), (2, "0.0245")])
def test_only_executed_web_searches_are_billed(vendor: Vendor, searches: int | None, exact: str) -> None:
    """A declared tool costs nothing; each executed search has its price."""
    exporter = instrument_spans()
    tools = {} if searches is None else {"server_tool_use": {"web_search_requests": searches}}
    vendor.response = make_message("claude-sonnet-4-6", input_tokens=1_000, output_tokens=100, **tools)
    make_anthropic(vendor).messages.create(
        model="claude-sonnet-4-6",
        max_tokens=200,
        messages=PROMPT,
        tools=[{"type": "web_search_20250305", "name": "web_search"}],
    )
    cost = cost_attributes(exporter)
    assert cost["llmtrace.cost.exact"] == exact
    assert cost.get("llmtrace.cost.web_search") == (None if searches is None else 0.02)


@pytest.mark.parametrize(
    ("model", "exact"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", "0.000375"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "0.00495"),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "0.0045"),
    ],
)
def test_bedrock_region_of_the_request_decides_the_price(vendor: Vendor, model: str, exact: str) -> None:
    """On Bedrock the region in the requested name decides the price; the response omits it."""
    pytest.importorskip("botocore")
    exporter = instrument_spans()
    answered = model.split("anthropic.")[1].removesuffix("-v1:0")
    vendor.response = make_message(answered, input_tokens=1_000, output_tokens=100)
    bedrock = make_anthropic(
        vendor,
        anthropic.AnthropicBedrock,
        api_key=None,
        base_url="http://bedrock-runtime.us-east-1.amazonaws.com",
        aws_access_key="a",
        aws_secret_key="s",
        aws_region="us-east-1",
    )
    bedrock.messages.create(model=model, max_tokens=200, messages=PROMPT)
    cost = cost_attributes(exporter)
    assert cost["llmtrace.cost.exact"] == exact
    assert "llmtrace.cost.approximate" not in cost


def test_vertex_date_is_ignored_and_region_is_approximate(vendor: Vendor) -> None:
    """On Vertex a date after ``@`` names the same model; a regional host, which may cost more, is approximate."""
    pytest.importorskip("google.auth")
    exporter = instrument_spans()
    vendor.response = make_message("claude-sonnet-4-5@20250929", input_tokens=1_000, output_tokens=100)
    vertex = make_anthropic(
        vendor,
        anthropic.AnthropicVertex,
        api_key=None,
        base_url="http://us-east5-aiplatform.googleapis.com/v1",
        access_token="t",
        project_id="p",
        region="us-east5",
    )
    vertex.messages.create(model="claude-sonnet-4-5@20250929", max_tokens=200, messages=PROMPT)
    cost = cost_attributes(exporter)
    assert cost["llmtrace.cost.exact"] == "0.0045"
    assert cost["llmtrace.cost.approximate"] is True


def test_data_residency_region_is_approximate_until_overridden(vendor: Vendor) -> None:
    """A region without a price row is approximate; the user's multiplier for it makes it exact."""
    usage = {"input_tokens": 1_000, "output_tokens": 100, "inference_geo": "us"}
    for prices, exact, approximate in (
        ([], "0.0045", True),
        ([{"model": "claude-*", "when": {"inference_geo": "us"}, "multiplier": "1.1"}], "0.00495", False),
    ):
        exporter = instrument_spans(prices=prices)
        vendor.response = make_message("claude-sonnet-4-6", **usage)
        make_anthropic(vendor).messages.create(model="claude-sonnet-4-6", max_tokens=200, messages=PROMPT)
        cost = cost_attributes(exporter)
        assert cost["llmtrace.cost.exact"] == exact
        assert cost.get("llmtrace.cost.approximate", False) is approximate
        llmtrace.uninstrument()


def test_stream_without_usage_has_no_cost(vendor: Vendor) -> None:
    """Without reported usage there is no cost, and the span has the reason."""
    exporter = instrument_spans()
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    vendor.response = [
        {**chunk, "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]},
        {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    list(make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True))
    assert cost_attributes(exporter)["llmtrace.cost.unpriced_reason"] == "no_usage"


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
    told = {tuple(point.attributes.get(name) for name in names) for point in points}
    assert told == {
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
    ("url", "said"), [("redis://h:x/0", "is not accepted"), ("redis://h:1/0", "needs the redis client")]
)
def test_invalid_budget_store_fails_at_once(url: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid URL, or a client that is not installed, raises at once, with the remedy."""
    if said.startswith("needs"):
        monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(llmtrace.ConfigError, match=said):
        llmtrace.instrument(tracer_provider=TracerProvider(), budget_store=url)
