"""Frameworks that llmtrace has a bridge to."""

from __future__ import annotations

from .contract import Integration

__all__ = ["INTEGRATIONS"]

INTEGRATIONS = (
    Integration("langchain", "langchain-core", "langchain_core.runnables.config", ">=1,<2"),
    Integration("openai_agents", "openai-agents", "agents.tracing.spans", ">=0.8,<1"),
    Integration("llama_index", "llama-index-core", "llama_index_instrumentation", ">=0.14,<0.15"),
    Integration("crewai", "crewai", "crewai.crew", ">=1.15,<2"),
    Integration("haystack", "haystack-ai", "haystack.tracing.tracer", ">=3,<4"),
)
