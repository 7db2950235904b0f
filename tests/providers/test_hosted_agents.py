"""Turns of agents that OpenAI hosts: each is billed once, wherever its usage is seen first."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from helpers import collect, resolve
from loopback import Loopback, ServerResponse, json_answer, stream_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.pricing.price import Pricer
from llmtrace.providers.openai import agents as our_agents
from stainless_clients import make_client

_numbers = count()
USAGE = {
    "input_tokens": 100_000,
    "input_tokens_details": {"cached_tokens": 40_000},
    "output_tokens": 2_000,
    "output_tokens_details": {"reasoning_tokens": 500},
    "total_tokens": 102_000,
}
COST = f"{((60_000 * Decimal('2.5') + 40_000 * Decimal('1.25') + 2_000 * 10) / 1_000_000).normalize():f}"
COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])


@pytest.fixture(autouse=True)
def _on_openais_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Price calls as if the loopback server were OpenAI's: on an unknown host the cost is approximate."""
    price = Pricer.price
    monkeypatch.setattr(
        Pricer, "price", lambda self, provider, _, *more, **kw: price(self, provider, "api.openai.com", *more, **kw)
    )


class Hosted:
    """A session of an agent, as the server describes it."""

    def __init__(self, model: str = "gpt-4o-2024-08-06") -> None:
        self.number = next(_numbers)
        self.id = f"sess_{self.number}"
        self.model = model

    def session(self, status: str = "idle") -> dict[str, Any]:
        agent = {"id": "agent_1", "model": self.model, "service_tier": "auto", "tools": [], "multi_agent": {}}
        return {
            "id": self.id, "object": "agent.session", "agent": agent, "status": status, "created_at": 1,
            "last_active_at": 1, "metadata": {}, "required_actions": [], "vault_ids": [],
            "environment": {"type": "none"},
        }  # fmt: skip

    def turn(self, status: str = "completed", name: str = "a", **more: Any) -> dict[str, Any]:
        return {
            "id": f"turn_{self.number}_{name}", "object": "agent.session.turn", "agent_id": "agent_1", "created_at": 1,
            "session_id": self.id, "status": status, **more,
        }  # fmt: skip

    def events(self, *turns: dict[str, Any], **usage: Any) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = [{"type": "agent.session.created", "session": self.session("in_progress")}]
        for turn in turns or (self.turn(usage=USAGE),):
            kind = "agent.session.turn"
            running, common = {**turn, "status": "in_progress", "usage": None}, {"turn_id": turn["id"]}
            part = {"content_index": 0, "item_id": "i", "output_index": 0, "session_id": self.id, **common}
            item = {
                "id": "i", "type": "message", "role": "assistant", "status": "completed", **common,
                "content": [{"type": "output_text", "text": "A secret."}],
            }  # fmt: skip
            made += [
                {"type": "agent.session.turn.created", "turn": running, "session_id": self.id, **common},
                {"type": "agent.session.turn.output_text.delta", "delta": "A secret.", **part},
                {"type": "agent.session.turn.item.done", "item": item, "output_index": 0, "session_id": self.id},
                {"type": f"{kind}.{turn['status']}", "turn": turn, "session_id": self.id, **common, **usage},
            ]  # fmt: skip
        made.append({"type": "agent.session.idle", "session": self.session()})
        return [{"event_id": f"e{index}", **event} for index, event in enumerate(made)]


def served(events: list[dict[str, Any]]) -> ServerResponse:
    return stream_answer([f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events])


def sessions(client: Any) -> Any:
    if not hasattr(client.beta, "agents"):
        pytest.skip("this release has none")
    return client.beta.agents.sessions


def create(client: Any, **more: Any) -> Any:
    agent = {"model": "gpt-4o", "instructions": "Be secretive."}
    return resolve(sessions(client).create(environment={"type": "none"}, agent=agent, input="Why?", **more))


def found(spans: InMemorySpanExporter) -> list[dict[str, Any]]:
    return [{"name": span.name, **(span.attributes or {})} for span in spans.get_finished_spans()]


def costs(spans: InMemorySpanExporter) -> list[tuple[str, Any]]:
    return [(each["name"], each.get("llmtrace.cost.exact")) for each in found(spans)]


@COLOURS
async def test_streamed_creation_is_one_priced_turn(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str
) -> None:
    """The span of the request has the turn's tokens and cost. What is fetched later has none of it."""
    client, hosted = make_client("openai", colour, loopback.url), Hosted()
    turn = hosted.turn(usage=USAGE)
    loopback.will(served(hosted.events(turn)), json_answer(turn), json_answer({"data": [turn], "has_more": False}))
    events = await collect(await create(client, stream=True))
    assert [event.type for event in events][-1] == "agent.session.idle"
    fetched = await resolve(sessions(client).turns.retrieve(turn["id"], session_id=hosted.id))
    assert fetched.usage.input_tokens == 100_000
    assert [each.id for each in await collect(sessions(client).turns.list(hosted.id))] == [turn["id"]]
    await resolve(client.close())
    assert costs(spans) == [("invoke_agent", COST), ("fetch_response", None), ("fetch_response", None)]
    span = found(spans)[0]
    assert span["gen_ai.response.id"] == turn["id"]
    assert span["gen_ai.conversation.id"] == hosted.id
    assert span["gen_ai.response.model"] == hosted.model
    assert span["gen_ai.usage.input_tokens"] == 100_000
    assert span["gen_ai.usage.cache_read.input_tokens"] == 40_000
    assert span["gen_ai.usage.output_tokens"] == 2_000
    assert span["gen_ai.usage.reasoning.output_tokens"] == 500
    assert span["llmtrace.cost.approximate"] is True
    assert span["llmtrace.stream.end"] == "exhausted"
    assert span["llmtrace.stream.time_to_first_token"] > 0
    assert "ecret" not in str(found(spans))


@COLOURS
@pytest.mark.parametrize("way", ["retrieve", "list", "events"])
async def test_turn_of_a_plain_creation_is_billed_where_it_is_seen(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str, way: str
) -> None:
    """Neither the creation nor a turn in progress has usage; the first sight of its end has it, later ones have not."""
    client, hosted = make_client("openai", colour, loopback.url), Hosted()
    ended, running = hosted.turn(usage=USAGE), hosted.turn("in_progress")
    pages = [json_answer({"data": [turn], "has_more": False}) for turn in (running, ended, ended)]
    answers = {
        "retrieve": [json_answer(turn) for turn in (running, ended, ended)],
        "list": pages,
        "events": [pages[0], served(hosted.events(ended)), served(hosted.events(ended))],
    }
    loopback.will(json_answer(hosted.session("in_progress")), *answers[way])
    await create(client)
    for number in range(3):
        if way == "retrieve":
            await resolve(sessions(client).turns.retrieve(ended["id"], session_id=hosted.id))
        elif way == "list" or number == 0:
            await collect(sessions(client).turns.list(hosted.id))
        else:
            await collect(await resolve(sessions(client).events.stream(hosted.id)))
    await resolve(client.close())
    assert [cost for _, cost in costs(spans) if cost is not None] == [COST]
    assert {name for name, _ in costs(spans)} == {"invoke_agent", "fetch_response"}
    (billed,) = [span for span in found(spans) if "llmtrace.cost.exact" in span]
    assert billed["gen_ai.response.id"] == ended["id"]
    assert billed["gen_ai.operation.name"] == "fetch_response"
    assert len([span for span in found(spans) if "gen_ai.usage.input_tokens" in span]) == 1
    assert found(spans)[0]["llmtrace.cost.unpriced_reason"] == "no_usage"


@COLOURS
async def test_helper_that_streams_one_turn_is_billed_once(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str
) -> None:
    """It subscribes to the events, sends the input, and is closed when the turn has ended."""
    client, hosted = make_client("openai", colour, loopback.url), Hosted()
    accepted = ServerResponse([b""], status=202)
    loopback.will(json_answer(hosted.session()), served(hosted.events()), accepted)
    stream = sessions(client).stream(hosted.id, input="Why?")
    if colour == "sync":
        with stream as events:
            assert events.get_final_result().output_text == "A secret."
    else:
        async with stream as events:
            assert (await events.get_final_result()).output_text == "A secret."
    await resolve(client.close())
    spent = [span for span in found(spans) if "llmtrace.cost.exact" in span]
    assert [span["llmtrace.cost.exact"] for span in spent] == [COST]
    assert sorted(name for name, _ in costs(spans)) == ["fetch_response", "fetch_response", "invoke_agent"]


def test_turns_of_subagents_are_counted_without_a_guessed_price(
    loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """No turn names its model, and a subagent may have another one than the agent of the session."""
    hosted = Hosted()
    sub, failed = hosted.turn(name="sub", subagent_id="sub_1", usage=USAGE), hosted.turn("failed", "b")
    failed["error"] = {"code": "server_error", "message": "no"}
    with make_client("openai", "sync", loopback.url) as client:
        loopback.will(served(hosted.events(sub, hosted.turn(usage=USAGE), failed)))
        list(sessions(client).create(environment={"type": "none"}, agent={"model": "gpt-4o"}, input="?", stream=True))
    *others, first = found(spans)
    assert (first["name"], first["llmtrace.cost.exact"]) == ("invoke_agent", COST)
    assert [other["gen_ai.response.id"] for other in others] == [sub["id"], failed["id"]]
    assert others[0]["gen_ai.usage.input_tokens"] == 100_000
    assert "llm.cost.total" not in others[0]
    assert others[0]["llmtrace.cost.unpriced_reason"]
    assert others[1]["error.type"] == "server_error"
    assert "gen_ai.usage.input_tokens" not in others[1]


def test_usage_of_an_event_counts_where_its_turn_has_none(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """Both places are optional."""
    hosted = Hosted()
    with make_client("openai", "sync", loopback.url) as client:
        loopback.will(served(hosted.events(hosted.turn(usage=None), usage=USAGE)))
        list(sessions(client).events.stream(hosted.id))
    assert [cost for _, cost in costs(spans)] == [COST, None]


def test_turns_of_a_subscription_are_recorded_at_once(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A program may follow a session for days."""
    hosted = Hosted()
    turns = [hosted.turn(name=name, usage=USAGE) for name in "ab"]
    seen = []
    with make_client("openai", "sync", loopback.url) as client:
        loopback.will(served(hosted.events(*turns)))
        for event in sessions(client).events.stream(hosted.id):
            if event.type == "agent.session.turn.completed":
                seen.append(costs(spans))
    assert seen == [[("fetch_response", COST)] * number for number in (1, 2)]
    assert costs(spans)[2:] == [("fetch_response", None)]


def test_stream_that_is_left_early_has_no_cost(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """The turn goes on at the provider: a later look bills it."""
    hosted = Hosted()
    turn = hosted.turn(usage=USAGE)
    with make_client("openai", "sync", loopback.url) as client:
        loopback.will(served(hosted.events(turn)), json_answer(turn))
        with sessions(client).create(
            environment={"type": "none"}, agent={"model": "gpt-4o"}, input="?", stream=True
        ) as stream:
            next(iter(stream))
        sessions(client).turns.retrieve(turn["id"], session_id=hosted.id)
    left, fetched = found(spans)
    assert left["llmtrace.stream.end"] == "closed"
    assert "llm.cost.total" not in left
    assert fetched["llmtrace.cost.exact"] == COST


def test_session_without_input_and_a_cancellation_run_nothing(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """They have no span."""
    hosted = Hosted()
    with make_client("openai", "sync", loopback.url) as client:
        loopback.will(json_answer(hosted.session()), ServerResponse([b""], status=202))
        sessions(client).create(environment={"type": "none"}, agent={"model": "gpt-4o"})
        sessions(client).events.create(hosted.id, events=[{"type": "agent.session.input.cancel"}])
    assert found(spans) == []


def test_budgets_refuse_input_and_not_what_is_paid_for(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """Creations and input are refused, events and turns are not."""
    hosted = Hosted()
    budget = llmtrace.budget("agents", usd="0.1", per="total", action="block")
    try:
        with make_client("openai", "sync", loopback.url) as client:
            turn = hosted.turn(usage=USAGE)
            loopback.will(served(hosted.events(turn)), json_answer(turn))
            agent: Any = {"model": "gpt-4o"}
            list(sessions(client).create(environment={"type": "none"}, agent=agent, input="?", stream=True))
            sessions(client).turns.retrieve(turn["id"], session_id=hosted.id)
            message = {"role": "user", "content": [{"type": "input_text", "text": "?"}]}
            more: Any = [{"type": "agent.session.input.message", "input": [message]}]
            with pytest.raises(llmtrace.BudgetExceeded):
                sessions(client).events.create(hosted.id, events=more)
            with pytest.raises(llmtrace.BudgetExceeded):
                sessions(client).create(environment={"type": "none"}, agent=agent, input="?")
    finally:
        budget.remove()


@COLOURS
async def test_content_is_that_of_the_session(
    loopback: Loopback, content_spans: InMemorySpanExporter, colour: str
) -> None:
    """The input, the instructions and the items of the agent; tool results are messages of a tool."""
    client, hosted = make_client("openai", colour, loopback.url), Hosted()
    loopback.will(served(hosted.events()), ServerResponse([b""], status=202))
    await collect(await create(client, stream=True))
    result: Any = {"type": "agent.session.input.tool_result", "call_id": "c", "success": True, "turn_id": "t"}
    await resolve(sessions(client).events.create(hosted.id, events=[{**result, "output": "42"}]))
    await resolve(client.close())
    created, sent = found(content_spans)
    assert "Why?" in created["gen_ai.input.messages"]
    assert "Be secretive." in created["gen_ai.system_instructions"]
    assert "A secret." in created["gen_ai.output.messages"]
    assert json.loads(sent["gen_ai.input.messages"])[0]["role"] == "tool"


@COLOURS
async def test_nothing_of_a_session_is_recorded_without_content(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str
) -> None:
    """Neither what tools return nor what the environment has is a parameter."""
    client = make_client("openai", colour, loopback.url)
    loopback.will(json_answer(Hosted().session()), ServerResponse([b""], status=202))
    environment: Any = {"type": "hosted", "files": [{"path": "a", "content": "secret"}]}
    tool = {"type": "function", "name": "secret_tool", "description": "secret", "parameters": {}}
    agent: Any = {"model": "gpt-4o", "instructions": "secret", "reasoning": {"effort": "low"}, "tools": [tool]}
    await resolve(sessions(client).create(environment=environment, agent=agent, input="secret", vault_ids=["secret"]))
    result = {"type": "agent.session.input.tool_result", "call_id": "c", "success": True, "turn_id": "t"}
    await resolve(sessions(client).events.create("s", events=[{**result, "output": "secret"}]))
    await resolve(client.close())
    assert [name for name, _ in costs(spans)] == ["invoke_agent", "invoke_agent"]
    assert "secret" not in str(found(spans))


@COLOURS
async def test_turns_after_a_change_of_the_model_are_billed_by_the_new_one(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str
) -> None:
    """The update of a session may replace its model."""
    client, hosted = make_client("openai", colour, loopback.url), Hosted()
    changed = hosted.session()
    changed["agent"] |= {"model": "gpt-4o-mini-2024-07-18"}
    turn = hosted.turn(usage=USAGE)
    loopback.will(json_answer(hosted.session()), json_answer(changed), json_answer(turn))
    await create(client)
    await resolve(sessions(client).update(hosted.id, agent={"model": "gpt-4o-mini"}))
    await resolve(sessions(client).turns.retrieve(turn["id"], session_id=hosted.id))
    await resolve(client.close())
    _, update, fetched = found(spans)
    assert update["gen_ai.response.model"] == fetched["gen_ai.response.model"] == "gpt-4o-mini-2024-07-18"
    assert "llmtrace.cost.unpriced_reason" not in update
    price = 60_000 * Decimal("0.15") + 40_000 * Decimal("0.075") + 2_000 * Decimal("0.6")
    assert Decimal(fetched["llmtrace.cost.exact"]) == price / 1_000_000


@pytest.mark.parametrize("status", [["completed"], {"a": 1}, 7, None])
def test_odd_status_of_a_turn_is_not_its_end(loopback: Loopback, spans: InMemorySpanExporter, status: Any) -> None:
    """Only the turn that has ended is billed."""
    hosted = Hosted()
    odd, ended = hosted.turn(name="odd", usage=USAGE), hosted.turn(usage=USAGE)
    odd["status"] = status
    with make_client("openai", "sync", loopback.url) as client:
        events = hosted.events(ended)
        events.insert(1, {"type": "agent.session.turn.created", "event_id": "e", "turn": odd, "session_id": hosted.id})
        loopback.will(json_answer({"data": [odd, ended], "has_more": False}), served(events))
        assert len(list(sessions(client).turns.list(hosted.id))) == 2
        list(sessions(client).events.stream(hosted.id))
    assert [each["gen_ai.response.id"] for each in found(spans) if "gen_ai.usage.input_tokens" in each] == [ended["id"]]


def test_known_sessions_are_bounded(
    loopback: Loopback, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn of a session that the process has forgotten has tokens and no cost."""
    monkeypatch.setattr(our_agents, "_MAX_SESSIONS", 1)
    both = [Hosted(), Hosted()]
    with make_client("openai", "sync", loopback.url) as client:
        loopback.will(
            *(json_answer(each.session()) for each in both), *(json_answer(e.turn(usage=USAGE)) for e in both)
        )
        for _ in both:
            sessions(client).create(environment={"type": "none"}, agent={"model": "gpt-4o"}, input="?")
        for each in both:
            sessions(client).turns.retrieve(each.turn()["id"], session_id=each.id)
    assert [cost for _, cost in costs(spans)][2:] == [None, COST]
