"""What calls through the vendors' own clients cost, on spans, metrics and records."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

import llmtrace
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
