"""A model and an embedding of LlamaIndex that call the OpenAI SDK.

LlamaIndex's own package for OpenAI requires an older release of the SDK.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection


def _request(messages: Any, tools: Any = None, **_: Any) -> Any:
    rows = []
    for message in messages:
        row = {"role": message.role.value, "content": message.content, **message.additional_kwargs}
        rows.append(row)
    more = {"tools": [tool.metadata.to_openai_tool() for tool in tools]} if tools else {}
    return {"model": "gpt-4o-mini", "messages": rows, **more}


def _response(completion: Any) -> ChatResponse:
    message = completion.choices[0].message
    calls = [call.model_dump() for call in message.tool_calls or ()]
    more = {"tool_calls": calls} if calls else {}
    return ChatResponse(message=ChatMessage(role="assistant", content=message.content or "", additional_kwargs=more))


def _part(chunk: Any, so_far: str) -> ChatResponse:
    text = chunk.choices[0].delta.content or "" if chunk.choices else ""
    return ChatResponse(message=ChatMessage(role="assistant", content=so_far + text), delta=text)


class Model(FunctionCallingLLM):
    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="gpt-4o-mini", is_function_calling_model=True, is_chat_model=True)

    def chat(self, messages: Any, **more: Any) -> ChatResponse:
        return _response(openai.OpenAI(max_retries=0).chat.completions.create(**_request(messages, **more)))

    async def achat(self, messages: Any, **more: Any) -> ChatResponse:
        client = openai.AsyncOpenAI(max_retries=0)
        return _response(await client.chat.completions.create(**_request(messages, **more)))

    @llm_chat_callback()
    def stream_chat(self, messages: Any, **more: Any) -> Any:
        def parts() -> Iterator[ChatResponse]:
            options = {"stream": True, "stream_options": {"include_usage": True}}
            text = ""
            for chunk in openai.OpenAI(max_retries=0).chat.completions.create(**_request(messages, **more), **options):
                response = _part(chunk, text)
                text += response.delta or ""
                yield response

        return parts()

    @llm_chat_callback()
    async def astream_chat(self, messages: Any, **more: Any) -> Any:
        async def parts() -> AsyncIterator[ChatResponse]:
            yield await self.achat(messages, **more)

        return parts()

    def complete(self, prompt: Any, formatted: bool = False, **_: Any) -> CompletionResponse:
        raise NotImplementedError

    acomplete = stream_complete = astream_complete = complete  # type: ignore[assignment]

    def _prepare_chat_with_tools(self, tools: Any, user_msg: Any = None, chat_history: Any = None, **_: Any) -> Any:
        return {"messages": [*(chat_history or ()), *([user_msg] if user_msg else ())], "tools": tools}

    def get_tool_calls_from_response(self, response: Any, error_on_no_tool_call: bool = True, **_: Any) -> Any:
        calls = response.message.additional_kwargs.get("tool_calls", ())
        parsed = [(call["id"], call["function"]) for call in calls]
        return [
            ToolSelection(tool_id=id_, tool_name=function["name"], tool_kwargs=json.loads(function["arguments"]))
            for id_, function in parsed
        ]


class Embedding(BaseEmbedding):
    def _get_query_embedding(self, query: str) -> list[float]:
        client = openai.OpenAI(max_retries=0)
        return client.embeddings.create(model="text-embedding-3-small", input=query).data[0].embedding

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return [0.1, 0.2]
