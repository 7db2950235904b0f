"""Finish reasons in the terms of the OpenTelemetry convention."""

from __future__ import annotations

_REASONS = {
    reason: term
    for term, reasons in {
        "tool_call": "tool_calls function_call tool_use TOOL_CALL REASON_TOOL_CALLS requires_action",
        "stop": (
            "end_turn stop_sequence STOP COMPLETE FINISH FINISHED STOP_SEQUENCE eos endoftext REASON_STOP completed"
        ),
        "length": (
            "max_tokens max_output_tokens MAX_TOKENS model_context_window_exceeded LENGTH REASON_MAX_LEN "
            "REASON_MAX_CONTEXT"
        ),
        "content_filter": (
            "refusal SAFETY PROHIBITED_CONTENT BLOCKLIST SPII RECITATION IMAGE_SAFETY "
            "IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION MODEL_ARMOR JAILBREAK guardrail_intervened "
            "content_filtered CONTENT_FILTERED ERROR_TOXIC"
        ),
        "error": "malformed_model_output malformed_tool_use ERROR failed expired cancelled",
    }.items()
    for reason in reasons.split()
}
"""The convention's term by the finish reasons of vendors."""


def normalize_finish_reason(reason: str) -> str:
    """Return the convention's term for a vendor's finish reason, or the reason itself if there is none."""
    return _REASONS.get(reason, reason)
