"""Trace a client and a server of MCP, offline. Run ``python examples/mcp_server.py``.

It needs the SDK of MCP: ``pip install "mcp>=2"``.
"""

from __future__ import annotations

import asyncio
import logging

from mcp import Client
from mcp.server import MCPServer
from openai import AsyncOpenAI
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from _vendor import completion, print_tree, vendor

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
# The SDK of MCP opens the spans of its requests itself, through the global provider.
trace.set_tracer_provider(provider)
llmtrace.instrument()


async def main(url: str) -> None:
    openai = AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
    server = MCPServer("weather")
    logging.disable()  # the server logs each request

    async def ask(question: str) -> str:
        messages = [{"role": "user", "content": question}]
        response = await openai.chat.completions.create(model="gpt-4.1-mini", messages=messages)
        return response.choices[0].message.content

    @server.tool()
    async def weather(city: str) -> str:
        return await ask(f"Invent the weather of {city}.")

    async with Client(server) as client:
        with llmtrace.agent("stylist"):
            result = await client.call_tool("weather", {"city": "Paris"})
            print(await ask(f"{result.content[0].text} What shall I wear?"))


with vendor(completion("Sunny."), completion("Take a hat.")) as address:
    asyncio.run(main(address))
llmtrace.flush()
print_tree(exporter.get_finished_spans())
