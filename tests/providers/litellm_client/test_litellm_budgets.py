"""LiteLLM: a call that a budget refuses is not sent, and the program gets the refusal as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest
from answers import QUESTION
from litellm_calls import COLOURS, STREAMED, VENDORS, Vendor, arguments, ask, call, good, litellm
from loopback import Loopback
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.providers._routing import RoutedCall, current_routed_call

pytestmark = pytest.mark.filterwarnings("ignore")  # LiteLLM's own


FREE = VENDORS["openrouter"]
REFUSED = {name: vendor for name, vendor in VENDORS.items() if vendor is not FREE}
EACH_REFUSED = pytest.mark.parametrize("vendor", REFUSED.values(), ids=REFUSED)


@pytest.fixture
def refusing(spans: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    """Refuse the calls of all vendors but the one of the fallbacks."""
    budgets = [
        llmtrace.budget(name, tokens=1, per="total", match={"provider": vendor.provider}, action="block")
        for name, vendor in REFUSED.items()
    ]
    yield spans
    for budget in budgets:
        budget.remove()


async def check_refused(loopback: Loopback, spans: InMemorySpanExporter, colour: str, **options: Any) -> None:
    """Assert that a call raises ``BudgetExceeded`` as it is, and that nothing is sent."""
    loopback.will(good(FREE, stream=bool(options.get("stream"))))
    with pytest.raises(llmtrace.BudgetExceeded) as caught:
        await ask(colour, **options)
    assert (caught.value.__context__, caught.value.__cause__) == (None, None)
    assert loopback.received == []
    assert llmtrace.flush()
    assert [dict(span.attributes or {})["llmtrace.outcome"] for span in spans.get_finished_spans()] == ["blocked"]


@COLOURS
@EACH_REFUSED
@pytest.mark.parametrize("more", [{}, {"stream": True}, {"num_retries": 2}, {"fallbacks": [FREE.model]}], ids="".join)
async def test_refused_completion_raises_the_refusal(
    loopback: Loopback,
    refusing: InMemorySpanExporter,
    vendor: Vendor,
    colour: str,
    more: dict[str, Any],
) -> None:
    """No retry and no other model answers a refused call, whether it is sent at once or when its stream is read."""
    options = {**arguments(vendor, loopback.url), "max_tokens": 9, **more}
    await check_refused(loopback, refusing, colour, **options)


@COLOURS
@STREAMED
@EACH_REFUSED
async def test_refused_call_of_a_router_raises_the_refusal(
    loopback: Loopback, refusing: InMemorySpanExporter, vendor: Vendor, colour: str, stream: bool
) -> None:
    """A router neither falls back to another model nor retires the deployment."""
    router = _router(vendor, loopback.url)
    for _ in range(2):
        refusing.clear()
        options = {"model": "first", "messages": QUESTION, "max_tokens": 9}
        await check_refused(loopback, refusing, colour, owner=router, stream=stream, **options)


def _router(vendor: Vendor, url: str) -> Any:
    deployments = []
    for name, each in (("first", vendor), ("second", FREE)):
        parameters = arguments(each, url)
        del parameters["messages"]
        deployments.append({"model_name": name, "litellm_params": parameters})
    return litellm.Router(model_list=deployments, fallbacks=[{"first": ["second"]}], num_retries=2, retry_after=0)


@pytest.mark.parametrize("name", ["responses", "text_completion"])
@COLOURS
async def test_other_functions_raise_the_refusal(
    loopback: Loopback, refusing: InMemorySpanExporter, name: str, colour: str
) -> None:
    """Responses and legacy completions raise the refusal too."""
    text = {"input": "hi", "max_output_tokens": 9} if name == "responses" else {"prompt": "hi", "max_tokens": 9}
    options = {**arguments(VENDORS["openai"], loopback.url), **text}
    del options["messages"]
    with pytest.raises(llmtrace.BudgetExceeded):
        await call(name, colour, **options)
    assert loopback.received == []


async def test_router_answers_once_the_budget_is_gone(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A refusal leaves no trace in the router: the same deployment serves the next call."""
    vendor = VENDORS["mistral"]
    router = _router(vendor, loopback.url)
    with_budget = llmtrace.budget("b", tokens=1, per="total", action="block")
    with pytest.raises(llmtrace.BudgetExceeded):
        await router.acompletion(model="first", messages=QUESTION, max_tokens=9)
    with_budget.remove()
    loopback.will(good(vendor))
    await router.acompletion(model="first", messages=QUESTION, max_tokens=9)
    assert [request.body["model"] for request in loopback.received] == [vendor.name]


def test_routed_call_ends_for_tasks_that_outlive_it() -> None:
    """A task that a call started gets refusals as they are once the call has returned."""
    with RoutedCall() as routed:
        context = copy_context()
        assert current_routed_call() is routed
    assert context.run(current_routed_call) is None
    assert current_routed_call() is None
