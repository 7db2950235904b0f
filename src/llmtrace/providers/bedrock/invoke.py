"""Bedrock ``InvokeModel``: bodies in the formats of the models' vendors, recognized by their fields."""

from __future__ import annotations

import json
from typing import Any

from ..._read import get, get_count, get_text, iter_list, select
from ...model import Message, Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import Accumulator, Texts, WireFormat
from .._messages import text_part, text_parts
from .._parameters import read_parameters
from .._usage import OPENAI, Names, Reported, openai_totals
from ..anthropic.messages import MESSAGES
from ..openai.chat import CHAT
from .converse import CONVERSE, guardrail_of
from .headers import HEADERS

__all__ = ["INVOKE", "parse_body", "unwrap"]

# ---- bodies of one text: Llama, Mistral, Titan, Cohere, DeepSeek, AI21

_LIMITS = ("max_tokens", "max_gen_len", "maxTokenCount", "maxTokens", "max_tokens_to_sample", "max_completion_tokens")
_PARAMS = {
    **dict.fromkeys(_LIMITS, "max_tokens"),
    "temperature": "temperature",
    **dict.fromkeys(("top_p", "topP", "p"), "top_p"),
    **dict.fromkeys(("top_k", "topK", "k"), "top_k"),
    **dict.fromkeys(("stop_sequences", "stopSequences", "stop"), "stop_sequences"),
}
_PROMPTS = ("prompt", "inputText", "message")
_CHOICES = ("outputs", "choices", "results", "generations", "completions")
_TEXTS = ("text", "generation", "outputText", "completion")
_REASONS = ("stop_reason", "finish_reason", "completionReason", "finishReason")
_COHERE: Names = {"billed_units": {**OPENAI, "search_units": "search_units"}, "tokens": None}
_USAGE: Names = {
    "prompt_token_count": "input",
    "inputTextTokenCount": "input",
    "generation_token_count": "output",
    "totalOutputTextTokenCount": "output",
    "usage": {**OPENAI, **_COHERE},
    "meta": _COHERE,
}
_METRICS = "amazon-bedrock-invocationMetrics"
"""Field of the last chunk of every stream."""
_METRIC_NAMES: Names = {
    "inputTokenCount": "input",
    "outputTokenCount": "output",
    "cacheReadInputTokenCount": "cache_read",
    "cacheWriteInputTokenCount": "cache_write",
}


def _choices(body: Any) -> list[Any]:
    """Return the choices of a response, or the one that it is itself."""
    items = next((items for name in _CHOICES if (items := list(iter_list(body, name)))), [body])
    return [{**choice, **data} if type(data := get(choice, "data")) is dict else choice for choice in items]


def _first_text(source: Any, names: tuple[str, ...]) -> str | None:
    return next((text for name in names if (text := get_text(source, name)) is not None), None)


def _reason(choice: Any) -> str | None:
    return _first_text(choice, _REASONS) or get_text(get(choice, "finishReason"), "reason")


def _config(body: Any) -> dict[str, Any]:
    config = get(body, "textGenerationConfig")
    return config if type(config) is dict else {}


def read_text_request(body: Any) -> Request:
    params: dict[str, Any] = {}
    for source in (body, _config(body)):
        params.update((_PARAMS[name], value) for name, value in select(source, frozenset(_PARAMS)).items())
    if isinstance(stop := params.get("stop_sequences"), str):
        params["stop_sequences"] = [stop]
    is_chat = get(body, "message") is not None or get(body, "messages") is not None
    return Request(operation="chat" if is_chat else "text_completion", params=params)


def read_text_response(body: Any) -> Response:
    reported, choices = Reported(body, {**_USAGE, _METRICS: _METRIC_NAMES}), _choices(body)
    if outputs := sum(get_count(choice, "tokenCount") or 0 for choice in choices):
        reported.add_counts({"output": outputs})
    vector = get(body, "embedding") or next(iter_list(body, "embeddings"), None)
    response = Response(
        id=get_text(body, "id") or get_text(body, "generation_id"),
        finish_reasons=tuple(reason for choice in choices if (reason := _reason(choice))),
        dimensions=len(vector) if isinstance(vector, list) else None,
    )
    return reported.fill(response, openai_totals(reported.counts))


def read_text_content(body: Any) -> RequestContent:
    request = RequestContent(system=text_parts(body, "preamble"))
    for turn in iter_list(body, "chat_history"):
        role = "user" if get(turn, "role") in ("USER", "User", "user") else "assistant"
        request.messages.append({"role": role, "parts": [text_part(get_text(turn, "message") or "")]})
    if (prompt := _first_text(body, _PROMPTS)) is not None:
        request.messages.append({"role": "user", "parts": [text_part(prompt)]})
    request.texts += [text for text in iter_list(body, "texts") if isinstance(text, str)]
    return request


def read_text_messages(body: Any) -> list[Message]:
    return [
        {"role": "assistant", "parts": [text_part(text)], "finish_reason": _reason(choice)}
        for choice in _choices(body)
        if (text := _first_text(choice, _TEXTS)) is not None
    ]


class TextAccumulator:
    """Accumulator of chunks that have the fields of complete responses; counts are cumulative."""

    __slots__ = ("_counts", "_id", "_reasons")

    def __init__(self) -> None:
        self._counts = Reported()
        self._reasons: tuple[str, ...] = ()
        self._id: str | None = None

    def add(self, chunk: Any) -> bool | str:
        read = read_text_response(chunk)
        self._counts.add_counts(read.usage or {})
        self._counts.unread.update(dict.fromkeys(read.unmapped_counts))
        self._reasons = read.finish_reasons or self._reasons
        self._id = read.id or self._id
        return next((text for choice in _choices(chunk) if (text := _first_text(choice, _TEXTS))), False)

    @property
    def ended(self) -> bool:
        return bool(self._reasons)

    def result(self) -> Response:
        response = Response(id=self._id, finish_reasons=self._reasons, complete=self.ended)
        return self._counts.fill(response, self._counts.counts or None)


class TextContentAccumulator:
    """Accumulator of the text of such chunks."""

    __slots__ = ("_reason", "_texts")

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._reason: str | None = None

    def add(self, chunk: Any) -> None:
        for choice in _choices(chunk):
            self._texts.append(_first_text(choice, _TEXTS) or "")
            self._reason = _reason(choice) or self._reason

    def messages(self) -> list[Message]:
        return read_text_messages({"text": "".join(self._texts), "stop_reason": self._reason})


def read_text_texts(body: Any) -> Texts:
    return ((text, False) for choice in _choices(body) if (text := _first_text(choice, _TEXTS)))


TEXT = WireFormat(
    request=read_text_request,
    response=read_text_response,
    accumulator=TextAccumulator,
    content=ContentFormat(read_text_content, read_text_messages, TextContentAccumulator),
    texts=read_text_texts,
)

# ---- the choice of the format


def _format_of_request(body: Any) -> WireFormat:
    if get(body, "anthropic_version") is not None:
        return MESSAGES
    if next(iter_list(body, "messages"), None) is None:
        return TEXT
    nova = get(body, "schemaVersion") is not None or get(body, "inferenceConfig") is not None
    return CONVERSE if nova or type(get(body, "system")) is list else CHAT


_NOVA_EVENTS = ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata")
_NO_FIELDS: dict[str, Any] = {}


def _format_of_response(body: Any) -> WireFormat:
    fields = body if type(body) is dict else _NO_FIELDS
    kind = fields.get("type")
    if isinstance(kind, str) and (kind in ("ping", "error") or kind.startswith(("message", "content_block"))):
        return MESSAGES
    if get(fields.get("output"), "message") is not None or any(name in fields for name in _NOVA_EVENTS):
        return CONVERSE
    choice = next(iter_list(fields, "choices"), None)
    return TEXT if get(choice, "message") is None and get(choice, "delta") is None else CHAT


_OPERATIONS = {"embed": "embeddings", "rerank": "rerank", "image": "generate_content", "canvas": "generate_content"}
"""Operations by part of the names of models whose bodies do not show them."""


def read_request(body: Any) -> Request:
    vendor_body, model = get(body, "body"), get_text(body, "modelId")
    wire_format = _format_of_request(vendor_body)
    request = wire_format.request(vendor_body)
    request.model = model
    request.stream = False
    request.api_type = None
    request.vendor_params = (
        read_parameters({**_config(vendor_body), **vendor_body}) if type(vendor_body) is dict else {}
    )
    if wire_format is TEXT:  # Its bodies have fields that no table knows: record no text.
        request.vendor_params = {
            name: value for name, value in request.vendor_params.items() if isinstance(value, (bool, int, float))
        }
    request.service_tier = get_text(body, "serviceTier")
    request.guardrail_id = guardrail_of(body)
    request.operation = _operation_of(body) or request.operation
    return request


def _operation_of(body: Any) -> str | None:
    model = get_text(body, "modelId") or ""
    if get(get(body, "body"), "messages") is not None:
        return None
    return next((operation for part, operation in _OPERATIONS.items() if part in model), None)


def read_response(body: Any) -> Response:
    response = _format_of_response(body).response(body)
    return _complete(response, body)


def _complete(response: Response, body: Any) -> Response:
    # The tier that a body names is that of the vendor's own service; Bedrock's is in a header.
    response.service_tier = None
    response.refused = response.refused or get(body, "amazon-bedrock-guardrailAction") == "INTERVENED"
    return response


def parse_body(api_params: Any) -> Any:
    """Return the parameters with the parsed JSON of ``body``. A body to be read from a file is left to botocore."""
    body = get(api_params, "body")
    if not isinstance(body, (str, bytes, bytearray)):
        return api_params
    try:
        return {**api_params, "body": json.loads(body)}
    except (ValueError, RecursionError):
        return {**api_params, "body": None}


def unwrap(event: Any) -> Any:
    """Return the vendor's chunk inside an event of ``InvokeModelWithResponseStream``."""
    try:
        return json.loads(get(get(event, "chunk"), "bytes"))
    except (ValueError, TypeError, RecursionError):
        return None


class InvokeAccumulator:
    """Accumulator of chunks in the format of the first one. Bedrock adds its own fields to the last one."""

    __slots__ = ("_inner", "_last")

    def __init__(self) -> None:
        self._inner: Accumulator | None = None
        self._last: Any = None

    def add(self, chunk: Any) -> bool | str:
        if self._inner is None:
            self._inner = _accumulator(chunk)
        if get(chunk, _METRICS) is not None:
            self._last = chunk
        return self._inner.add(chunk)

    @property
    def skips_text(self) -> bool:
        return bool(getattr(self._inner, "skips_text", False))

    @property
    def ended(self) -> bool:
        return self._last is not None or (self._inner is not None and self._inner.ended)

    def result(self) -> Response:
        response = Response(complete=False) if self._inner is None else self._inner.result()
        response.complete = response.complete or self._last is not None
        if not response.usage and self._last is not None:
            response.usage = openai_totals(Reported(get(self._last, _METRICS), _METRIC_NAMES).counts)
        return _complete(response, self._last)


def _accumulator(chunk: Any) -> Accumulator:
    accumulator = _format_of_response(chunk).accumulator
    assert accumulator is not None
    return accumulator()


class InvokeContentAccumulator:
    """Accumulator of the content of chunks in the format of the first one."""

    __slots__ = ("_inner",)

    def __init__(self) -> None:
        self._inner: Any = None

    def add(self, chunk: Any) -> str | None:
        if self._inner is None:
            content = _format_of_response(chunk).content
            assert content is not None
            assert content.accumulator is not None
            self._inner = content.accumulator()
        text: str | None = self._inner.add(chunk)
        return text

    def messages(self) -> list[Message]:
        messages: list[Message] = [] if self._inner is None else self._inner.messages()
        return messages


def read_request_content(body: Any) -> RequestContent:
    vendor_body = get(body, "body") or body  # the vendor's alone, as it was sent
    content = _format_of_request(vendor_body).content
    assert content is not None
    request = content.request(vendor_body)
    if _operation_of(body) == "embeddings":
        request.texts += [part["content"] for message in request.messages for part in message["parts"]]
        request.messages = []
    return request


def read_response_content(body: Any) -> list[Message]:
    content = _format_of_response(body).content
    assert content is not None
    return content.response(body)


def read_texts(body: Any) -> Texts:
    body = unwrap(body) if get(body, "chunk") is not None else body
    texts = _format_of_response(body).texts
    return () if texts is None else texts(body)


INVOKE = WireFormat(
    request=read_request,
    response=read_response,
    accumulator=InvokeAccumulator,
    content=ContentFormat(read_request_content, read_response_content, InvokeContentAccumulator),
    texts=read_texts,
    headers=HEADERS,
)
