"""Results of Anthropic's message batches: one span per result that is read, billed once, at the prices of batches."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from helpers import collect, resolve
from loopback import Loopback, ServerResponse, json_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from stainless_clients import make_client

_numbers = count()
USAGE = {"input_tokens": 1000, "output_tokens": 300, "service_tier": "batch"}
COST = "0.00375"  # half of 1000 * $3 and 300 * $15 per million
ERROR = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}, "request_id": None}


def succeeded(custom_id: str, usage: dict[str, Any] = USAGE, model: str = "claude-sonnet-4-5") -> dict[str, Any]:
    message = {
        "id": f"msg_{custom_id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": "Because of a secret."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    return {"custom_id": custom_id, "result": {"type": "succeeded", "message": message}}


RESULTS = [
    succeeded("a"),
    {"custom_id": "b", "result": {"type": "errored", "error": ERROR}},
    {"custom_id": "c", "result": {"type": "canceled"}},
    {"custom_id": "d", "result": {"type": "expired"}},
    succeeded("e"),
]


def serve(loopback: Loopback, *results: Any, readings: int = 1) -> str:
    """Have the server return a batch and its results, ``readings`` times. Return the id of the batch."""
    identifier = f"msgbatch_{next(_numbers)}"
    batch = {
        "id": identifier,
        "type": "message_batch",
        "processing_status": "ended",
        "results_url": f"{loopback.url}/v1/messages/batches/{identifier}/results",
    }
    lines = [(each if isinstance(each, str) else json.dumps(each)).encode() + b"\n" for each in results]
    answers = json_answer(batch), ServerResponse([b"".join(lines)], kind="application/x-jsonl")
    loopback.will(*answers * readings)
    return identifier


def batches_of(client: Any, resource: str = "messages") -> Any:
    owner = client.beta.messages if resource == "beta" else client.messages
    if not hasattr(owner, "batches"):
        pytest.skip("this release has none")
    return owner.batches


def old_or_new(client: Any) -> Any:
    """Return the batches of any release: the oldest have them under ``beta`` only."""
    return batches_of(client, "messages" if hasattr(client.messages, "batches") else "beta")


def found(spans: InMemorySpanExporter) -> list[dict[str, Any]]:
    return [dict(span.attributes or {}) for span in spans.get_finished_spans()]


@pytest.mark.parametrize("resource", ["messages", "beta"])
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_each_result_has_a_span_with_its_outcome_and_is_billed_once(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str, resource: str
) -> None:
    """A second reading has the same spans without usage and cost."""
    client = make_client("anthropic", colour, loopback.url)
    batches = batches_of(client, resource)
    identifier = serve(loopback, *RESULTS, readings=2)
    for reading in range(2):
        results = await resolve(batches.results(identifier))
        assert type(results).__name__ == ("JSONLDecoder" if colour == "sync" else "AsyncJSONLDecoder")
        assert [item.custom_id for item in await collect(results)] == list("abcde")
        items = found(spans)[5 * reading :]
        assert [item["llmtrace.batch.custom_id"] for item in items] == list("abcde")
        assert {item["llmtrace.batch.id"] for item in items} == {identifier}
        assert {item["gen_ai.operation.name"] for item in items} == {"fetch_response"}
        assert [item["llmtrace.outcome"] for item in items] == ["ok", "error", "cancelled", "error", "ok"]
        assert [item.get("error.type") for item in items] == [None, "invalid_request_error", None, "expired", None]
        statuses = ["completed", "failed", "cancelled", "expired", "completed"]
        assert [item["gen_ai.response.status"] for item in items] == statuses
        ids = ["msg_a", *(f"{identifier}/{custom_id}" for custom_id in "bcd"), "msg_e"]
        assert [item["gen_ai.response.id"] for item in items] == ids
        billed = None if reading else COST
        assert [item.get("llmtrace.cost.exact") for item in items] == [billed, None, None, None, billed]
        tokens = None if reading else 1000
        assert [item.get("gen_ai.usage.input_tokens") for item in items] == [tokens, None, None, None, tokens]
    assert not any("llmtrace.cost.approximate" in item for item in found(spans))
    assert not any("llmtrace.cost.unpriced_reason" in item for item in found(spans))
    assert "a secret" not in str(found(spans))
    await resolve(client.close())


def test_only_results_that_are_read_have_spans(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """The iterator is as lazy as before: neither the call nor an unread result has a span."""
    with make_client("anthropic", "sync", loopback.url) as client:
        results = old_or_new(client).results(serve(loopback, *RESULTS))
        assert found(spans) == []
        assert next(results).custom_id == "a"
        assert [item["llmtrace.batch.custom_id"] for item in found(spans)] == ["a"]
        del results
    assert len(found(spans)) == 1


def test_results_of_a_raw_response_have_spans(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """The decoder that a raw response returns is observed too."""
    with make_client("anthropic", "sync", loopback.url) as client:
        raw_batches = old_or_new(client).with_raw_response
        if not hasattr(raw_batches, "results"):
            pytest.skip("this release has none")
        raw = raw_batches.results(serve(loopback, *RESULTS))
        assert len(list(raw.parse())) == len(found(spans)) == len(RESULTS)


def test_spans_belong_to_the_context_of_the_call(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """Parent and tags are those of the place where ``results`` was called, wherever the results are read."""
    with make_client("anthropic", "sync", loopback.url) as client:
        identifier = serve(loopback, RESULTS[0])
        with llmtrace.workflow("nightly"), llmtrace.tag(feature="labels"):
            results = old_or_new(client).results(identifier)
        list(results)
    outer, span = sorted(spans.get_finished_spans(), key=lambda each: "nightly" not in each.name)
    assert span.parent is not None
    assert span.parent.span_id == outer.context.span_id
    assert dict(span.attributes or {})["llmtrace.feature"] == "labels"


def test_other_units_are_priced_and_unknown_models_are_not(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """Cached tokens cost half as well, searches do not. A model without a price has a reason in place of a cost."""
    usage = {
        **USAGE,
        "cache_read_input_tokens": 10_000,
        "cache_creation_input_tokens": 3000,
        "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
        "server_tool_use": {"web_search_requests": 2},
    }
    with make_client("anthropic", "sync", loopback.url) as client:
        identifier = serve(loopback, succeeded("a", usage), succeeded("b", model="claude-next"))
        list(old_or_new(client).results(identifier))
    priced, unknown = found(spans)
    tokens = 1000 * 3 + 300 * 15 + 10_000 * Decimal("0.3") + 1000 * Decimal("3.75") + 2000 * 6
    assert Decimal(priced["llmtrace.cost.exact"]) == tokens / 2 / 1_000_000 + Decimal("0.02")
    assert priced["gen_ai.usage.input_tokens"] == 14_000
    assert "llm.cost.total" not in unknown
    assert unknown["llmtrace.cost.unpriced_reason"] == "unknown_model"


def test_content_of_results_is_recorded_only_with_content_on(
    loopback: Loopback, content_spans: InMemorySpanExporter
) -> None:
    """The messages are those of the results."""
    with make_client("anthropic", "sync", loopback.url) as client:
        list(old_or_new(client).results(serve(loopback, *RESULTS)))
    messages = [item.get("gen_ai.output.messages") for item in found(content_spans)]
    assert [message is not None for message in messages] == [True, False, False, False, True]
    assert "a secret" in messages[0]


def test_budgets_count_results_and_do_not_withhold_them(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A blocking budget settles what the results cost, because the money is spent."""
    budget = llmtrace.budget("batches", usd="0.005", per="total", action="block")
    try:
        with make_client("anthropic", "sync", loopback.url) as client:
            assert len(list(old_or_new(client).results(serve(loopback, *RESULTS)))) == len(RESULTS)
            with pytest.raises(llmtrace.BudgetExceeded, match=r"0\.0075"):
                client.messages.create(model="m", max_tokens=9, messages=[])
    finally:
        budget.remove()


def test_line_that_is_not_json_raises_as_without_llmtrace(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """The results before it keep their spans."""
    with make_client("anthropic", "sync", loopback.url) as client:
        results = old_or_new(client).results(serve(loopback, RESULTS[0], "{not json", RESULTS[1]))
        next(results)
        with pytest.raises(json.JSONDecodeError):
            next(results)
        with pytest.raises(StopIteration):
            next(results)
    assert len(found(spans)) == 1


def test_results_from_elsewhere_and_after_uninstrument_have_no_spans(
    loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """A decoder of a stored file sends no request. An open decoder outlives the instrumentation."""
    from anthropic._decoders.jsonl import JSONLDecoder

    lines = [json.dumps(RESULTS[0]).encode() + b"\n"]
    decoder: Any = JSONLDecoder
    assert len(list(decoder(raw_iterator=iter(lines), line_type=object, http_response=None))) == 1
    with make_client("anthropic", "sync", loopback.url) as client:
        results = old_or_new(client).results(serve(loopback, *RESULTS))
        next(results)
        llmtrace.uninstrument()
        assert len(list(results)) == 4
    assert len(found(spans)) == 1
