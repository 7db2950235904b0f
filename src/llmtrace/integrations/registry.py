"""Frameworks that llmtrace has a bridge to."""

from __future__ import annotations

from .contract import Integration

INTEGRATIONS = (
    Integration("langchain", "langchain-core", "langchain_core.runnables.config", ">=1,<2"),
    Integration("openai_agents", "openai-agents", "agents.tracing.spans", ">=0.8,<1"),
    Integration("llama_index", "llama-index-core", "llama_index_instrumentation", ">=0.14,<0.15"),
    Integration("crewai", "crewai", "crewai.crew", ">=1.15,<2"),
    Integration("haystack", "haystack-ai", "haystack.tracing.tracer", ">=3.4,<4"),
    Integration("dspy", "dspy", "dspy.primitives.module", ">=3.4,<4"),
    Integration("smolagents", "smolagents", "smolagents.agents", ">=1.26,<2"),
    Integration("instructor", "instructor", "instructor.v2.core.patch", ">=1.15.3,<2"),
    Integration("agent_framework", "agent-framework-core", "agent_framework.observability", ">=1.3,<2"),
    Integration("strands", "strands-agents", "strands.telemetry.tracer", ">=1.1,<2"),
    Integration("qdrant", "qdrant-client", "qdrant_client.qdrant_client", ">=1.15,<2"),
    Integration("chroma", "chromadb", "chromadb.api.models.Collection", ">=1,<2"),
    Integration("lancedb", "lancedb", "lancedb.query", ">=0.24,<1"),
    Integration("milvus", "pymilvus", "pymilvus.client.grpc_handler", ">=2.6,<4"),
    Integration("elasticsearch", "elasticsearch", "elasticsearch._sync.client._base", ">=8.14,<10"),
    Integration("opensearch", "opensearch-py", "opensearchpy.transport", ">=2.4,<4"),
    Integration("weaviate", "weaviate-client", "weaviate.connect.v4", ">=4.14,<5"),
    Integration("pinecone", "pinecone", "pinecone", ">=9,<11"),
)
