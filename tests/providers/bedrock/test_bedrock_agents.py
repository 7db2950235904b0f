"""Agents, knowledge bases and guardrails of Bedrock."""

from __future__ import annotations

import json
from base64 import b64encode
from decimal import Decimal
from typing import Any

import pytest
from bedrock_calls import COLOURS, Side, converse_answer, events_answer, only, read
from helpers import check_shapes
from loopback import Loopback, json_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.telemetry.names import operation_of

AGENTS = "bedrock-agent-runtime"
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"


def _trace(kind: str, **content: Any) -> dict[str, Any]:
    return {"trace": {"agentId": "A1", "trace": {kind: content}}}


def _output(inputs: int, outputs: int) -> dict[str, Any]:
    return {"metadata": {"usage": {"inputTokens": inputs, "outputTokens": outputs}}}


TRACES = [
    _trace("preProcessingTrace", modelInvocationInput={"foundationModel": HAIKU, "text": "secret"}),
    _trace("preProcessingTrace", modelInvocationOutput=_output(100, 10)),
    _trace("orchestrationTrace", modelInvocationInput={"foundationModel": HAIKU}),
    _trace("orchestrationTrace", modelInvocationOutput=_output(1000, 50)),
]
TEXTS = [{"chunk": {"bytes": b64encode(text.encode()).decode()}} for text in ("hé", " 漢字")]
AGENT = {"agentId": "A1", "agentAliasId": "B1", "sessionId": "s1", "inputText": "secret question"}


@COLOURS
@pytest.mark.parametrize("traces", [True, False], ids=["traces", "no-traces"])
async def test_agent_is_one_span(loopback: Loopback, spans: InMemorySpanExporter, colour: str, traces: bool) -> None:
    """An agent's run has its id and session, and the usage of its model calls if the caller enables traces."""
    loopback.will(events_answer([*(TRACES if traces else []), *TEXTS]))
    async with Side(colour, loopback.url, AGENTS) as side:
        side.needs("PreProcessingModelInvocationOutput", "metadata")
        events = await read(await side.call("invoke_agent", **AGENT, enableTrace=traces))
    assert b"".join(event["chunk"]["bytes"] for event in events if "chunk" in event).decode() == "hé 漢字"
    found = await only(spans)
    assert found["gen_ai.operation.name"] == "invoke_agent"
    assert found["gen_ai.agent.id"] == "A1"
    assert found["gen_ai.conversation.id"] == "s1"
    assert found["llmtrace.stream.end"] == "exhausted"
    if traces:
        assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (1100, 60)
        assert Decimal(found["llmtrace.cost.exact"]) == (1100 * Decimal("0.25") + 60 * Decimal("1.25")) / 1_000_000
        # Knowledge bases and code interpreters are billed too.
        assert found["llmtrace.cost.approximate"] is True
    else:
        assert found["llmtrace.cost.unpriced_reason"] == "no_usage"
    assert "secret" not in str(found)


@COLOURS
async def test_content_of_an_agent(loopback: Loopback, content_spans: InMemorySpanExporter, colour: str) -> None:
    """With content on, the question and the joined answer are on the span."""
    loopback.will(events_answer(TEXTS))
    async with Side(colour, loopback.url, AGENTS) as side:
        await read(await side.call("invoke_agent", **AGENT))
    found = await only(content_spans)
    check_shapes(found)
    assert "secret question" in found["gen_ai.input.messages"]
    assert json.loads(found["gen_ai.output.messages"])[0]["parts"] == [{"type": "text", "content": "hé 漢字"}]


@COLOURS
async def test_agent_that_the_request_describes_is_one_span(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str
) -> None:
    """An inline agent has the usage of its model calls, like any other."""
    loopback.will(events_answer([*TRACES, *TEXTS]))
    request = {name: value for name, value in AGENT.items() if not name.startswith("agent")}
    async with Side(colour, loopback.url, AGENTS) as side:
        if not hasattr(side.client, "invoke_inline_agent"):
            pytest.skip("this release has none")
        instruction = "Answer each secret question about the sky in one short sentence."
        base = {"knowledgeBaseId": "KB12345678", "description": "secret manuals"}
        group = {
            "actionGroupName": "weather",
            "description": "secret weather",
            "parentActionGroupSignature": "AMAZON.UserInput",
        }
        more = {"foundationModel": HAIKU, "instruction": instruction, "enableTrace": True}
        more |= {"knowledgeBases": [base], "actionGroups": [group]}
        await read(await side.call("invoke_inline_agent", **request, **more))
    found = await only(spans)
    assert found["gen_ai.operation.name"] == "invoke_agent"
    assert found["gen_ai.request.model"] == HAIKU
    assert found["gen_ai.conversation.id"] == "s1"
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (1100, 60)
    assert found["llmtrace.cost.approximate"] is True
    assert "secret" not in str(found)


@COLOURS
async def test_collaborators_at_the_same_time_have_the_prices_of_their_models(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str
) -> None:
    """Two inputs may come before the first output: the id of the trace says which model it is of."""
    sonnet = "anthropic.claude-3-sonnet-20240229-v1:0"
    models, outputs = {"a": HAIKU, "b": sonnet}, {"a": (1000, 50), "b": (100, 10)}
    events = [
        _trace("orchestrationTrace", modelInvocationInput={"foundationModel": model, "traceId": trace})
        for trace, model in models.items()
    ] + [
        _trace("orchestrationTrace", modelInvocationOutput={**_output(*counts), "traceId": trace})
        for trace, counts in outputs.items()
    ]
    loopback.will(events_answer([*events, *TEXTS]))
    async with Side(colour, loopback.url, AGENTS) as side:
        side.needs("PreProcessingModelInvocationOutput", "metadata")
        await read(await side.call("invoke_agent", **AGENT, enableTrace=True))
    haiku = 1000 * Decimal("0.25") + 50 * Decimal("1.25")
    cost = (haiku + 100 * Decimal(3) + 10 * Decimal(15)) / 1_000_000
    assert Decimal((await only(spans))["llmtrace.cost.exact"]) == cost


RANKER = "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0"
RANKED = {
    "queries": [{"type": "TEXT", "textQuery": {"text": "secret question"}}],
    "sources": [
        {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": "first text"}}},
        {"type": "INLINE", "inlineDocumentSource": {"type": "JSON", "jsonDocument": {"title": "second text"}}},
    ],
    "rerankingConfiguration": {
        "type": "BEDROCK_RERANKING_MODEL",
        "bedrockRerankingConfiguration": {"numberOfResults": 1, "modelConfiguration": {"modelArn": RANKER}},
    },
}


async def rerank(loopback: Loopback, colour: str) -> Any:
    loopback.will(json_answer({"results": [{"index": 1, "relevanceScore": 0.75}]}))
    async with Side(colour, loopback.url, AGENTS) as side:
        if not hasattr(side.client, "rerank"):
            pytest.skip("this release has none")
        return (await side.call("rerank", **RANKED))["results"]


@COLOURS
async def test_rerank_has_the_scores_and_no_cost(loopback: Loopback, spans: InMemorySpanExporter, colour: str) -> None:
    """Bedrock bills each query and reports none."""
    assert await rerank(loopback, colour) == [{"index": 1, "relevanceScore": 0.75}]
    found = await only(spans)
    assert operation_of(found) == "rerank"
    assert found["gen_ai.request.model"] == RANKER
    assert found["reranker.output_documents.0.document.score"] == 0.75
    assert found["llmtrace.cost.unpriced_reason"] == "no_usage"
    assert "llm.cost.total" not in found
    assert "secret" not in str(found)


@COLOURS
async def test_content_of_a_rerank(loopback: Loopback, content_spans: InMemorySpanExporter, colour: str) -> None:
    """With content on, the query and the texts are on the span."""
    await rerank(loopback, colour)
    found = str(await only(content_spans))
    assert "secret question" in found
    assert "first text" in found
    assert "second text" in found


RESULTS = [
    {
        "content": {"text": "Manual."},
        "location": {"type": "S3", "s3Location": {"uri": "s3://b/a.pdf"}},
        "score": 0.75,
        "metadata": {"x-amz-bedrock-kb-chunk-id": "c1"},
    },
    {"content": {"text": "Page."}, "location": {"type": "WEB", "webLocation": {"url": "https://a"}}, "score": 0.5},
    {"content": {"text": "Text."}},
]
SEARCH = {
    "knowledgeBaseId": "KB12345678",
    "retrievalQuery": {"text": "secret question"},
    "retrievalConfiguration": {"vectorSearchConfiguration": {"numberOfResults": 3}},
}


@COLOURS
@pytest.mark.parametrize("content", [False, True], ids=["content-off", "content-on"])
async def test_retrieve_is_a_retrieval_span(
    loopback: Loopback, request: pytest.FixtureRequest, colour: str, content: bool
) -> None:
    """A search of a knowledge base has its documents, and later calls name them."""
    exporter: InMemorySpanExporter = request.getfixturevalue("content_spans" if content else "spans")
    loopback.will(json_answer({"retrievalResults": RESULTS}), converse_answer(stream=False))
    with llmtrace.workflow("answer"):
        async with Side(colour, loopback.url, AGENTS) as side:
            assert (await side.call("retrieve", **SEARCH))["retrievalResults"] == RESULTS
        async with Side(colour, loopback.url) as side:
            await side.converse()
    assert llmtrace.flush()
    search, chat, _ = exporter.get_finished_spans()
    found = dict(search.attributes or {})
    assert (search.name, found["gen_ai.data_source.id"]) == ("retrieval", "KB12345678")
    assert found["gen_ai.retrieval.top_k"] == 3
    documents = json.loads(found["gen_ai.retrieval.documents"])
    ids = ["c1", "https://a", documents[2]["id"]]
    assert [document["id"] for document in documents] == ids
    assert [document.get("score") for document in documents] == [0.75, 0.5, None]
    assert list((chat.attributes or {})["llmtrace.retrieval.document_ids"]) == ids
    assert ("secret" in str(found)) is content


@COLOURS
async def test_error_of_a_search_is_that_of_botocore(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str
) -> None:
    """A failing search raises the SDK's exception, and its span is an error."""
    loopback.will(json_answer({"message": "no"}, status=400))
    async with Side(colour, loopback.url, AGENTS) as side:
        with pytest.raises(side.client.exceptions.ClientError):
            await side.call("retrieve", **SEARCH)
    assert "error.type" in await only(spans)


GENERATE = {
    "input": {"text": "secret question"},
    "retrieveAndGenerateConfiguration": {
        "type": "KNOWLEDGE_BASE",
        "knowledgeBaseConfiguration": {
            "knowledgeBaseId": "KB12345678",
            "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}",
            "generationConfiguration": {"promptTemplate": {"textPromptTemplate": "secret template"}},
        },
    },
}


@COLOURS
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_retrieve_and_generate_is_a_chat_without_usage(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str, stream: bool
) -> None:
    """The span has model, knowledge base and session. Bedrock reports no usage, so there is no cost."""
    method = "retrieve_and_generate_stream" if stream else "retrieve_and_generate"
    plain = json_answer({"sessionId": "s1", "output": {"text": "hé"}, "guardrailAction": "INTERVENED"})
    events = events_answer([{"output": {"text": "hé"}}, {"guardrail": {"action": "INTERVENED"}}])
    loopback.will(events if stream else plain)
    async with Side(colour, loopback.url, AGENTS) as side:
        if not hasattr(side.client, method):
            pytest.skip("this release has no such operation")
        await read(await side.call(method, **GENERATE))
    found = await only(spans)
    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.request.model"].endswith(HAIKU)
    assert found["aws.bedrock.knowledge_base.id"] == "KB12345678"
    assert found.get("gen_ai.conversation.id") == (None if stream else "s1")
    assert found["gen_ai.response.finish_reasons"] == ("content_filter",)
    assert found["llmtrace.cost.unpriced_reason"] == "no_usage"
    assert "secret" not in str(found)


@COLOURS
@pytest.mark.parametrize("action", ["NONE", "GUARDRAIL_INTERVENED"])
async def test_apply_guardrail_is_a_moderation(
    loopback: Loopback, content_spans: InMemorySpanExporter, side: Side, action: str
) -> None:
    """A guardrail has a span of its own without tokens, marked where it intervened."""
    loopback.will(json_answer({"action": action, "outputs": [{"text": "masked"}], "assessments": [], "usage": {}}))
    await side.call(
        "apply_guardrail",
        guardrailIdentifier="gr1",
        guardrailVersion="1",
        source="INPUT",
        content=[{"text": {"text": "question"}}],
    )
    found = await only(content_spans)
    (span,) = content_spans.get_finished_spans()
    assert (span.name, found["llmtrace.operation.name"]) == ("moderation", "moderation")
    assert found["aws.bedrock.guardrail.id"] == "gr1"
    assert found.get("llmtrace.refusal") == (None if action == "NONE" else True)
    assert "question" in found["gen_ai.input.messages"]
    assert "masked" in found["gen_ai.output.messages"]
    assert not [name for name in found if name.startswith(("gen_ai.usage.", "llm.cost"))]
