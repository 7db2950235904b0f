"""Many calls at once, each in its own block."""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from loopback_vendor import Vendor, by_name
from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace import ContextExecutor, collect, current, retrieval, tag, workflow, wrap

MANY = 200


def ask(client: Any, number: int) -> Any:
    return client.chat.completions.create(
        model="gpt-4.1-mini", user=str(number), messages=[{"role": "user", "content": "hi"}]
    )


def check(exporter: InMemorySpanExporter, vendor: Vendor, calls: Any) -> None:
    """Every call has its own tags and parent, and the vendor saw none of them."""
    parents = {span.context.span_id: span.name for span in by_name(exporter, "invoke_workflow")}
    chats = by_name(exporter, "chat")
    assert len(chats) == len(parents) == len(calls) == MANY
    for span in chats:
        number = span.attributes["gen_ai.response.id"].removeprefix("chatcmpl-")
        assert span.attributes["user.id"] == f"marker-{number}"
        assert span.attributes["llmtrace.feature"] == "marker-many"
        assert span.attributes["llmtrace.retrieval.document_ids"] == (f"marker-document-{number}",)
        assert parents[span.parent.span_id] == f"invoke_workflow {number}"
    assert {call.user for call in calls} == {f"marker-{number}" for number in range(MANY)}
    assert len(vendor.received) == MANY
    assert not any("marker" in str(headers) + body for headers, body in vendor.received)
    assert current().feature is None
    assert not trace.get_current_span().get_span_context().is_valid


def work(client: Any, number: int) -> Any:
    with tag(user=f"marker-{number}"), workflow(str(number)):
        with retrieval("index") as search:
            search.add([(f"marker-document-{number}", 1.0)])
        return ask(client, number)


async def test_gathered_calls_keep_their_own_tags(spans: InMemorySpanExporter, vendor: Vendor) -> None:
    """200 calls in gather, in tasks of their own, each in its own block."""

    async def one(client: openai.AsyncOpenAI, number: int) -> None:
        async with tag(user=f"marker-{number}"), workflow(str(number)):
            async with retrieval("index") as search:
                await asyncio.sleep(0)
                search.add([{"id": f"marker-document-{number}"}])
            await ask(client, number)

    async with openai.AsyncOpenAI(base_url=vendor.url, api_key="x", timeout=60) as client:
        with collect() as calls, tag(feature="marker-many"):
            await asyncio.gather(*(one(client, number) for number in range(MANY)))
    check(spans, vendor, calls)


def test_calls_in_a_thread_pool_keep_their_own_tags(spans: InMemorySpanExporter, vendor: Vendor) -> None:
    """The same in a pool that propagates the context, and in a plain one with wrapped functions."""
    client = openai.OpenAI(base_url=vendor.url, api_key="x", timeout=60)
    with client, collect() as calls, tag(feature="marker-many"):
        with ContextExecutor(8) as pool:
            list(pool.map(lambda number: work(client, number), range(MANY // 2)))
        with ThreadPoolExecutor(8) as plain:
            list(plain.map(wrap(lambda number: work(client, number)), range(MANY // 2, MANY)))
    check(spans, vendor, calls)


async def test_calls_in_to_thread_keep_their_own_tags(spans: InMemorySpanExporter, vendor: Vendor) -> None:
    """The same in asyncio.to_thread."""
    client = openai.OpenAI(base_url=vendor.url, api_key="x", timeout=60)
    with client, collect() as calls, tag(feature="marker-many"):
        await asyncio.gather(*(asyncio.to_thread(work, client, number) for number in range(MANY)))
    check(spans, vendor, calls)


async def test_task_keeps_its_tags_after_the_block() -> None:
    """A task started inside a block keeps its tags after the block, also after blocks of its own."""
    go = asyncio.Event()

    async def later() -> list[Any]:
        await go.wait()
        with tag(user="inner"):
            pass
        return [current().feature, current().user]

    with tag(feature="outer"):
        task = asyncio.create_task(later())
        await asyncio.sleep(0)
    go.set()
    assert await task == ["outer", None]


async def test_cancelled_task_leaves_no_tags_behind() -> None:
    """A cancelled task leaves nothing behind, and its siblings keep their own tags."""

    async def stuck() -> None:
        with tag(user="stuck"):
            await asyncio.Event().wait()

    async def fine() -> str | None:
        with tag(user="fine"):
            await asyncio.sleep(0)
            return current().user

    async with asyncio.TaskGroup() as group:
        doomed, good = group.create_task(stuck()), group.create_task(fine())
        await asyncio.sleep(0)
        doomed.cancel()
    assert good.result() == "fine"
    assert current().user is None


def test_bare_thread_inherits_no_tags() -> None:
    """A bare thread has no tags, as is usual in Python; a wrapped function has those of the line that wrapped it."""
    seen: list[Any] = []
    with tag(feature="f"):
        targets = [lambda: seen.append(current().feature), wrap(lambda: seen.append(current().feature))]
    for target in targets:
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    assert seen == [None, "f"]


def where() -> tuple[Any, ...]:
    ids = trace.get_current_span().get_span_context()
    here = current()
    return here.feature, here.metadata, [document.id for document in here.documents], ids.trace_id


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_wrapped_function_carries_its_context_to_another_process(spans: InMemorySpanExporter) -> None:
    """Span, tags and documents reach a forked worker, which has them from the pickle and not from its parent."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    with pool:
        assert pool.submit(where).result(60) == (None, {}, [], 0)
        with tag(feature="f", plan="pro"), workflow("w"):
            with retrieval("index") as search:
                search.add(["d"])
            here = where()
            assert pool.submit(wrap(where)).result(60) == here
    assert here[:3] == ("f", {"plan": "pro"}, ["d"])
    assert here[3] != 0


def test_function_wrapped_without_a_span_has_none_in_another_process() -> None:
    """Where no span was current when it was wrapped, none is where it arrives."""
    with tag(feature="f"):
        carried = pickle.loads(pickle.dumps(wrap(where)))
    assert carried() == ("f", {}, [], 0)


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_coroutine_closed_half_way_restores_the_context(spans: InMemorySpanExporter, elsewhere: bool) -> None:
    """A program that drives a coroutine by hand and closes it, also in another context, has the context of before."""

    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    before = otel.get_current()
    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as http:
        client = openai.AsyncOpenAI(api_key="x", base_url="http://vendor", http_client=http)
        call = ask(client, 1)
        (contextvars.copy_context().run if elsewhere else lambda step, value: step(value))(call.send, None)
        assert (otel.get_current() is before) is elsewhere
        call.close()
    assert otel.get_current() is before
    llmtrace.flush()
    (span,) = by_name(spans, "chat")
    assert span.attributes["llmtrace.outcome"] == "cancelled"


def test_block_that_ends_in_a_copied_context_restores_it() -> None:
    """It ends in the copy, though the token is of another context; where it began it stays open."""
    block = tag(feature="f")
    begun = contextvars.copy_context()
    begun.run(block.__enter__)
    ended = begun.copy()
    ended.run(block.__exit__, None, None, None)
    assert ended.run(current).feature is None
    assert begun.run(current).feature == "f"


async def test_wrapped_functions_of_every_kind_run_with_the_tags_of_wrap() -> None:
    """Coroutines and generators run under the tags of the line that wrapped them, and their reader does not."""

    async def coroutine() -> Any:
        await asyncio.sleep(0)
        return current().feature

    def generator() -> Any:
        yield current().feature

    async def async_generator() -> Any:
        yield current().feature

    with tag(feature="f"):
        a, b, c = wrap(coroutine), wrap(generator), wrap(async_generator)
    assert await a() == "f"
    assert list(b()) == ["f"]
    assert [item async for item in c()] == ["f"]
    assert current().feature is None
