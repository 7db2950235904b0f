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
from vendor_proxy import ASK, Vendor, chat, claude, client, cost_of, message, proxied, spans_with

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
    "dated": ("gpt-4o", {}, chat("gpt-4o-2024-08-06", 1_000, 100), "0.0035", False),
    "fine-tuned": (
        "ft:gpt-4o-mini-2024-07-18:o::i",
        {},
        chat("ft:gpt-4o-mini-2024-07-18:o::i", 1_000, 100),
        "0.00042",
        False,
    ),
    "undated": ("ft:gpt-4o-mini:o::i", {}, chat("ft:gpt-4o-mini:o::i", 1_000, 100), "0.00042", False),
    "auto": (
        "gpt-5",
        {"service_tier": "auto"},
        chat("gpt-5-2025-08-07", 1_000, 100, service_tier="flex"),
        "0.001125",
        False,
    ),
    "refused": ("gpt-5", {"service_tier": "flex"}, chat("gpt-5", 1_000, 100, service_tier="default"), "0.00225", False),
    "no row": ("gpt-5", {"service_tier": "scale"}, chat("gpt-5", 1_000, 100, service_tier="scale"), "0.00225", True),
    "unknown": ("alias", {}, chat("served-as-something", 1_000, 100), None, False),
    "by the request": ("gpt-4o", {}, chat("served-as-something", 1_000, 100), "0.0035", True),
    "like another": ("o4-mini-deep-research-2", {}, chat("o4-mini-deep-research-2", 10, 10), None, False),
}


@pytest.mark.parametrize(
    ("model", "options", "answer", "exact", "approximate"), list(OPENAI.values()), ids=list(OPENAI)
)
def test_openai(vendor: Vendor, model: str, options: Any, answer: Any, exact: str | None, approximate: bool) -> None:
    """The name and the tier that the answer states are priced; what is not known costs nothing and says why."""
    exporter = spans_with()
    vendor.answer = answer
    client(vendor).chat.completions.create(model=model, messages=ASK, **options)
    cost = cost_of(exporter)
    assert cost.get("llmtrace.cost.exact") == exact
    assert cost.get("llmtrace.cost.approximate", False) is approximate
    assert cost.get("llmtrace.cost.unpriced_reason") == ("unknown_model" if exact is None else None)
    assert ("llm.cost.total" in cost) is (exact is not None)
    if exact is not None:
        assert cost["llm.cost.total"] == cost["gen_ai.usage.cost"] == float(exact)
        assert cost["llm.cost.prompt"] + cost["llm.cost.completion"] == pytest.approx(float(exact))


def test_counts_beyond_belief_reach_no_exporter(vendor: Vendor) -> None:
    """Counts whose sums would not fit an attribute or a metric are not told: they would cost the whole export."""
    exporter = spans_with()
    vendor.answer = message("claude-sonnet-4-5", input_tokens=2**62, cache_read_input_tokens=2**62, output_tokens=2**62)
    claude(vendor).messages.create(model="claude-sonnet-4-5", max_tokens=9, messages=ASK)
    (span,) = exporter.get_finished_spans()
    assert cost_of(exporter) == {"llmtrace.cost.unpriced_reason": "no_usage"}
    assert not any(name.startswith("gen_ai.usage.") for name in span.attributes or {})


def test_azure_deployment(vendor: Vendor) -> None:
    """A deployment's own name is priced by the user's alias, less his discount."""
    exporter = spans_with(
        prices=[{"provider": "azure.ai.openai", "model": "prod-*", "alias": "gpt-4o", "multiplier": "0.85"}]
    )
    vendor.answer = chat("prod-chat", 1_000, 100)
    azure = openai.AzureOpenAI(
        api_key="k",
        azure_endpoint="http://mine.openai.azure.com",
        api_version="2024-10-21",
        max_retries=0,
        http_client=proxied(vendor, openai.DefaultHttpxClient),
    )
    azure.chat.completions.create(model="prod-chat", messages=ASK)
    cost = cost_of(exporter)
    assert cost["llmtrace.cost.exact"] == "0.002975"
    assert cost["llmtrace.cost.source"] == "override"
    assert cost["llmtrace.cost.model"] == "gpt-4o"
    assert "llmtrace.cost.approximate" not in cost


@pytest.mark.parametrize(
    ("host", "approximate"),
    [("api.openai.com", False), ("eu.api.openai.com", True), ("gateway.example", True)],
)
def test_other_hosts(vendor: Vendor, host: str, approximate: bool) -> None:
    """A host that no table knows is priced as OpenAI, and said to be approximate; so is a regional one."""
    exporter = spans_with()
    vendor.answer = chat("gpt-4o", 1_000, 100)
    client(vendor, f"http://{host}/v1").chat.completions.create(model="gpt-4o", messages=ASK)
    cost = cost_of(exporter)
    assert cost["llmtrace.cost.exact"] == "0.0035"
    assert cost.get("llmtrace.cost.approximate", False) is approximate


def test_openrouter_states_its_cost(vendor: Vendor) -> None:
    """A cost that the gateway states is passed through, before any table."""
    exporter = spans_with(prices=[{"model": "*", "input": "99", "output": "99"}])
    answer = chat("anthropic/claude-4.6-sonnet-20260217", 1_000, 100)
    answer["usage"]["cost"] = 0.00451
    vendor.answer = answer
    client(vendor, "http://openrouter.ai/api/v1").chat.completions.create(
        model="anthropic/claude-sonnet-4.6", messages=ASK
    )
    cost = cost_of(exporter)
    assert cost["llmtrace.cost.exact"] == "0.00451"
    assert cost["llmtrace.cost.source"] == "provider"
    assert "llm.cost.prompt" not in cost


def test_cache_writes_of_both_lifetimes(vendor: Vendor) -> None:
    """Reads and writes for five minutes and for an hour each have their price: 0.0454695 USD in all."""
    exporter = spans_with()
    vendor.answer = message("claude-sonnet-4-6", **WRITES)
    claude(vendor).messages.create(model="claude-sonnet-4-6", max_tokens=200, messages=ASK)
    cost = cost_of(exporter)
    assert cost["llmtrace.cost.exact"] == "0.0454695"
    assert cost["llm.cost.prompt_details.input"] == 0.000015
    assert cost["llm.cost.prompt_details.cache_read"] == 0.0386865
    assert cost["llm.cost.prompt_details.cache_write"] == 0.005268
    assert cost["llm.cost.completion_details.output"] == 0.0015


@pytest.mark.parametrize(("tokens", "exact"), [(200_000, "0.6015"), (200_001, "1.2022560")])
def test_a_long_prompt_is_dearer_as_a_whole(vendor: Vendor, tokens: int, exact: str) -> None:
    """One token beyond the threshold, and every token of the call has the higher price."""
    exporter = spans_with()
    vendor.answer = message("claude-sonnet-4-5", input_tokens=tokens, output_tokens=100)
    claude(vendor).messages.create(model="claude-sonnet-4-5", max_tokens=200, messages=ASK)
    assert cost_of(exporter)["llm.cost.total"] == pytest.approx(float(exact), abs=1e-12)


@pytest.mark.parametrize(("searches", "exact"), [(None, "0.0045"), (2, "0.0245")])
def test_web_searches_cost_when_made(vendor: Vendor, searches: int | None, exact: str) -> None:
    """A tool that was declared costs nothing; each search that was made costs its price."""
    exporter = spans_with()
    tools = {} if searches is None else {"server_tool_use": {"web_search_requests": searches}}
    vendor.answer = message("claude-sonnet-4-6", input_tokens=1_000, output_tokens=100, **tools)
    claude(vendor).messages.create(
        model="claude-sonnet-4-6",
        max_tokens=200,
        messages=ASK,
        tools=[{"type": "web_search_20250305", "name": "web_search"}],
    )
    cost = cost_of(exporter)
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
def test_bedrock(vendor: Vendor, model: str, exact: str) -> None:
    """On Bedrock the area in the name that was asked for decides the price; the answer leaves it out."""
    pytest.importorskip("botocore")
    exporter = spans_with()
    answered = model.split("anthropic.")[1].removesuffix("-v1:0")
    vendor.answer = message(answered, input_tokens=1_000, output_tokens=100)
    bedrock = claude(
        vendor,
        anthropic.AnthropicBedrock,
        api_key=None,
        base_url="http://bedrock-runtime.us-east-1.amazonaws.com",
        aws_access_key="a",
        aws_secret_key="s",
        aws_region="us-east-1",
    )
    bedrock.messages.create(model=model, max_tokens=200, messages=ASK)
    cost = cost_of(exporter)
    assert cost["llmtrace.cost.exact"] == exact
    assert "llmtrace.cost.approximate" not in cost


def test_vertex(vendor: Vendor) -> None:
    """On Vertex a date behind an at sign names the same model; a regional host, which may cost more, is said."""
    pytest.importorskip("google.auth")
    exporter = spans_with()
    vendor.answer = message("claude-sonnet-4-5@20250929", input_tokens=1_000, output_tokens=100)
    vertex = claude(
        vendor,
        anthropic.AnthropicVertex,
        api_key=None,
        base_url="http://us-east5-aiplatform.googleapis.com/v1",
        access_token="t",
        project_id="p",
        region="us-east5",
    )
    vertex.messages.create(model="claude-sonnet-4-5@20250929", max_tokens=200, messages=ASK)
    cost = cost_of(exporter)
    assert cost["llmtrace.cost.exact"] == "0.0045"
    assert cost["llmtrace.cost.approximate"] is True


def test_a_data_residency_region_is_approximate_until_it_has_a_row(vendor: Vendor) -> None:
    """What the catalogue has no row for is marked; the user's multiplier for it makes it exact."""
    usage = {"input_tokens": 1_000, "output_tokens": 100, "inference_geo": "us"}
    for prices, exact, approximate in (
        ([], "0.0045", True),
        ([{"model": "claude-*", "when": {"inference_geo": "us"}, "multiplier": "1.1"}], "0.00495", False),
    ):
        exporter = spans_with(prices=prices)
        vendor.answer = message("claude-sonnet-4-6", **usage)
        claude(vendor).messages.create(model="claude-sonnet-4-6", max_tokens=200, messages=ASK)
        cost = cost_of(exporter)
        assert cost["llmtrace.cost.exact"] == exact
        assert cost.get("llmtrace.cost.approximate", False) is approximate
        llmtrace.uninstrument()


def test_a_stream_without_usage_has_no_cost(vendor: Vendor) -> None:
    """Where nobody said what was used there is no figure, and the reason is said."""
    exporter = spans_with()
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    vendor.answer = [
        {**chunk, "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]},
        {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    list(client(vendor).chat.completions.create(model="gpt-4o", messages=ASK, stream=True))
    assert cost_of(exporter)["llmtrace.cost.unpriced_reason"] == "no_usage"


def test_the_true_totals_without_a_single_span(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sampler of zero metrics, ``collect`` and budgets say what was spent, to the last digit."""
    reader = InMemoryMetricReader()
    meters = MeterProvider(metric_readers=[reader])
    budgets.budget("all", usd="1", per="total", by=None, match={"model": "gpt-4o"})
    monkeypatch.setattr(enforcement, "_memory", store := MemoryStore())
    llmtrace.instrument(tracer_provider=TracerProvider(sampler=ALWAYS_OFF), meter_provider=meters, strict=True)
    with llmtrace.collect() as calls:
        vendor.answer = chat("gpt-4o", 1_000, 100)
        for _ in range(7):
            client(vendor).chat.completions.create(model="gpt-4o", messages=ASK)
        vendor.answer = chat("nobody-knows", 10, 10)
        client(vendor).chat.completions.create(model="nobody-knows", messages=ASK)

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


def test_a_refused_call_sends_nothing(vendor: Vendor) -> None:
    """A budget that blocks raises before the request leaves, and leaves one span that says so."""
    exporter = spans_with(budgets=[llmtrace.Budget("none", usd="0.0001", per="call", action="block")])  # type: ignore[arg-type]
    with pytest.raises(llmtrace.BudgetExceeded, match="none"):
        client(vendor).chat.completions.create(model="gpt-4o", messages=ASK, max_tokens=500)
    assert vendor.asked == []
    (span,) = exporter.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert attributes["llmtrace.outcome"] == "blocked"
    assert attributes["error.type"] == "llmtrace.BudgetExceeded"
    assert attributes["llmtrace.budget.action"] == "block"
    assert attributes["llmtrace.budget.limit_usd"] == 0.0001
    assert "llmtrace.cost.unpriced_reason" not in attributes


def test_a_warning_stands_on_the_span(vendor: Vendor) -> None:
    """Once spending is over the limit, spans say so, and calls go on."""
    exporter = spans_with(budgets=[{"name": "small", "usd": "0.005", "per": "total"}])
    vendor.answer = chat("gpt-4o", 1_000, 100)
    for _ in range(2):
        client(vendor).chat.completions.create(model="gpt-4o", messages=ASK)
    first, second = (dict(span.attributes or {}) for span in exporter.get_finished_spans())
    assert (first["llmtrace.budget.action"], first["llmtrace.budget.spent_usd"]) == ("allow", 0.0035)
    assert (second["llmtrace.budget.action"], second["llmtrace.budget.spent_usd"]) == ("warn", 0.007)
    assert second["llmtrace.budget.window"] == "total"


@pytest.mark.parametrize("mode", ["both", "registry", "legacy", "off"])
def test_which_token_metrics_are_kept(vendor: Vendor, mode: str) -> None:
    """``LLMTRACE_METRICS`` chooses between both generations of the convention."""
    reader = InMemoryMetricReader()
    meters = MeterProvider(metric_readers=[reader])
    llmtrace.instrument(tracer_provider=TracerProvider(), meter_provider=meters, metrics=mode, strict=True)
    vendor.answer = chat("gpt-4o", 1_000, 100)
    client(vendor).chat.completions.create(model="gpt-4o", messages=ASK)
    data: Any = reader.get_metrics_data()
    found = {metric.name for one in (data.resource_metrics if data else ()) for metric in one.scope_metrics[0].metrics}
    assert ("gen_ai.client.token.usage" in found) is (mode in ("both", "legacy"))
    assert ("gen_ai.client.inference.usage.input_tokens" in found) is (mode in ("both", "registry"))
    assert ("llmtrace.client.cost" in found) is (mode != "off")
    meters.shutdown()


def test_dimensions_of_metrics(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chosen tags are on every point of a call, absent where nothing was said, and ``_other`` beyond a bound."""
    monkeypatch.setattr("llmtrace.telemetry.metrics._MAX_DIMENSION_VALUES", 2)
    reader = InMemoryMetricReader()
    meters = MeterProvider(metric_readers=[reader])
    wanted = "feature, tenant, prompt, prompt_version, model_pinned, plan"
    llmtrace.instrument(
        tracer_provider=TracerProvider(), meter_provider=meters, metric_dimensions=wanted, strict=True, metrics="legacy"
    )
    vendor.answer = chat("gpt-4o-2024-08-06", 1_000, 100)
    vendors = client(vendor)
    for plan in ("free", "paid", "odd"):
        with llmtrace.tag(feature="search", tenant="acme", plan=plan), llmtrace.prompt("greet", version=3):
            vendors.chat.completions.create(model="gpt-4o-2024-08-06", messages=ASK)
    vendors.chat.completions.create(model="gpt-4o", messages=ASK)
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
def test_span_and_metric_agree_on_every_shared_dimension(vendor: Vendor, model: str) -> None:
    """Whatever both say of a call is the same, ``advise`` included, which reads the span."""
    reader, memory = InMemoryMetricReader(), InMemorySpanExporter()
    meters, tracers = MeterProvider(metric_readers=[reader]), TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(memory))
    llmtrace.instrument(
        tracer_provider=tracers, meter_provider=meters, strict=True,
        metric_dimensions="feature, tenant, prompt, prompt_version, model_pinned, plan",
    )  # fmt: skip
    vendor.answer = chat(f"{model}-answered", 1_000, 100)
    with llmtrace.tag(feature="search", tenant="acme", plan="free"), llmtrace.prompt("greet", version=3):
        client(vendor).chat.completions.create(model=model, messages=ASK)
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
def test_a_budget_store_that_cannot_be(url: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that is none, or a client that is not installed, is told at once, with what to do."""
    if said.startswith("needs"):
        monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(llmtrace.ConfigError, match=said):
        llmtrace.instrument(tracer_provider=TracerProvider(), budget_store=url)
