"""The ``botocore`` client library, for Amazon Bedrock: ``boto3`` and ``aiobotocore`` use it."""

from __future__ import annotations

from ..contract import Provider, botocore, named
from .agents import AGENT, GENERATE, GUARDRAIL, RERANK, RETRIEVE
from .converse import CONVERSE, COUNT_TOKENS
from .invoke import INVOKE

_RUNTIME, _AGENTS = "bedrock-runtime", "bedrock-agent-runtime"

BEDROCK = Provider(
    name="bedrock",
    distribution="botocore",
    module="botocore.client",
    supported=">=1.35.16,<2",
    hook=botocore,
    serves="aws.bedrock",
    routes=named(
        "bedrock",
        {
            (_RUNTIME, "Converse"): ("converse", CONVERSE),
            (_RUNTIME, "ConverseStream"): ("converse_stream", CONVERSE),
            (_RUNTIME, "InvokeModel"): ("invoke_model", INVOKE),
            (_RUNTIME, "InvokeModelWithResponseStream"): ("invoke_model_with_response_stream", INVOKE),
            (_RUNTIME, "CountTokens"): ("count_tokens", COUNT_TOKENS),
            (_RUNTIME, "ApplyGuardrail"): ("apply_guardrail", GUARDRAIL),
            (_AGENTS, "InvokeAgent"): ("invoke_agent", AGENT),
            (_AGENTS, "InvokeInlineAgent"): ("invoke_inline_agent", AGENT),
            (_AGENTS, "Rerank"): ("rerank", RERANK),
            (_AGENTS, "RetrieveAndGenerate"): ("retrieve_and_generate", GENERATE),
            (_AGENTS, "RetrieveAndGenerateStream"): ("retrieve_and_generate_stream", GENERATE),
        },
    ),
    searches={(_AGENTS, "Retrieve"): RETRIEVE},
)
