"""Finish reasons in the terms of the OpenTelemetry convention."""

from __future__ import annotations

__all__ = ["normalize_finish_reason"]

_REASONS = {
    "tool_calls": "tool_call",
    "function_call": "tool_call",
    "tool_use": "tool_call",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "refusal": "content_filter",
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "BLOCKLIST": "content_filter",
    "SPII": "content_filter",
    "RECITATION": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "JAILBREAK": "content_filter",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "model_context_window_exceeded": "length",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
    "COMPLETE": "stop",
    "FINISH": "stop",
    "FINISHED": "stop",
    "LENGTH": "length",
    "CONTENT_FILTERED": "content_filter",
    "ERROR_TOXIC": "content_filter",
    "ERROR": "error",
    "STOP_SEQUENCE": "stop",
    "TOOL_CALL": "tool_call",
    "eos": "stop",
    "endoftext": "stop",
    "REASON_STOP": "stop",
    "REASON_MAX_LEN": "length",
    "REASON_MAX_CONTEXT": "length",
    "REASON_TOOL_CALLS": "tool_call",
    "completed": "stop",
    "requires_action": "tool_call",
    "failed": "error",
    "expired": "error",
    "cancelled": "error",
}


def normalize_finish_reason(reason: str) -> str:
    """Return the convention's term for a vendor's finish reason, or the reason itself if there is none."""
    return _REASONS.get(reason, reason)
