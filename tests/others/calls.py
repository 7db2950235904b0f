"""Calls of the programs that run with another instrumentation. Each returns the text of the response."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
from vendors import CLAUDE, EMBEDDING_MODEL, GEMINI, GPT

__all__ = ["Calls"]

_QUESTION: list[Any] = [{"role": "user", "content": "hi"}]
_CHAT: dict[str, Any] = {"model": GPT, "messages": _QUESTION}
_STREAM: dict[str, Any] = {**_CHAT, "stream": True, "stream_options": {"include_usage": True}}
_MESSAGE: dict[str, Any] = {"model": CLAUDE, "messages": _QUESTION, "max_tokens": 5}


class Calls:
    """Calls through the clients of OpenAI, Anthropic and Google, and through LangChain."""

    def __init__(self, url: str) -> None:
        options: Any = {"base_url": f"{url}/v1", "api_key": "k", "max_retries": 0}
        self.openai, self.async_openai = openai.OpenAI(**options), openai.AsyncOpenAI(**options)
        options["base_url"] = url
        self.claude, self.async_claude = anthropic.Anthropic(**options), anthropic.AsyncAnthropic(**options)
        from google import genai
        from langchain_openai import ChatOpenAI

        self.gemini = genai.Client(api_key="k", http_options={"base_url": url})
        model: Any = ChatOpenAI
        self.model = model(model=GPT, base_url=f"{url}/v1", api_key="k", max_retries=0, stream_usage=True)

    def chat(self) -> Any:
        return self.openai.chat.completions.create(**_CHAT).choices[0].message.content

    async def chat_async(self) -> Any:
        return (await self.async_openai.chat.completions.create(**_CHAT)).choices[0].message.content

    def chat_stream(self) -> Any:
        chunks = self.openai.chat.completions.create(**_STREAM)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    async def chat_stream_async(self) -> Any:
        chunks = await self.async_openai.chat.completions.create(**_STREAM)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

    def chat_raw(self) -> Any:
        return self.openai.chat.completions.with_raw_response.create(**_CHAT).parse().choices[0].message.content

    def responses(self) -> Any:
        return self.openai.responses.create(model=GPT, input="hi").output_text

    def responses_stream(self) -> Any:
        events = self.openai.responses.create(model=GPT, input="hi", stream=True)
        return "".join(event.delta for event in events if event.type == "response.output_text.delta")

    def embeddings(self) -> Any:
        created = self.openai.embeddings.create(model=EMBEDDING_MODEL, input="hi", encoding_format="float")
        return str(created.data[0].embedding)

    def messages(self) -> Any:
        return self.claude.messages.create(**_MESSAGE).content[0].text

    async def messages_async(self) -> Any:
        return (await self.async_claude.messages.create(**_MESSAGE)).content[0].text

    def messages_stream(self) -> Any:
        events = self.claude.messages.create(**_MESSAGE, stream=True)
        return "".join(event.delta.text for event in events if event.type == "content_block_delta")

    async def messages_stream_async(self) -> Any:
        events = await self.async_claude.messages.create(**_MESSAGE, stream=True)
        return "".join([event.delta.text async for event in events if event.type == "content_block_delta"])

    def messages_helper(self) -> Any:
        with self.claude.messages.stream(**_MESSAGE) as stream:
            return "".join(stream.text_stream)

    def generate(self) -> Any:
        return self.gemini.models.generate_content(model=GEMINI, contents="hi").text

    def generate_stream(self) -> Any:
        chunks = self.gemini.models.generate_content_stream(model=GEMINI, contents="hi")
        return "".join(chunk.text or "" for chunk in chunks)

    def langchain(self) -> Any:
        return self.model.invoke("hi").content

    def langchain_stream(self) -> Any:
        return "".join(chunk.content for chunk in self.model.stream("hi"))
