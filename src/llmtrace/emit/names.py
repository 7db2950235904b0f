"""The attribute names we write: OpenTelemetry GenAI (development), core, and our own ``llmtrace.*``."""

from __future__ import annotations

OPERATION = "gen_ai.operation.name"
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
    "web_searches": "llmtrace.usage.web_searches",
    "web_fetches": "llmtrace.usage.web_fetches",
    "grounded_prompts": "llmtrace.usage.grounded_prompts",
    "file_searches": "llmtrace.usage.file_searches",
    "code_executions": "llmtrace.usage.code_executions",
    "images": "llmtrace.usage.images",
    "audio_seconds": "llmtrace.usage.audio_seconds",
    "characters": "llmtrace.usage.characters",
    "search_units": "llmtrace.usage.search_units",
}
"""By field of ``Usage``. Only what the convention names is under ``gen_ai.usage.``: some backends bill every key they
find there."""
TOTALS = frozenset({"input", "output"})
BILLED = frozenset({"input", "output", "audio_seconds", "characters", "search_units"})
"""What a provider tells as usage; the rest is counted in the answer."""
CACHE_CREATION = "gen_ai.usage.cache_creation.input_tokens"
USAGE_SOURCE = "llmtrace.usage.source"
COUNTED_TOKENS = "llmtrace.usage.counted_tokens"
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
RETRIES = "llmtrace.retry.count"
REQUEST_ID = "llmtrace.request_id"
REMAINING_REQUESTS = "llmtrace.ratelimit.remaining_requests"
REMAINING_TOKENS = "llmtrace.ratelimit.remaining_tokens"
EXCEPTION = "exception"
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

# Tags, prompts, cost and fingerprints
FEATURE = "llmtrace.feature"
TENANT = "llmtrace.tenant"
USER = "user.id"
SESSION = "session.id"
TAGS = "tag.tags"
TAG = "llmtrace.tag."
PROMPT_NAME = "gen_ai.prompt.name"
PROMPT_VERSION = "gen_ai.prompt.version"
PROMPT_HASH = "llmtrace.prompt.hash"
COST_TOTAL = "llm.cost.total"
COST_EXACT = "llmtrace.cost.exact"
COST_PROMPT = "llm.cost.prompt"
COST_INPUT = "llm.cost.prompt_details.input"
COST_CURRENCY = "llmtrace.cost.currency"
COST_APPROXIMATE = "llmtrace.cost.approximate"
UNPRICED_REASON = "llmtrace.cost.unpriced_reason"
ESTIMATED_USD = "llmtrace.cost.estimated_usd"
ESTIMATED_INPUT = "llmtrace.usage.estimated_input_tokens"
ESTIMATED_OUTPUT = "llmtrace.usage.estimated_output_tokens"
MODEL_PINNED = "llmtrace.model.pinned"
API = "llmtrace.api"
DOCUMENT_IDS = "llmtrace.retrieval.document_ids"
REQUEST_HASH = "llmtrace.request.hash"
REQUEST_NEAR_HASH = "llmtrace.request.near_hash"
REQUEST_PREFIX_HASH = "llmtrace.request.prefix_hash"
REQUEST_PREFIX_CHARS = "llmtrace.request.prefix_chars"
REQUEST_CHARS = "llmtrace.request.chars"
REQUEST_BLANK_CHARS = "llmtrace.request.blank_chars"
REQUEST_REPEATED_CHARS = "llmtrace.request.repeated_chars"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
TOOL_DEFINITIONS = "gen_ai.tool.definitions"
