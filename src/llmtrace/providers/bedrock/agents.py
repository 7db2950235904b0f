"""Bedrock agents, knowledge bases and guardrails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..._read import get, get_count, get_number, get_text, iter_list
from ...model import Counts, Message, Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import WireFormat
from .._messages import text_part
from ..contract import SearchReaders
from ..rerank import read_ranking
from .converse import guardrail_of

__all__ = ["AGENT", "GENERATE", "GUARDRAIL", "RERANK", "RETRIEVE"]


def _user_text(text: str | None) -> RequestContent:
    return RequestContent(messages=[] if text is None else [{"role": "user", "parts": [text_part(text)]}])


def _assistant(text: str | None) -> list[Message]:
    return [{"role": "assistant", "parts": [text_part(text)], "finish_reason": None}] if text else []


def read_agent_request(body: Any) -> Request:
    return Request(
        operation="invoke_agent",
        model=get_text(body, "foundationModel"),  # of an agent that the request describes
        agent_id=get_text(body, "agentId"),
        conversation_id=get_text(body, "sessionId"),
    )


class AgentAccumulator:
    """Accumulator of an agent's events. Traces report the usage of each model call, if the caller enables them."""

    __slots__ = ("_model", "_models", "_usage")

    def __init__(self) -> None:
        self._model: str | None = None
        self._models: dict[str | None, str] = {}
        """Models of the calls whose usage is awaited, by trace: collaborators work at the same time."""
        self._usage: dict[str | None, Counts] = {}

    def add(self, event: Any) -> bool:
        traces = get(get(event, "trace"), "trace")
        for trace in traces.values() if type(traces) is dict else ():
            request, response = get(trace, "modelInvocationInput"), get(trace, "modelInvocationOutput")
            if (model := get_text(request, "foundationModel")) is not None:
                self._model = self._models[get_text(request, "traceId")] = model
            usage = get(get(response, "metadata"), "usage")
            if usage is not None:
                self._model = self._models.pop(get_text(response, "traceId"), self._model)
            for name, field in (("inputTokens", "input"), ("outputTokens", "output")):
                if (count := get_count(usage, name)) is not None:
                    counts = self._usage.setdefault(self._model, {})
                    counts[field] = counts.get(field, 0) + count
        return get(event, "chunk") is not None

    @property
    def ended(self) -> bool:
        return False  # no event is the last one

    def result(self) -> Response:
        (model, counts), *others = self._usage.items() or [(None, {})]
        response = Response(model=model, usage=counts or None, additional_usage=tuple(others))
        if counts:
            response.price_context["agent"] = "model calls only"
        return response


def _chunk_text(event: Any) -> str:
    data = get(get(event, "chunk"), "bytes")
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else get_text(get(event, "output"), "text") or ""


class AgentContentAccumulator:
    """Accumulator of the text of an agent, or of a generated response."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, event: Any) -> None:
        self._texts.append(_chunk_text(event))

    def messages(self) -> list[Message]:
        return _assistant("".join(self._texts))


def read_agent_response(_: Any) -> Response:
    return Response()


AGENT = WireFormat(
    request=read_agent_request,
    response=read_agent_response,
    accumulator=AgentAccumulator,
    content=ContentFormat(
        lambda body: _user_text(get_text(body, "inputText")), lambda _: [], accumulator=AgentContentAccumulator
    ),
)


def read_generate_request(body: Any) -> Request:
    configuration = get(body, "retrieveAndGenerateConfiguration")
    base = get(configuration, "knowledgeBaseConfiguration")
    source = base if base is not None else get(configuration, "externalSourcesConfiguration")
    guardrail = get(get(source, "generationConfiguration"), "guardrailConfiguration")
    return Request(
        operation="chat",
        model=get_text(source, "modelArn"),
        conversation_id=get_text(body, "sessionId"),
        knowledge_base_id=get_text(base, "knowledgeBaseId"),
        guardrail_id=get_text(guardrail, "guardrailId"),
    )


def read_generate_response(response: Any) -> Response:
    action = get_text(response, "guardrailAction")
    return Response(
        conversation_id=get_text(response, "sessionId"),
        finish_reasons=("guardrail_intervened",) if action == "INTERVENED" else (),
    )


class GroundedAccumulator:
    """Accumulator of the events of a generated response, none of which reports usage."""

    __slots__ = ("_intervened",)

    def __init__(self) -> None:
        self._intervened = False

    def add(self, event: Any) -> bool:
        self._intervened = self._intervened or get(get(event, "guardrail"), "action") == "INTERVENED"
        return bool(_chunk_text(event))

    @property
    def ended(self) -> bool:
        return False

    def result(self) -> Response:
        return Response(finish_reasons=("guardrail_intervened",) if self._intervened else ())


GENERATE = WireFormat(
    request=read_generate_request,
    response=read_generate_response,
    accumulator=GroundedAccumulator,
    content=ContentFormat(
        lambda body: _user_text(get_text(get(body, "input"), "text")),
        lambda response: _assistant(get_text(get(response, "output"), "text")),
        AgentContentAccumulator,
    ),
)


def read_guardrail_request(body: Any) -> Request:
    return Request(operation="moderation", guardrail_id=guardrail_of(body))


def read_guardrail_response(response: Any) -> Response:
    return Response(refused=get_text(response, "action") == "GUARDRAIL_INTERVENED")


def read_guarded(body: Any) -> RequestContent:
    texts = [text for block in iter_list(body, "content") if (text := get_text(get(block, "text"), "text"))]
    return RequestContent(messages=[{"role": "user", "parts": [text_part(text) for text in texts]}] if texts else [])


GUARDRAIL = WireFormat(
    request=read_guardrail_request,
    response=read_guardrail_response,
    content=ContentFormat(
        read_guarded,
        lambda response: [
            message for output in iter_list(response, "outputs") for message in _assistant(get_text(output, "text"))
        ],
    ),
)


def read_rerank_request(body: Any) -> Request:
    configuration = get(get(body, "rerankingConfiguration"), "bedrockRerankingConfiguration")
    top = get_count(configuration, "numberOfResults")
    return Request(
        operation="rerank",
        model=get_text(get(configuration, "modelConfiguration"), "modelArn"),
        params={} if top is None else {"reranker.top_k": top},
    )


def read_rerank_response(response: Any) -> Response:
    return Response(documents=read_ranking(response))


def read_ranked(body: Any) -> RequestContent:
    query = next(iter_list(body, "queries"), None)
    request = RequestContent(query=get_text(get(query, "textQuery"), "text"))
    for source in iter_list(body, "sources"):
        document = get(source, "inlineDocumentSource")
        text = get_text(get(document, "textDocument"), "text")
        request.texts.append(json.dumps(get(document, "jsonDocument")) if text is None else text)
    return request


RERANK = WireFormat(request=read_rerank_request, response=read_rerank_response, content=ContentFormat(read_ranked))


def read_search(body: Any) -> tuple[str | None, str | None, int | None]:
    configuration = get(get(body, "retrievalConfiguration"), "vectorSearchConfiguration")
    return (
        get_text(body, "knowledgeBaseId"),
        get_text(get(body, "retrievalQuery"), "text"),
        get_count(configuration, "numberOfResults"),
    )


_LOCATION_IDS = ("uri", "url", "id")


def read_documents(response: Any) -> Iterator[dict[str, Any]]:
    for result in iter_list(response, "retrievalResults"):
        metadata, location = get(result, "metadata"), get(result, "location")
        places = [value for value in location.values() if type(value) is dict] if type(location) is dict else []
        chunk = get_text(metadata, "x-amz-bedrock-kb-chunk-id")
        place = next((text for at in places for name in _LOCATION_IDS if (text := get_text(at, name))), None)
        yield {
            "id": get_text(result, "documentId") or chunk or place,
            "score": get_number(result, "score"),
            "content": get_text(get(result, "content"), "text"),
            "metadata": metadata,
        }


RETRIEVE = SearchReaders(read_search, read_documents)
