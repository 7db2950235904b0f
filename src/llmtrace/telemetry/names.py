"""Names of all attributes, metrics and events: OpenTelemetry GenAI v0.1.0, core, and ``llmtrace.*``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OPERATION = "gen_ai.operation.name"
CUSTOM_OPERATION = "llmtrace.operation.name"
STANDARD_OPERATIONS = frozenset(
    {
        *("chat", "generate_content", "text_completion", "embeddings", "retrieval", "execute_tool", "fetch_response"),
        *("create_agent", "invoke_agent", "invoke_workflow", "plan"),
        *("create_memory_store", "delete_memory_store"),
        *("create_memory", "update_memory", "upsert_memory", "search_memory", "delete_memory"),
    }
)
"""Values of ``gen_ai.operation.name``; any other operation is in ``llmtrace.operation.name``."""


def operation_key(operation: str) -> str:
    """Return the name of the attribute for an operation."""
    return OPERATION if operation in STANDARD_OPERATIONS else CUSTOM_OPERATION


def operation_of(attributes: Mapping[str, Any]) -> Any:
    """Return the operation that the attributes of a span or a metric name, or ``None``."""
    return attributes.get(OPERATION) or attributes.get(CUSTOM_OPERATION)


PROVIDER = "gen_ai.provider.name"
REQUEST = "gen_ai.request."
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
PREVIOUS_RESPONSE = "gen_ai.request.previous_response.id"
OUTPUT_TYPE = "gen_ai.output.type"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_STATUS = "gen_ai.response.status"
FINISH_REASONS = "gen_ai.response.finish_reasons"
FINISH_REASONS_RAW = "llmtrace.response.finish_reasons_raw"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
AGENT_ID = "gen_ai.agent.id"
GUARDRAIL = "aws.bedrock.guardrail.id"
KNOWLEDGE_BASE = "aws.bedrock.knowledge_base.id"
API = "llmtrace.api"
MODEL_PINNED = "llmtrace.model.pinned"
CONVERSATION = "gen_ai.conversation.id"
COMPACTED = "gen_ai.conversation.compacted"
DIMENSIONS = "gen_ai.embeddings.dimension.count"
USAGE = {
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "cache_read": "gen_ai.usage.cache_read.input_tokens",
    "cache_write": "gen_ai.usage.cache_write.input_tokens",
    "cache_write_5m": "llmtrace.usage.cache_write_5m_tokens",
    "cache_write_1h": "llmtrace.usage.cache_write_1h_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
    "text_input": "gen_ai.usage.text.input_tokens",
    "image_input": "gen_ai.usage.image.input_tokens",
    "audio_input": "gen_ai.usage.audio.input_tokens",
    "video_input": "llmtrace.usage.video_input_tokens",
    "document_input": "llmtrace.usage.document_input_tokens",
    "tool_input": "llmtrace.usage.tool_input_tokens",
    "text_cache_read": "gen_ai.usage.text.cache_read.input_tokens",
    "image_cache_read": "gen_ai.usage.image.cache_read.input_tokens",
    "audio_cache_read": "gen_ai.usage.audio.cache_read.input_tokens",
    "video_cache_read": "llmtrace.usage.video_cache_read_tokens",
    "text_output": "gen_ai.usage.text.output_tokens",
    "image_output": "gen_ai.usage.image.output_tokens",
    "audio_output": "gen_ai.usage.audio.output_tokens",
    "video_output": "llmtrace.usage.video_output_tokens",
    "citation_output": "llmtrace.usage.citation_tokens",
    "web_searches": "llmtrace.usage.web_searches",
    "web_fetches": "llmtrace.usage.web_fetches",
    "grounded_prompts": "llmtrace.usage.grounded_prompts",
    "maps_searches": "llmtrace.usage.maps_searches",
    "file_searches": "llmtrace.usage.file_searches",
    "code_executions": "llmtrace.usage.code_executions",
    "images": "llmtrace.usage.images",
    "audio_seconds": "llmtrace.usage.audio_seconds",
    "characters": "llmtrace.usage.characters",
    "search_units": "llmtrace.usage.search_units",
}
"""Attribute of each field of ``Usage``.

Only names of the convention are under ``gen_ai.usage.``: some backends bill every key with that prefix.
"""
TOTALS = frozenset({"input", "output"})
BILLED = frozenset({"input", "output", "audio_seconds", "characters", "search_units"})
"""Fields that a provider reports as usage; the others are counted from the response."""
CACHE_CREATION = "gen_ai.usage.cache_creation.input_tokens"
USAGE_SOURCE = "llmtrace.usage.source"
COUNTED_TOKENS = "llmtrace.usage.counted_tokens"
METRIC_DURATION = "gen_ai.client.operation.duration"
METRIC_INFERENCE_DURATION = "gen_ai.client.inference.duration"
METRIC_EMBEDDINGS_DURATION = "gen_ai.client.embeddings.duration"
METRIC_RETRIEVAL_DURATION = "gen_ai.retrieval.duration"
METRIC_OLD_FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
METRIC_OLD_CHUNK = "gen_ai.client.operation.time_per_output_chunk"
METRIC_FIRST_CHUNK = "gen_ai.client.inference.time_to_first_chunk"
METRIC_CHUNK = "gen_ai.client.inference.time_per_output_chunk"
METRIC_OLD_TOKENS = "gen_ai.client.token.usage"
METRIC_EMBEDDINGS_INPUT = "gen_ai.client.embeddings.operation.input_tokens"
METRIC_USAGE = {
    "input": "gen_ai.client.inference.usage.input_tokens",
    "output": "gen_ai.client.inference.usage.output_tokens",
    "cache_read": "gen_ai.client.inference.usage.cache_read.input_tokens",
    "cache_write": "gen_ai.client.inference.usage.cache_write.input_tokens",
    "reasoning": "gen_ai.client.inference.usage.reasoning.output_tokens",
}
METRIC_INPUT = "gen_ai.client.inference.operation.input_tokens"
METRIC_OUTPUT = "gen_ai.client.inference.operation.output_tokens"
METRIC_COST = "llmtrace.client.cost"
METRIC_CALL_COST = "llmtrace.client.cost.per_operation"
METRIC_UNPRICED = "llmtrace.client.unpriced_operations"
METRIC_TOOL_DURATION = "gen_ai.execute_tool.duration"
METRIC_AGENT_DURATION = "gen_ai.invoke_agent.duration"
METRIC_AGENT_INFERENCE_CALLS = "gen_ai.invoke_agent.inference_calls"
METRIC_AGENT_TOOL_CALLS = "gen_ai.invoke_agent.tool_calls"
METRIC_OLD_WORKFLOW_DURATION = "gen_ai.invoke_workflow.duration"
METRIC_ERRORS = "llmtrace.instrumentation.errors"
METRIC_EXPORTER = "llmtrace.exporter."
DROP_REASON = "llmtrace.exporter.drop_reason"
TOKEN_TYPE = "gen_ai.token.type"
MODALITY = "gen_ai.token.modality"
COST_CLASS = "llmtrace.cost.class"
COST_TOTAL = "llm.cost.total"
USAGE_COST = "gen_ai.usage.cost"
PROPOSED_COST = "gen_ai.usage.cost.amount"
PROPOSED_CURRENCY = "gen_ai.usage.cost.currency"
PROPOSED_SOURCE = "gen_ai.usage.cost.source"
COST_INPUT = "llm.cost.prompt"
COST_OUTPUT = "llm.cost.completion"
INPUT_COSTS = {
    "input": "llm.cost.prompt_details.input",
    "cache_read": "llm.cost.prompt_details.cache_read",
    "cache_write": "llm.cost.prompt_details.cache_write",
    "audio_input": "llm.cost.prompt_details.audio",
    "image_input": "llmtrace.cost.image_input",
    "video_input": "llmtrace.cost.video_input",
}
OUTPUT_COSTS = {
    "output": "llm.cost.completion_details.output",
    "reasoning": "llm.cost.completion_details.reasoning",
    "audio_output": "llm.cost.completion_details.audio",
    "image_output": "llmtrace.cost.image_output",
    "video_output": "llmtrace.cost.video_output",
}
"""Cost classes of the prompt and of the completion; any other class is under ``llmtrace.cost.``."""
COST = "llmtrace.cost."
COST_CURRENCY = "llmtrace.cost.currency"
COST_EXACT = "llmtrace.cost.exact"
COST_SOURCE = "llmtrace.cost.source"
COST_MODEL = "llmtrace.cost.model"
COST_CATALOG = "llmtrace.cost.catalog_version"
COST_APPROXIMATE = "llmtrace.cost.approximate"
COST_MISSING = "llmtrace.cost.unpriced_units"
COST_REASON = "llmtrace.cost.unpriced_reason"
COST_ESTIMATE = "llmtrace.cost.estimated_usd"
BUDGET_NAME = "llmtrace.budget.name"
BUDGET_WINDOW = "llmtrace.budget.window"
BUDGET_LIMIT = "llmtrace.budget.limit_usd"
BUDGET_SPENT = "llmtrace.budget.spent_usd"
BUDGET_LIMIT_TOKENS = "llmtrace.budget.limit_tokens"
BUDGET_SPENT_TOKENS = "llmtrace.budget.spent_tokens"
BUDGET_ACTION = "llmtrace.budget.action"
ESTIMATED_INPUT = "llmtrace.usage.estimated_input_tokens"
ESTIMATED_OUTPUT = "llmtrace.usage.estimated_output_tokens"
ESTIMATE_METHOD = "llmtrace.usage.estimate_method"
ESTIMATE_FLOOR = "llmtrace.usage.estimate_floor"
OPENAI_API_TYPE = "openai.api.type"
OPENAI_REQUEST_TIER = "openai.request.service_tier"
OPENAI_RESPONSE_TIER = "openai.response.service_tier"
OPENAI_FINGERPRINT = "openai.response.system_fingerprint"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"
HTTP_STATUS = "http.response.status_code"
ERROR_CODE = "llmtrace.error.code"
OUTCOME = "llmtrace.outcome"
BATCH_ID = "llmtrace.batch.id"
BATCH_CUSTOM_ID = "llmtrace.batch.custom_id"
RETRIES = "llmtrace.retry.count"
SERVER_TIME = "llmtrace.server.time."
REQUEST_ID = "llmtrace.request_id"
REMAINING_REQUESTS = "llmtrace.ratelimit.remaining_requests"
REMAINING_TOKENS = "llmtrace.ratelimit.remaining_tokens"
EXCEPTION = "exception"
CALL_EXCEPTION = "gen_ai.client.operation.exception"
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACKTRACE = "exception.stacktrace"
STREAM_END = "llmtrace.stream.end"
STREAM_COMPLETED = "llmtrace.stream.completed"
STREAM_CHUNKS = "llmtrace.stream.chunks"
STREAM_FIRST_TOKEN = "llmtrace.stream.time_to_first_token"
STREAM_GAP_MEAN = "llmtrace.stream.time_per_output_chunk.mean"
STREAM_GAP_P95 = "llmtrace.stream.time_per_output_chunk.p95"
STREAM_GAP_MAX = "llmtrace.stream.time_per_output_chunk.max"
STREAM_STALLS = "llmtrace.stream.stalls"
STREAM_SPEED = "llmtrace.stream.tokens_per_second"
STREAM_AT_EXIT = "llmtrace.stream.at_exit"

# Tags, prompts, retrieval, tools, scores
FEATURE = "llmtrace.feature"
TENANT = "llmtrace.tenant"
USER = "user.id"
SESSION = "session.id"
TAGS = "tag.tags"
TAG = "llmtrace.tag."
METADATA = "metadata"
PROMPT_NAME = "gen_ai.prompt.name"
PROMPT_VERSION = "gen_ai.prompt.version"
PROMPT_VARIABLE = "gen_ai.prompt.variable."
PROMPT_LABEL = "llmtrace.prompt.label"
PROMPT_HASH = "llmtrace.prompt.hash"
PROMPT_COMMIT = "llmtrace.prompt.commit"
PROMPT_TEMPLATE = "llm.prompt_template.template"
PROMPT_VARIABLES = "llm.prompt_template.variables"
DOCUMENT_IDS = "llmtrace.retrieval.document_ids"
DOCUMENTS = "retrieval.documents."
DATA_SOURCE = "gen_ai.data_source.id"
DB_SYSTEM = "db.system.name"
DB_OPERATION = "db.operation.name"
DB_COLLECTION = "db.collection.name"
DB_NAMESPACE = "db.namespace"
TOP_K = "gen_ai.retrieval.top_k"
QUERY = "gen_ai.retrieval.query.text"
RETRIEVED = "gen_ai.retrieval.documents"
RERANK_MODEL = "reranker.model_name"
RERANK_TOP_K = "reranker.top_k"
RERANK_QUERY = "reranker.query"
RERANK_INPUT = "reranker.input_documents."
RERANK_OUTPUT = "reranker.output_documents."
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
TOOL_CALL_ID = "gen_ai.tool.call.id"
TOOL_DESCRIPTION = "gen_ai.tool.description"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"
AGENT_NAME = "gen_ai.agent.name"
WORKFLOW_NAME = "gen_ai.workflow.name"
NAME_KEYS: dict[str, tuple[str, ...]] = {
    "tool": (TOOL_NAME,),
    "agent": (AGENT_NAME,),
    "workflow": (AGENT_NAME, WORKFLOW_NAME),
    "retrieval": (DATA_SOURCE,),
    "rerank": (REQUEST_MODEL,),
}
"""Attributes that hold the name of an operation, by its kind. A workflow is an agent since GenAI v0.1.0."""
ROLLUP_CALLS = "llmtrace.rollup.calls"
ROLLUP_INPUT = "llmtrace.rollup.input_tokens"
ROLLUP_OUTPUT = "llmtrace.rollup.output_tokens"
ROLLUP_COST = "llmtrace.rollup.cost_usd"
ROLLUP_COST_EXACT = "llmtrace.rollup.cost_exact"
ROLLUP_UNPRICED = "llmtrace.rollup.unpriced_calls"
EVALUATION = "gen_ai.evaluation.result"
EVALUATION_NAME = "gen_ai.evaluation.name"
EVALUATION_VALUE = "gen_ai.evaluation.score.value"
EVALUATION_LABEL = "gen_ai.evaluation.score.label"
EVALUATION_EXPLANATION = "gen_ai.evaluation.explanation"

# Content, recorded only if it is turned on.
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
TOOL_DEFINITIONS = "gen_ai.tool.definitions"
CONTENT_TRUNCATED = "llmtrace.content.truncated"
CONTENT_SIZE = "llmtrace.content.original_size"
REFUSAL = "llmtrace.refusal"
DETAILS_EVENT = "gen_ai.client.inference.operation.details"

FREE_TEXT = frozenset(
    {
        *(FEATURE, TENANT, USER, SESSION, TAGS, PROMPT_NAME, PROMPT_VERSION, PROMPT_LABEL, DOCUMENT_IDS, DATA_SOURCE),
        *(TOOL_NAME, TOOL_CALL_ID, TOOL_DESCRIPTION, AGENT_NAME, WORKFLOW_NAME, RERANK_MODEL),
        *(
            EVALUATION_NAME,
            EVALUATION_LABEL,
            ERROR_CODE,
            BATCH_CUSTOM_ID,
            FINISH_REASONS_RAW,
            REQUEST + "stop_sequences",
        ),
    }
)
"""Attributes that are not content, although the application or a server chooses their text."""
FREE_NAMES = (TAG, PROMPT_VARIABLE)
"""Prefixes of attributes whose names end with a key that the application chose."""

# OpenInference: names that Phoenix needs in addition to the convention's.
REQUEST_PARAMETERS = "llmtrace.request.parameters"
OI_PARAMETERS = "llm.invocation_parameters"
OI_KIND = "openinference.span.kind"
OI_MODEL = "llm.model_name"
OI_EMBEDDING_MODEL = "embedding.model_name"
OI_EMBEDDINGS = "embedding.embeddings."
OI_REASONING = "llm.token_count.completion_details.reasoning"
OI_AUDIO_INPUT = "llm.token_count.prompt_details.audio"
OI_AUDIO_OUTPUT = "llm.token_count.completion_details.audio"
OI_INPUT = "input.value"
OI_INPUT_TYPE = "input.mime_type"
OI_OUTPUT = "output.value"
OI_OUTPUT_TYPE = "output.mime_type"
OI_TEMPLATE_VERSION = "llm.prompt_template.version"
OI_PROMPT_ID = "prompt.id"
OI_PROJECT = "openinference.project.name"

# Langfuse and Logfire.
LANGFUSE_TYPE = "langfuse.observation.type"
LANGFUSE_USAGE = "langfuse.observation.usage_details"
LANGFUSE_COST = "langfuse.observation.cost_details"
LANGFUSE_FIRST_TOKEN = "langfuse.observation.completion_start_time"
LANGFUSE_NAME = "langfuse.trace.name"
LANGFUSE_TAGS = "langfuse.trace.tags"
LANGFUSE_ENVIRONMENT = "langfuse.environment"
LANGFUSE_RELEASE = "langfuse.release"
LANGFUSE_METADATA = "langfuse.trace.metadata."
LOGFIRE_COST = "operation.cost"
